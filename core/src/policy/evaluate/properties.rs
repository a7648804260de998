//! What must hold of the meaning of policy itself, on random worlds.
use proptest::prelude::*;

use super::*;
use crate::{
    log::Change,
    model::{
        ClusterSelector, IpBlock, Kind, LabelSelector, Operator, Peer, Peers, PortMatch, Ports, Protocol, Requirement,
        Subject,
    },
    policy::{
        fixture::{EAST, WEST, cluster, flow, name, namespace, put_policy, workload, world},
        tables::PortTable,
    },
};

/// Workloads of both clusters, nodes, an address without an entry in each cluster, one outside.
const ADDRESSES: [&str; 9] =
    ["10.1.1.1", "10.1.1.2", "10.2.1.1", "10.2.1.2", "10.1.0.1", "10.2.0.1", "10.1.7.7", "10.2.7.7", "192.0.2.1"];
const WORKLOADS: usize = 4;
const TARGETS: [(PortTable, u16); 3] = [(PortTable::Tcp, 80), (PortTable::Udp, 53), (PortTable::Other, 47)];

fn selector() -> impl Strategy<Value = LabelSelector> {
    let key = || prop::sample::select(vec!["app", "team"]).prop_map(str::to_owned);
    let value = || prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned);
    let operator = prop_oneof![
        value().prop_map(|value| Operator::In(vec![value])),
        value().prop_map(|value| Operator::NotIn(vec![value])),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist),
    ];
    let requirement = (key(), operator).prop_map(|(key, operator)| Requirement { key, operator });
    (prop::collection::btree_map(key(), value(), 0..2), prop::collection::vec(requirement, 0..2))
        .prop_map(|(match_labels, match_expressions)| LabelSelector { match_labels, match_expressions })
}

fn clusters() -> impl Strategy<Value = ClusterSelector> {
    prop_oneof![
        Just(ClusterSelector::Own),
        Just(ClusterSelector::Any),
        Just(ClusterSelector::Names(vec![name("west")])),
    ]
}

fn peer() -> impl Strategy<Value = Peer> {
    let blocks = vec!["0.0.0.0/0", "10.2.0.0/16", "10.1.1.1/32"];
    prop_oneof![
        4 => (clusters(), selector(), selector())
            .prop_map(|(clusters, namespaces, pods)| Peer::Pods { clusters, namespaces, pods }),
        2 => prop::sample::select(blocks)
            .prop_map(|cidr| Peer::Networks(vec![IpBlock { cidr: cidr.parse().unwrap(), except: vec![] }])),
        1 => clusters().prop_map(|clusters| Peer::Nodes { clusters, nodes: LabelSelector::default() }),
    ]
}

fn rules(tier: Tier) -> impl Strategy<Value = Option<Vec<Rule>>> {
    let ports = prop_oneof![
        2 => Just(Ports::Any),
        1 => Just(Ports::Of(vec![PortMatch::Range { protocol: Protocol::Tcp, first: 80, last: 81 }])),
        1 => Just(Ports::Of(vec![PortMatch::Named { protocol: None, name: "web".into() }])),
    ];
    let actions =
        if tier == Tier::Namespace { vec![Action::Accept] } else { vec![Action::Deny, Action::Pass, Action::Accept] };
    let peers = prop_oneof![1 => Just(Peers::Any), 6 => prop::collection::vec(peer(), 1..3).prop_map(Peers::Of)];
    let rule = (prop::sample::select(actions), peers, ports).prop_map(|(action, peers, ports)| Rule {
        name: String::new(),
        action,
        peers,
        ports,
    });
    prop::option::of(prop::collection::vec(rule, 0..3))
}

fn policy(n: usize) -> impl Strategy<Value = (Scope, Policy)> {
    let tier = prop::sample::select(vec![Tier::Admin, Tier::Admin, Tier::Namespace, Tier::Baseline]);
    let scope = prop::sample::select(vec![Scope::Fleet, Scope::Cluster(EAST)]);
    let body = (tier, scope, 0u16..3, clusters(), selector(), selector());
    body.prop_flat_map(move |(tier, scope, priority, clusters, namespaces, pods)| {
        (rules(tier), rules(tier), any::<bool>()).prop_map(move |(ingress, egress, audit)| {
            let of_namespace = tier == Tier::Namespace;
            let policy = Policy {
                name: name(&format!("p{n}")),
                namespace: of_namespace.then(|| name("shop")),
                tier,
                priority: if of_namespace { 0 } else { priority },
                subject: Subject { clusters: clusters.clone(), namespaces: namespaces.clone(), pods: pods.clone() },
                ingress,
                egress,
                enforcement: if audit && n == 0 { Enforcement::Audit } else { Enforcement::Enforce },
                disabled: false,
                description: String::new(),
                owner: String::new(),
            };
            (scope, policy)
        })
    })
}

fn policies() -> impl Strategy<Value = Vec<(Scope, Policy)>> {
    (policy(0), policy(1), policy(2), policy(3)).prop_map(|(a, b, c, d)| vec![a, b, c, d])
}

