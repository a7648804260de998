//! What does not fit.
use proptest::prelude::*;

use crate::{
    log::Change,
    model::{
        Action, ClusterSelector, IpBlock, LabelSelector, Peer, Peers, Policy, PortMatch, Ports, Protocol, Rule, Scope,
        Tier,
    },
    policy::{
        Verdict,
        compile::{
            Refusal, Refused,
            tests::{
                random::{PEERS, base, revision},
                rig::{
                    ROOMY, Rig, cluster, delete, endpoint, fleet, labels, name, namespace, policy, put_endpoint,
                    put_policy, uid,
                },
            },
        },
        tables::Limits,
    },
};

fn pods(app: &str) -> Peers {
    let pods = LabelSelector { match_labels: labels(&[("app", app)]), ..Default::default() };
    Peers::Of(vec![Peer::Pods { clusters: ClusterSelector::Any, namespaces: LabelSelector::default(), pods }])
}

fn rule(action: Action, app: &str, port: u16) -> Rule {
    let ports = Ports::Of(vec![PortMatch::Range { protocol: Protocol::Tcp, first: port, last: port }]);
    Rule { name: String::new(), action, peers: pods(app), ports }
}

fn start(limits: Limits) -> Rig {
    let mut rig = Rig::new(limits);
    rig.peers = (1..24).map(|host| format!("10.1.0.{host}").parse().unwrap()).collect();
    rig.peers.extend(["10.0.0.1", "8.8.8.8"].map(|text| text.parse::<std::net::IpAddr>().unwrap()));
    rig.count(&[
        fleet(),
        cluster(0, Action::Accept),
        cluster(1, Action::Accept),
        namespace(0, "a", "p"),
        namespace(1, "a", "p"),
        put_endpoint(100, 0, endpoint(0, 0, "n0", "web", &["10.0.0.1"])),
    ]);
    rig
}

fn remote(number: u8, app: &str) -> Change {
    put_endpoint(number, 1, endpoint(number, 1, "n0", app, &[&format!("10.1.0.{number}")]))
}

/// Every app may use a port of its own, but for the evil.
fn by_app(apps: u8) -> Change {
    let mut rules = vec![rule(Action::Deny, "evil", 80)];
    rules.extend((0..apps).map(|app| rule(Action::Accept, &format!("app{app}"), 80 + u16::from(app))));
    put_policy(Scope::Fleet, 50, 2, policy("by-app", Tier::Admin, Some(rules), None))
}

#[test]
fn a_policy_that_does_not_fit_is_refused_with_the_numbers_and_the_rest_takes_effect() {
    let mut rig = start(Limits { classes: 8, ..ROOMY });
    let small = put_policy(
        Scope::Fleet,
        50,
        1,
        policy("by-app", Tier::Admin, Some(vec![rule(Action::Deny, "evil", 80)]), None),
    );
    rig.count(&[small]);
    let mut changes: Vec<Change> = (1..12).map(|number| remote(number, &format!("app{number}"))).collect();
    let as_it_was = rig.compiler.digest();
    changes.push(by_app(12));
    let outcome = rig.compiler.update(&changes);
    for write in outcome.plan.writes.iter().chain(&outcome.plan.settle) {
        rig.tables.apply(write).unwrap();
    }
    let [refusal] = outcome.refused.as_slice() else { panic!("{:?}", outcome.refused) };
    assert!(matches!(&refusal.subject, Refused::Policy { uid: of, revision: 2, .. } if *of == uid(50)));
    let text = refusal.to_string();
    assert!(text.contains("by-app") && text.contains("classes are needed") && text.contains("room for 8"), "{text}");
    assert_ne!(rig.compiler.digest(), as_it_was, "the endpoints are there");
    // The oracle is told the same, but for the policy.
    changes
        .iter()
        .filter(|change| change.key().kind != crate::model::Kind::Policy)
        .for_each(|change| rig.world.apply(change));
    rig.check();
    // It is named again until it fits.
    let outcome = rig.apply(&[remote(12, "evil")]);
    assert_eq!(outcome.refused.len(), 1);
    rig.check();
    let mut gone: Vec<Change> = (4..12).map(|number| delete(&remote(number, "any"))).collect();
    rig.world.apply(&by_app(12));
    gone.push(delete(&remote(12, "evil")));
    let outcome = rig.apply(&gone);
    assert_eq!(outcome.refused, Vec::new());
    rig.check();
}

