//! Whether nodes can hold a change of policies, by the compiler that they will compile it with.
use std::collections::{BTreeMap, BTreeSet};

use super::{
    Survey,
    course::{Scene, Standing},
};
use crate::{
    log::Change,
    model::{Key, Kind, Name, Uid},
    policy::{
        World,
        compile::{Compiler, Context, Refused, Shortage},
        tables::Limits,
    },
};

/// What was found out about the nodes that a change of policies concerns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prediction {
    /// What some nodes cannot hold.
    pub refused: Vec<Overflow>,
    /// Nodes that a policy of the change is about and whose room is not beyond doubt.
    pub concerned: usize,
    /// Of these, nodes that nothing is known about, because there are too many sorts of node to look at.
    pub unknown: usize,
}

/// A policy that nodes cannot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overflow {
    /// The policy.
    pub policy: Key,
    /// What there is too little of.
    pub shortage: Shortage,
    /// On which nodes, by cluster and name.
    pub nodes: Vec<(Uid, Name)>,
}

/// Nodes with the same policies in force and the same room: what one of them can hold, all can.
type Sort = (Uid, BTreeSet<u32>, Limits);

/// Compiles a change for the nodes that it concerns: one of each sort, at most `most`, those with the most policies
/// first. `room` says how much room a node has; nothing, if so much that nobody needs to look.
///
/// Each costs a full compile of the world as that node sees it, and one of the change.
#[must_use]
pub fn predict(
    world: &World,
    changes: &[Change],
    room: &dyn Fn(Uid, &Name) -> Option<Limits>,
    most: usize,
) -> Prediction {
    let sorts = sorts(world, changes, room);
    let mut prediction = Prediction { concerned: sorts.values().map(Vec::len).sum(), ..Prediction::default() };
    let mut sorts: Vec<_> = sorts.into_iter().collect();
    sorts.sort_by_key(|((_, policies, _), _)| std::cmp::Reverse(policies.len()));
    let mut refused: BTreeMap<Key, Overflow> = BTreeMap::new();
    for (at, ((cluster, _, limits), nodes)) in sorts.into_iter().enumerate() {
        let Some(one) = nodes.first().filter(|_| at < most) else {
            prediction.unknown += nodes.len();
            continue;
        };
        for (policy, shortage) in compile(world, changes, (cluster, one), limits) {
            let new = || Overflow { policy: policy.clone(), shortage, nodes: Vec::new() };
            let overflow = refused.entry(policy.clone()).or_insert_with(new);
            overflow.nodes.extend(nodes.iter().map(|node| (cluster, node.clone())));
        }
    }
    prediction.refused = refused.into_values().collect();
    prediction
}

/// The nodes that run a subject of what changes, by sort.
fn sorts(world: &World, changes: &[Change], room: &dyn Fn(Uid, &Name) -> Option<Limits>) -> BTreeMap<Sort, Vec<Name>> {
    let after = super::policies_after(world, changes);
    let standing = after.iter().filter(|(_, policy)| !policy.disabled);
    let standing: Vec<_> = standing.map(|written| Standing { written: *written, in_force: [true; 2] }).collect();
    let touched: BTreeSet<&Key> = changes.iter().map(Change::key).collect();
    let scene = Scene::new(&Survey::new(world), standing);
    let mut policies: BTreeMap<(Uid, &Name), BTreeSet<u32>> = BTreeMap::new();
    let mut concerned: BTreeSet<(Uid, &Name)> = BTreeSet::new();
    for (at, (standing, subjects)) in (0u32..).zip(scene.policies.iter().zip(&scene.subjects)) {
        for node in subjects.iter().flat_map(|class| &scene.classes[*class as usize].nodes) {
            policies.entry(*node).or_default().insert(at);
            if touched.contains(&standing.written.0.key) {
                concerned.insert(*node);
            }
        }
    }
    let mut sorts: BTreeMap<Sort, Vec<Name>> = BTreeMap::new();
    for node @ (cluster, name) in concerned {
        let policies = policies.remove(&node).unwrap_or_default();
        if let Some(limits) = room(cluster, name) {
            sorts.entry((cluster, policies, limits)).or_default().push(name.clone());
        }
    }
    sorts
}

