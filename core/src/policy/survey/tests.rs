//! What is answered quickly is what the oracle answers, on random worlds.
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{
    class::Nets,
    course::{Scene, Standing},
    *,
};
use crate::{
    log::Change,
    model::Kind,
    policy::{
        Target, Verdict,
        compile::tests::random::{PEERS, change, start},
        evaluate,
    },
};

fn addresses() -> Vec<IpAddr> {
    PEERS.iter().map(|text| text.parse().unwrap()).collect()
}

fn flows(targets: &[Target]) -> Vec<Flow> {
    let pairs = addresses().into_iter().flat_map(|from| addresses().into_iter().map(move |to| (from, to)));
    let same_family = pairs.filter(|(from, to)| from.is_ipv4() == to.is_ipv4());
    same_family.flat_map(|(from, to)| targets.iter().map(move |target| Flow { from, to, target: *target })).collect()
}

/// Policy changes only, each key once.
fn policy_changes(changes: Vec<Change>) -> Vec<Change> {
    let mut seen = BTreeSet::new();
    let of_policy = changes.into_iter().filter(|change| change.key().kind == Kind::Policy);
    of_policy.filter(|change| seen.insert(change.key().clone())).collect()
}

/// The class of an address as somebody sees it.
fn class(
    scene: &Scene<'_>,
    survey: &Survey<'_>,
    nets: &Nets,
    address: IpAddr,
    seen_by: Option<Workload<'_>>,
) -> Option<u32> {
    let party = survey.party(address, None);
    let own = seen_by.is_some_and(|workload| workload.is_on(&party));
    let alike = |class: &class::Class<'_>| match (class.party, party) {
        (Party::Workload(a), Party::Workload(b)) => {
            let (x, y) = (a.endpoint, b.endpoint);
            (a.cluster, &x.namespace, &x.service_account, &x.labels, &x.named_ports)
                == (b.cluster, &y.namespace, &y.service_account, &y.labels, &y.named_ports)
        }
        (Party::Node { cluster: a, node: x }, Party::Node { cluster: b, node: y }) => a == b && x.labels == y.labels,
        (Party::Outside, Party::Outside) => {
            survey.world.domain_names(class.address).eq(survey.world.domain_names(address))
        }
        _ => false,
    };
    let found = scene.classes.iter().position(|class| {
        class.is_v4() == address.is_ipv4()
            && class.nets == nets.around(address)
            && class.own_node == own
            && alike(class)
    });
    found.map(|at| u32::try_from(at).unwrap())
}

fn check_diff(world: &World, changes: &[Change], targets: &[Target]) -> Result<(), TestCaseError> {
    let mut after = world.clone();
    changes.iter().for_each(|change| after.apply(change));
    let survey = Survey::new(world);
    let policies: Vec<_> = world.policies().chain(after.policies()).collect();
    let nets = Nets::of(policies.iter().map(|(_, policy)| *policy).filter(|policy| course::decides(policy)));
    let standing = policies.into_iter().filter(|(_, policy)| course::decides(policy));
    let scene = Scene::new(&survey, standing.map(|written| Standing { written, in_force: [true; 2] }).collect());
    let diff = diff(world, changes);
    let contested: BTreeSet<_> =
        survey.claims.iter().filter(|(_, claims)| claims.len() > 1).map(|(address, _)| *address).collect();
    for flow in flows(targets) {
        let unresolved = |address| matches!(survey.party(address, None), Party::Unresolved { .. });
        let [from, to] = [flow.from, flow.to].map(|address| survey.subject_at(address));
        let itself = from.is_some() && from.map(|workload| workload.uid) == to.map(|workload| workload.uid);
        let skip = |address| contested.contains(&address) || unresolved(address);
        if skip(flow.from) || skip(flow.to) || itself {
            continue;
        }
        let [was, is] = [world, &after].map(|world| evaluate(world, flow).verdict());
        let source = class(&scene, &survey, &nets, flow.from, to);
        let destination = class(&scene, &survey, &nets, flow.to, from);
        let has = |ends: &[End<'_>], number: Option<u32>| ends.iter().any(|end| Some(end.number) == number);
        let told: Vec<_> = diff
            .gaps
            .iter()
            .filter(|gap| has(&gap.sources, source) && has(&gap.destinations, destination))
            .filter(|gap| gap.ports.iter().any(|span| span.has(flow.target)))
            .map(|gap| gap.becomes)
            .collect();
        let meant: &[Verdict] = if was == is { &[] } else { &[is] };
        prop_assert_eq!(told, meant, "{:?} {:?} {:?}", flow, source, destination);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_judge_says_what_the_oracle_says(changes in prop::collection::vec(change(), 1..24)) {
        let mut rig = start();
        changes.iter().for_each(|change| rig.world.apply(change));
        let mut judge = Judge::new(&rig.world, rig.world.policies().collect());
        for flow in flows(&rig.targets) {
            prop_assert_eq!(judge.evaluate(flow), evaluate(&rig.world, flow), "{:?}", flow);
        }
    }

    #[test]
    fn a_diff_is_every_change_of_verdict_and_no_other(
        world in prop::collection::vec(change(), 4..32),
        changes in prop::collection::vec((change(), any::<bool>()), 1..24),
    ) {
        let mut rig = start();
        world.iter().for_each(|change| rig.world.apply(change));
        let gone = |(change, gone): (Change, bool)| match change {
            Change::Put(object) if gone => Change::Delete { key: object.key, uid: object.uid },
            change => change,
        };
        check_diff(&rig.world, &policy_changes(changes.into_iter().map(gone).collect()), &rig.targets)?;
    }
}