fn world_of(policies: &[(Scope, Policy)], deny: bool) -> World {
    let mut world = world();
    cluster(&mut world, EAST, "east", 1, if deny { Action::Deny } else { Action::Accept });
    for home in [EAST, WEST] {
        namespace(&mut world, home, "shop", &[("team", "a")]);
        namespace(&mut world, home, "back", &[("team", "b")]);
    }
    for (n, address) in ADDRESSES[..WORKLOADS].iter().enumerate() {
        let (home, app) = (if n < 2 { EAST } else { WEST }, if n % 2 == 0 { "a" } else { "b" });
        workload(&mut world, home, if n % 2 == 0 { "shop" } else { "back" }, address, &[("app", app)]);
    }
    for (scope, policy) in policies {
        put_policy(&mut world, *scope, policy.clone());
    }
    world
}

/// Every flow that the tests look at.
fn flows() -> Vec<Flow> {
    let pairs = ADDRESSES.iter().flat_map(|from| ADDRESSES.iter().map(move |to| (from, to)));
    pairs.flat_map(|(from, to)| TARGETS.map(|(table, number)| flow(from, to, table, number))).collect()
}

fn verdicts(world: &World) -> Vec<Verdict> {
    flows().into_iter().map(|flow| evaluate(world, flow).verdict()).collect()
}

/// No flow may be accepted in `after` that was denied in `before`.
fn not_wider(before: &World, after: &World) -> Result<(), TestCaseError> {
    for (flow, (before, after)) in flows().iter().zip(verdicts(before).into_iter().zip(verdicts(after))) {
        prop_assert!(after <= before, "{flow:?} was denied and is accepted");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A rule that loses a peer to the unknown never accepts more, whatever it does.
    #[test]
    fn an_unknown_peer_never_widens(policies in policies(), deny in any::<bool>(), which in any::<prop::sample::Index>()) {
        let before = world_of(&policies, deny);
        let mut garbled = policies;
        let mut rules: Vec<&mut Rule> = garbled.iter_mut()
            .flat_map(|(_, policy)| [&mut policy.ingress, &mut policy.egress]).flatten().flatten().collect();
        prop_assume!(!rules.is_empty());
        let at = which.index(rules.len());
        match &mut rules[at].peers {
            Peers::Of(peers) => peers[0] = Peer::Unknown("newer".into()),
            any => *any = Peers::Of(vec![Peer::Unknown("newer".into())]),
        }
        not_wider(&before, &world_of(&garbled, deny))?;
    }

    /// An address whose endpoint is not known (yet) is never let through where the endpoint would not be.
    #[test]
    fn not_knowing_never_widens(policies in policies(), deny in any::<bool>(), which in 0..WORKLOADS) {
        let before = world_of(&policies, deny);
        let gone: IpAddr = ADDRESSES[which].parse().unwrap();
        let lost = before.workloads().find(|one| one.endpoint.addresses.contains(&gone)).unwrap();
        let mut after = before.clone();
        let object = before.objects(Kind::Endpoint).find(|object| object.uid == lost.uid).unwrap();
        after.apply(&Change::Delete { key: object.key.clone(), uid: lost.uid });
        for local in after.workloads() {
            for (table, number) in TARGETS {
                for direction in [Direction::Ingress, Direction::Egress] {
                    let target = Target { table, number };
                    let known = judge(&before, &local, direction, gone, target).ruling.verdict;
                    let unknown = judge(&after, &local, direction, gone, target).ruling.verdict;
                    prop_assert!(unknown <= known, "{direction:?} {target:?}");
                }
            }
        }
    }

    /// A namespace that is not known (yet) lets nobody through who would not be.
    #[test]
    fn an_unknown_namespace_never_widens(policies in policies(), deny in any::<bool>()) {
        let before = world_of(&policies, deny);
        let mut after = before.clone();
        let object = before.objects(Kind::Namespace).next().unwrap();
        after.apply(&Change::Delete { key: object.key.clone(), uid: object.uid });
        not_wider(&before, &after)?;
    }

    /// A Deny of everything before all others denies everything, and a disabled or audited policy is as good as none.
    #[test]
    fn what_decides_and_what_does_not(policies in policies(), deny in any::<bool>()) {
        let without: Vec<_> = policies.iter().filter(|(_, policy)| policy.enforcement == Enforcement::Enforce).cloned().collect();
        prop_assert_eq!(verdicts(&world_of(&policies, deny)), verdicts(&world_of(&without, deny)));
        let mut disabled = policies.clone();
        disabled.iter_mut().for_each(|(_, policy)| policy.disabled = true);
        prop_assert_eq!(verdicts(&world_of(&disabled, deny)), verdicts(&world_of(&[], deny)));
    }

    /// What is shown is what decides: every accepted or denied end names a reason that is in force.
    #[test]
    fn explanations_agree(policies in policies(), deny in any::<bool>()) {
        let world = world_of(&policies, deny);
        for flow in flows() {
            let (decision, explanation) = (evaluate(&world, flow), crate::policy::explain(&world, flow));
            for (side, trace) in [(decision.egress, explanation.egress), (decision.ingress, explanation.ingress)] {
                prop_assert_eq!(side, trace.as_ref().map(|trace| trace.side));
                let Some(trace) = trace else { continue };
                if let Reason::Rule(rule) = trace.side.ruling.reason {
                    let last = trace.asked.last().expect("the rule that decided was asked");
                    prop_assert_eq!(last.rule, rule);
                    prop_assert!(!matches!(last.matched, Match::No(_)), "{last:?}");
                }
            }
        }
    }
}
