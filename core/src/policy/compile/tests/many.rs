//! More classes than one block has, and slots that start out from each kind of row.
use proptest::prelude::*;

use super::rig::{
    Probe, ROOMY, Rig, cluster, delete, endpoint, fleet, labels, name, namespace, policy, put, put_endpoint, put_policy,
};
use crate::{
    log::Change,
    model::{
        Action, ClusterSelector, Kind, LabelSelector, Operator, Peer, Peers, PortMatch, Ports, Protocol, Requirement,
        Resource, Rule, Scope, Tier, Uid,
    },
    policy::{
        Target, Verdict,
        tables::{Direction, PortTable, Write},
    },
};

const APPS: u16 = 400;
const RULES: u16 = 9;

/// Whether a rule is about an app: one in three, whatever the seed.
fn is_about(seed: u16, rule: u16, app: u16) -> bool {
    let mut mixed =
        (u64::from(seed) << 32 | u64::from(rule) << 16 | u64::from(app)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 40) % 3 == 0
}

fn rule(action: Action, seed: u16, number: u16) -> Rule {
    let apps = (0..APPS).filter(|app| is_about(seed, number, *app)).map(|app| format!("app{app}")).collect();
    let requirement = Requirement { key: "app".into(), operator: Operator::In(apps) };
    let pods = LabelSelector { match_expressions: vec![requirement], ..Default::default() };
    let (clusters, namespaces) = (ClusterSelector::Any, LabelSelector::default());
    let port = PortMatch::Range { protocol: Protocol::Tcp, first: 80 + number, last: 80 + number + seed % 3 };
    Rule {
        name: String::new(),
        action,
        peers: Peers::Of(vec![Peer::Pods { clusters, namespaces, pods }]),
        ports: Ports::Of(vec![port]),
    }
}

/// What the workload of this number lets in: the first starts from nothing, the second from everything, the third from
/// all but one port.
fn policy_of(local: u8, seed: u16) -> Change {
    let action = if local == 0 { Action::Accept } else { Action::Deny };
    let mut rules: Vec<_> = (0..RULES).map(|number| rule(action, seed, number)).collect();
    if local == 2 {
        let ports = Ports::Of(vec![PortMatch::Range { protocol: Protocol::Tcp, first: 85, last: 85 }]);
        rules.push(Rule { peers: Peers::Any, ports, ..rule(Action::Deny, 0, 0) });
    }
    let tier = if local == 0 { Tier::Namespace } else { Tier::Admin };
    let mut policy = policy(&format!("p{local}"), tier, Some(rules), None);
    policy.namespace = (local == 0).then(|| name("a"));
    policy.subject.pods =
        LabelSelector { match_labels: labels(&[("app", &format!("here{local}"))]), ..Default::default() };
    put_policy(Scope::Fleet, 50 + local, 1, policy)
}

fn remote(app: u16) -> Change {
    let endpoint = endpoint(0, 1, "n9", &format!("app{app}"), &[&format!("10.1.{}.{}", app / 200, app % 200 + 1)]);
    let mut uid = [9; 16];
    uid[..2].copy_from_slice(&app.to_be_bytes());
    let uid = Uid(uid);
    put(Scope::Cluster(Uid([1; 16])), "", &uid.to_string(), uid, 1, Resource::Endpoint(endpoint))
}

/// What happens to the world.
#[derive(Debug, Clone)]
enum Step {
    Policy(u8, u16),
    NoPolicy(u8),
    Come(u16, u16),
    Go(u16, u16),
}

impl Step {
    fn changes(&self) -> Vec<Change> {
        match self {
            Self::Policy(local, seed) => vec![policy_of(*local, *seed)],
            Self::NoPolicy(local) => vec![delete(&policy_of(*local, 0))],
            Self::Come(first, count) => (*first..(first + count).min(APPS)).map(remote).collect(),
            Self::Go(first, count) => (*first..(first + count).min(APPS)).map(|app| delete(&remote(app))).collect(),
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..3, 0u16..9).prop_map(|(local, seed)| Step::Policy(local, seed)),
        1 => (0u8..3).prop_map(Step::NoPolicy),
        3 => (0..APPS, 1..APPS).prop_map(|(first, count)| Step::Come(first, count)),
        2 => (0..APPS, 1..APPS).prop_map(|(first, count)| Step::Go(first, count)),
    ]
}