/// A policy that is refused takes nothing with it that the next one needs.
#[test]
fn what_was_refused_takes_no_room() {
    let mut rig = start(Limits { prefixes: 12, port_classes: 16, ..ROOMY });
    let networks = |count: u16| {
        let rules = (0..count).map(|n| {
            let block = IpBlock { cidr: format!("10.9.{n}.0/24").parse().unwrap(), except: vec![] };
            Rule { peers: Peers::Of(vec![Peer::Networks(vec![block])]), ..rule(Action::Deny, "any", 1000 + n) }
        });
        policy("p", Tier::Admin, Some(rules.collect()), None)
    };
    let huge = put_policy(Scope::Fleet, 51, 3, Policy { name: name("huge"), ..networks(30) });
    let fits = put_policy(Scope::Fleet, 52, 3, Policy { name: name("fits"), ..networks(3) });
    rig.count(&[put_policy(Scope::Fleet, 50, 2, networks(2))]);
    let usage = rig.compiler.usage();
    let outcome = rig.compiler.update(&[fits.clone(), huge.clone()]);
    assert_eq!(outcome.refused.len(), 2, "a revision takes effect as a whole");
    assert_eq!((outcome.plan.writes.len(), outcome.plan.settle.len()), (0, 0));
    assert_eq!(rig.compiler.usage(), usage);
    rig.world.apply(&fits);
    let outcome = rig.apply(&[delete(&huge)]);
    assert_eq!(outcome.refused, Vec::new());
    rig.check();
}

#[test]
fn a_policy_that_names_too_many_ports_is_refused() {
    let mut rig = start(Limits { port_classes: 8, ..ROOMY });
    let digest = rig.compiler.digest();
    let outcome = rig.compiler.update(&[by_app(20)]);
    assert_eq!(outcome.plan.writes, Vec::new());
    assert!(outcome.refused[0].to_string().contains("port classes"), "{:?}", outcome.refused);
    assert_eq!(rig.compiler.digest(), digest);
    rig.check();
}

/// A policy that was made anew while its first incarnation was in force, and then removed: neither stays.
#[test]
fn who_deletes_what_never_fitted_deletes_what_is_in_force_instead() {
    // A slot for the one workload, and none to build another aside.
    let mut rig = start(Limits { slots: 3, ..ROOMY });
    let of = |uid, revision, from: &str| {
        let policy = policy("p", Tier::Admin, Some(vec![rule(Action::Deny, from, 80)]), None);
        put_policy(Scope::Fleet, uid, revision, policy)
    };
    let other = policy("other", Tier::Admin, Some(vec![rule(Action::Deny, "app2", 81)]), None);
    let evils = [remote(1, "evil"), remote(2, "app2"), remote(3, "app3")];
    rig.count(&[&evils[..], &[of(50, 2, "evil"), put_policy(Scope::Fleet, 51, 2, other)]].concat());
    assert_eq!(rig.apply(&[of(52, 3, "app3")]).refused.len(), 1);
    assert_eq!(rig.apply(&[delete(&of(49, 1, "evil"))]).refused.len(), 1, "of one that is long gone");
    let refused = rig.apply(&[delete(&of(52, 3, "app3"))]).refused;
    assert!(matches!(&refused[..], [Refusal { subject: Refused::Policy { revision: 0, .. }, .. }]), "{refused:?}");
    // There is room when the workload is gone.
    let workload = put_endpoint(100, 0, endpoint(0, 0, "n0", "web", &["10.0.0.1"]));
    assert_eq!(rig.apply(&[delete(&workload)]).refused, Vec::new());
    rig.count(&[workload]);
}