/// What of the change does not fit that fitted before.
fn compile(world: &World, changes: &[Change], (cluster, node): (Uid, &Name), limits: Limits) -> Vec<(Key, Shortage)> {
    let mut compiler = Compiler::new(Context { cluster, node: node.clone() }, limits);
    let all = Kind::ALL.iter().filter(|kind| kind.is_for_spokes()).flat_map(|kind| world.objects(*kind));
    let before = compiler.update(&all.cloned().map(Change::Put).collect::<Vec<_>>());
    let for_spokes: Vec<Change> = changes.iter().filter(|change| change.key().kind.is_for_spokes()).cloned().collect();
    let after = compiler.update(&for_spokes);
    let known: Vec<_> = before.refused.iter().map(|refusal| &refusal.subject).collect();
    let new = after.refused.iter().filter(|refusal| !known.contains(&&refusal.subject));
    new.filter_map(|refusal| match &refusal.subject {
        Refused::Policy { key, .. } => Some((key.clone(), refusal.shortage)),
        Refused::State => None,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Scope,
        policy::fixture::{EAST, WEST, namespace, policy, workload, world},
    };

    const ROOMY: Limits = Limits {
        classes: 4096,
        port_classes: 256,
        rows: 4096,
        blocks: 4096,
        slots: 256,
        locals: 64,
        addresses4: 4096,
        addresses6: 4096,
        prefixes: 256,
    };

    /// A policy with so many rules, each with a port of its own.
    fn wide(name: &str, ports: u16) -> Vec<Change> {
        let mut world = world();
        let rule = |port| {
            format!(
                "{{action: Accept, from: [{{namespaces: {{}}}}], protocols: [{{tcp: {{destinationPort: {{number: {port}}}}}}}]}}"
            )
        };
        let rules: Vec<_> = (1..=ports).map(rule).collect();
        let spec = format!(
            "tier: Admin, priority: 1, subject: {{pods: {{podSelector: {{matchLabels: {{app: a}}}}}}}}, ingress: [{}]",
            rules.join(",")
        );
        policy(&mut world, Scope::Fleet, name, &spec);
        world.objects(Kind::Policy).cloned().map(Change::Put).collect()
    }

    #[test]
    fn what_does_not_fit_is_said_with_numbers_and_nodes() {
        let mut world = world();
        for (home, address) in [(EAST, "10.1.1.1"), (WEST, "10.2.1.1")] {
            namespace(&mut world, home, "shop", &[]);
            workload(&mut world, home, "shop", address, &[("app", "a")]);
        }
        let small =
            |cluster: Uid, _: &Name| Some(Limits { port_classes: if cluster == EAST { 8 } else { 256 }, ..ROOMY });
        let fits = predict(&world, &wide("p", 3), &small, 8);
        assert_eq!((fits.refused, fits.concerned, fits.unknown), (vec![], 2, 0));
        let change = wide("p", 20);
        let prediction = predict(&world, &change, &small, 8);
        let [overflow] = &prediction.refused[..] else { panic!("{prediction:?}") };
        assert_eq!(
            (overflow.policy.name.as_str(), overflow.shortage.what, overflow.shortage.limit),
            ("p", "port classes", 7)
        );
        assert_eq!(overflow.nodes, [(EAST, Name::new("n1").unwrap())]);
        assert_eq!(predict(&world, &change, &small, 1).unknown, 1, "what is not looked at is said");
    }

    #[test]
    fn what_did_not_fit_before_is_no_fault_of_the_change() {
        let mut world = world();
        namespace(&mut world, EAST, "shop", &[]);
        workload(&mut world, EAST, "shop", "10.1.1.1", &[("app", "a")]);
        wide("old", 20).iter().for_each(|change| world.apply(change));
        let small = |_: Uid, _: &Name| Some(Limits { port_classes: 8, ..ROOMY });
        assert_eq!(predict(&world, &wide("p", 2), &small, 8).refused, []);
    }
}
