//! Classes that come and go under workloads whose policies are alike: numbers and blocks are used again and shared.
use proptest::prelude::*;

use super::rig::{
    Probe, ROOMY, Rig, cluster, delete, endpoint, fleet, labels, name, namespace, policy, put_endpoint, put_policy,
};
use crate::{
    log::Change,
    model::{
        Action, ClusterSelector, LabelSelector, Operator, Peer, Peers, PortMatch, Ports, Protocol, Requirement, Rule,
        Scope, Tier,
    },
    policy::{
        Verdict,
        tables::{Direction, PortTable},
    },
};

/// Whom a workload may be called by: a bit for each app.
type Callers = u8;

const APPS: u8 = 4;

/// What happens to the world.
#[derive(Debug, Clone)]
enum Step {
    /// Workloads of these apps come, or go if they are there.
    Turn(u8),
    /// A workload here is called by others.
    Policy(u8, Callers),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        9 => (0..APPS).prop_map(|app| Step::Turn(1 << app)),
        2 => (0..1u8 << APPS).prop_map(Step::Turn),
        1 => (0u8..8, 0..1u8 << APPS).prop_map(|(local, callers)| Step::Policy(local, callers)),
    ]
}

fn remote(app: u8) -> Change {
    put_endpoint(100 + app, 1, endpoint(100 + app, 1, "n9", &format!("app{app}"), &[&format!("10.1.0.{}", app + 1)]))
}

/// What comes and goes between two sets of apps.
fn turned(before: u8, after: u8) -> impl Iterator<Item = Change> {
    (0..APPS).filter(move |app| (before ^ after) >> app & 1 == 1).map(move |app| {
        let change = remote(app);
        if after >> app & 1 == 1 { change } else { delete(&change) }
    })
}

fn policy_of(local: u8, callers: Callers) -> Change {
    let values = (0..APPS).filter(|app| callers >> app & 1 == 1).map(|app| format!("app{app}")).collect();
    let requirement = Requirement { key: "app".into(), operator: Operator::In(values) };
    let pods = LabelSelector { match_expressions: vec![requirement], ..Default::default() };
    let (clusters, namespaces) = (ClusterSelector::Any, LabelSelector::default());
    let rule = Rule {
        name: String::new(),
        action: Action::Accept,
        peers: Peers::Of(vec![Peer::Pods { clusters, namespaces, pods }]),
        ports: Ports::Of(vec![PortMatch::Range { protocol: Protocol::Tcp, first: 80, last: 80 }]),
    };
    let mut policy = policy(&format!("p{local}"), Tier::Namespace, Some(vec![rule]), None);
    policy.namespace = Some(name("a"));
    policy.subject.pods =
        LabelSelector { match_labels: labels(&[("app", &format!("here{local}"))]), ..Default::default() };
    put_policy(Scope::Fleet, 50 + local, 1, policy)
}

fn is_asked(probe: &Probe) -> bool {
    probe.direction == Direction::Ingress && probe.target.table == PortTable::Tcp && probe.target.number == 80
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_and_goes_is_nobody_elses(
        locals in prop::sample::subsequence((1..1u8 << APPS).collect::<Vec<Callers>>(), 4..8).prop_shuffle(),
        first in 0..1u8 << APPS,
        steps in prop::collection::vec(step(), 8..32),
    ) {
        let mut rig = Rig::new(ROOMY);
        rig.peers = (0..=APPS).map(|app| format!("10.1.0.{}", app + 1).parse().unwrap()).collect();
        rig.targets.truncate(1);
        rig.apply(&[fleet(), cluster(0, Action::Accept), cluster(1, Action::Accept)]);
        rig.apply(&[namespace(0, "a", "p"), namespace(1, "a", "p")]);
        let mut here = first;
        rig.apply(&turned(0, here).collect::<Vec<_>>());
        let started = (0u8..).zip(&locals).flat_map(|(local, callers)| {
            let address = format!("10.0.0.{}", local + 1);
            let workload = endpoint(local, 0, "n0", &format!("here{local}"), &[&address]);
            [put_endpoint(10 + local, 0, workload), policy_of(local, *callers)]
        });
        rig.apply(&started.collect::<Vec<_>>());
        for step in &steps {
            let changes: Vec<Change> = match step {
                Step::Turn(apps) => turned(here, here ^ apps).collect(),
                Step::Policy(local, callers) => vec![policy_of(*local % locals.len() as u8, *callers)],
            };
            if let Step::Turn(apps) = step {
                here ^= apps;
            }
            let outcome = rig.apply(&changes);
            prop_assert_eq!(outcome.refused, Vec::new());
            for probe in rig.probes().iter().filter(|probe| is_asked(probe)) {
                let meant = rig.meant(probe).verdict == Verdict::Accept;
                prop_assert_eq!(rig.enforced(probe), meant, "after {:?}: {:?}", step, probe);
            }
        }
        rig.check_rebuild(ROOMY);
    }
}