/// Tables so small that random worlds do not fit.
fn tight() -> impl Strategy<Value = Limits> {
    (2u32..7, 3u16..6, 3u32..8, 3u32..6, 3u32..6, 1u32..6, 1u32..4, 3u32..5).prop_map(
        |(classes, port_classes, rows, blocks, slots, addresses4, addresses6, prefixes)| Limits {
            classes,
            port_classes,
            rows,
            blocks,
            slots,
            addresses4,
            addresses6,
            prefixes,
            ..ROOMY
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever does not fit: what the tables let through is meant to be let through.
    #[test]
    fn too_small_tables_never_widen(
        limits in tight(),
        identities in prop::collection::vec((1u8..14, 0u8..9), 1..14),
        here in prop::collection::vec(0u8..3, 0..4),
        apps in 1u8..4,
    ) {
        let mut rig = Rig::new(limits);
        rig.peers = (1..12).map(|host| format!("10.1.0.{host}").parse().unwrap()).collect();
        rig.targets.truncate(3);
        rig.peers.extend(["10.0.0.1", "8.8.8.8", "10.96.0.1"].map(|text| text.parse::<std::net::IpAddr>().unwrap()));
        for change in [
            vec![fleet(), cluster(0, Action::Accept), cluster(1, Action::Accept)],
            vec![namespace(0, "a", "p"), namespace(1, "a", "p")],
            vec![by_app(apps)],
            here.iter().zip(100u8..).map(|(app, number)| {
                let endpoint = endpoint(number, 0, "n0", &format!("app{app}"), &[&format!("10.0.0.{number}")]);
                put_endpoint(number, 0, endpoint)
            }).collect(),
        ].into_iter().chain(identities.iter().map(|(number, app)| {
            vec![remote(*number, &if *app == 8 { "evil".to_owned() } else { format!("app{app}") })]
        })) {
            let refused = rig.apply(&change).refused;
            // Without the policy everything is accepted.
            if refused.iter().any(|refusal| matches!(refusal.subject, Refused::Policy { .. })) {
                continue;
            }
            for probe in rig.probes() {
                let meant = rig.meant(&probe).verdict == Verdict::Accept;
                prop_assert!(!rig.enforced(&probe) || meant, "{probe:?}: {refused:?}");
            }
        }
        // What no longer has to be held is no reason to go on denying.
        let mut gone: Vec<Change> = identities.iter().map(|(number, _)| delete(&remote(*number, "any"))).collect();
        gone.sort_by(|a, b| a.key().cmp(b.key()));
        gone.dedup();
        gone.push(delete(&by_app(apps)));
        if rig.apply(&gone).refused.is_empty() {
            rig.check();
        }
    }

    /// Whatever happens while there is room for few entries: the writes fit the tables that they are for.
    #[test]
    fn what_is_denied_for_want_of_room_needs_none(
        (addresses4, addresses6, prefixes) in (1u32..4, 1u32..4, 1u32..8),
        revisions in prop::collection::vec(revision(), 2..10),
    ) {
        let mut rig = Rig::new(Limits { addresses4, addresses6, prefixes, ..ROOMY });
        rig.peers = PEERS.iter().map(|text| text.parse().unwrap()).collect();
        rig.targets.truncate(3);
        for changes in [&base()[..]].into_iter().chain(revisions.iter().map(Vec::as_slice)) {
            let refused = rig.apply(changes).refused;
            if refused.iter().any(|refusal| matches!(refusal.subject, Refused::Policy { .. })) {
                continue;
            }
            for probe in rig.probes() {
                let meant = rig.meant(&probe).verdict == Verdict::Accept;
                prop_assert!(!rig.enforced(&probe) || meant, "{probe:?}: {refused:?}");
            }
        }
    }
}