/// Every seventeenth app at some ports of each workload here.
fn probes(rig: &Rig, offset: u16) -> Vec<Probe> {
    let mut probes = Vec::new();
    for local in rig.compiler.locals() {
        for app in (offset % 17..APPS).step_by(17) {
            let peer = format!("10.1.{}.{}", app / 200, app % 200 + 1).parse().unwrap();
            for number in [80, 80 + app % 12, 9999] {
                let target = Target { table: PortTable::Tcp, number };
                let (endpoint, local) = (local.endpoint, local.local);
                probes.push(Probe { endpoint, local, direction: Direction::Ingress, peer, target });
            }
        }
    }
    probes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// Up to the flip every packet is judged as before, from then on as it shall be; without a flip each goes from the
    /// old verdict to the new one. In the end nothing is left of what is gone.
    #[test]
    fn many_classes_agree_with_the_oracle(steps in prop::collection::vec(step(), 2..7), offset in 0u16..17) {
        let mut rig = Rig::new(ROOMY);
        rig.apply(&[
            fleet(),
            cluster(0, Action::Accept),
            cluster(1, Action::Accept),
            namespace(0, "a", "p"),
            namespace(1, "a", "p"),
        ]);
        rig.apply(&(0u8..3).map(|n| {
            put_endpoint(10 + n, 0, endpoint(n, 0, "n0", &format!("here{n}"), &[&format!("10.0.0.{}", n + 1)]))
        }).collect::<Vec<_>>());
        rig.apply(&(0..APPS).map(remote).collect::<Vec<_>>());
        rig.apply(&(0..3).map(|local| policy_of(local, u16::from(local))).collect::<Vec<_>>());
        prop_assert!(rig.compiler.usage().classes > 256, "{:?}", rig.compiler.usage());
        for step in &steps {
            let changes = step.changes();
            let probes = probes(&rig, offset);
            let old: Vec<bool> = probes.iter().map(|probe| rig.enforced(probe)).collect();
            changes.iter().for_each(|change| rig.world.apply(change));
            let new: Vec<bool> = probes.iter().map(|probe| rig.meant(probe).verdict == Verdict::Accept).collect();
            let outcome = rig.compiler.update(&changes);
            prop_assert_eq!(&outcome.refused, &Vec::new());
            let flips = outcome.plan.writes.iter().any(|write| matches!(write, Write::Flip { .. }));
            let writes: Vec<_> = outcome.plan.writes.iter().chain(&outcome.plan.settle).collect();
            let (mut flipped, pace) = (false, writes.len() / 5 + 1);
            for (at, write) in writes.iter().enumerate() {
                rig.tables.apply(write).unwrap();
                let is_flip = matches!(write, Write::Flip { .. });
                flipped |= is_flip;
                let flips_next = matches!(writes.get(at + 1), Some(Write::Flip { .. }));
                if !is_flip && !flips_next && at % pace != 0 && at + 1 != writes.len() {
                    continue;
                }
                for (n, probe) in probes.iter().enumerate() {
                    let now = rig.enforced(probe);
                    let right = match (flips, flipped) {
                        (true, false) => now == old[n],
                        (true, true) => now == new[n],
                        (false, _) => now == old[n] || now == new[n],
                    };
                    prop_assert!(right, "after {at} {write:?} of {step:?}: {probe:?} is {now}, was {}", old[n]);
                }
            }
            let now: Vec<bool> = probes.iter().map(|probe| rig.enforced(probe)).collect();
            prop_assert_eq!(&now, &new, "after {:?}", step);
        }
        let fresh = rig.afresh(|changes| changes.rotate_left(usize::from(offset)));
        let (ours, theirs) = (rig.compiler.usage(), fresh.compiler.usage());
        prop_assert_eq!(rig.compiler.digest(), fresh.compiler.digest());
        prop_assert_eq!((ours.classes, ours.port_classes), (theirs.classes, theirs.port_classes));
        prop_assert_eq!((ours.slots, ours.addresses4), (theirs.slots, theirs.addresses4));
        rig.check_rebuild(ROOMY);
        // Nothing but the workloads here: as if there had never been anything else.
        let empty = rig.world.objects(Kind::Policy).chain(rig.world.objects(Kind::Endpoint));
        let gone: Vec<Change> = empty
            .filter(|object| object.key.scope != Scope::Cluster(Uid([0; 16])))
            .map(|object| Change::Delete { key: object.key.clone(), uid: object.uid })
            .collect();
        rig.apply(&gone);
        let usage = rig.compiler.usage();
        prop_assert_eq!((usage.rows, usage.blocks, usage.slots, usage.port_classes), (2, 2, 2, 1), "{:?}", usage);
    }
}
