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
        compile::{Compiler, Context, Refused, Shortage, Usage},
        tables::Limits,
    },
};

/// How much room a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What its tables hold.
    pub limits: Limits,
    /// What of it is used; nothing, if it never said.
    pub used: Option<Usage>,
}

/// What was found out about the nodes that a change of policies concerns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prediction {
    /// What some nodes cannot hold.
    pub refused: Vec<Overflow>,
    /// Nodes that a policy of the change is about.
    pub concerned: usize,
    /// Of these, nodes that the change was not compiled for: what it takes there was taken from nodes that it was.
    pub estimated: usize,
}

/// A policy that nodes cannot hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overflow {
    /// The policy.
    pub policy: Key,
    /// What there is too little of.
    pub shortage: Shortage,
    /// Whether that is an estimate.
    pub is_estimate: bool,
    /// On which nodes, by cluster and name.
    pub nodes: Vec<(Uid, Name)>,
}

/// Nodes with the same policies in force and tables of the same sizes: what one of them can hold, all can.
type Sort = (Uid, BTreeSet<u32>, Limits);

/// A node of a sort, and what it uses.
type Member = (Name, Option<Usage>);

/// Compiles a change for the nodes that it concerns: one of each sort, at most `most`, the fullest first. What the change
/// takes on others is estimated: as much as it took where it took most. `room` says how much room a node has.
///
/// Each costs a full compile of the world as that node sees it, and one of the change.
#[must_use]
pub fn predict(world: &World, changes: &[Change], room: &dyn Fn(Uid, &Name) -> Room, most: usize) -> Prediction {
    let mut sorts: Vec<_> = sorts(world, changes, room).into_iter().collect();
    sorts.sort_by_cached_key(|((_, policies, limits), nodes)| {
        let fullest = nodes.iter().map(|(_, used)| used.map_or(u64::MAX, |used| fullness(&used, limits))).max();
        std::cmp::Reverse((fullest, policies.len()))
    });
    let mut prediction =
        Prediction { concerned: sorts.iter().map(|(_, nodes)| nodes.len()).sum(), ..Prediction::default() };
    let mut refused: BTreeMap<(Key, bool), Overflow> = BTreeMap::new();
    let mut refuse = |policy: &Key, shortage, is_estimate, cluster, nodes: &[Member]| {
        let new = || Overflow { policy: policy.clone(), shortage, is_estimate, nodes: Vec::new() };
        let overflow = refused.entry((policy.clone(), is_estimate)).or_insert_with(new);
        overflow.nodes.extend(nodes.iter().map(|(node, _)| (cluster, node.clone())));
    };
    let mut takes = Takes::default();
    for (at, ((cluster, _, limits), nodes)) in sorts.iter().enumerate() {
        match nodes.first().filter(|_| at < most) {
            Some((one, _)) => {
                for (policy, shortage) in compile(world, changes, (*cluster, one), *limits, &mut takes) {
                    refuse(&policy, shortage, false, *cluster, nodes);
                }
            }
            None => {
                prediction.estimated += nodes.len();
                for node in nodes {
                    let Some(shortage) = takes.shortage(node.1, limits) else { continue };
                    let policies = changes.iter().map(Change::key).filter(|key| key.kind == Kind::Policy);
                    policies.for_each(|policy| refuse(policy, shortage, true, *cluster, std::slice::from_ref(node)));
                }
            }
        }
    }
    prediction.refused = refused.into_values().collect();
    prediction
}

/// How full the fullest table is, in thousandths.
fn fullness(used: &Usage, limits: &Limits) -> u64 {
    let tables = used.tables().into_iter().zip(limits.tables());
    tables.map(|((_, used), (_, limit))| u64::from(used) * 1000 / u64::from(limit.max(1))).max().unwrap_or_default()
}

/// What a change took of each table, and what was used before it, where that was most.
#[derive(Default)]
struct Takes {
    before: [u32; 9],
    more: [u32; 9],
}

impl Takes {
    fn note(&mut self, before: &Usage, peak: &Usage) {
        for (at, ((_, before), (_, peak))) in before.tables().into_iter().zip(peak.tables()).enumerate() {
            self.before[at] = self.before[at].max(before);
            self.more[at] = self.more[at].max(peak.saturating_sub(before));
        }
    }

    /// What a node would have too little of that takes as much.
    fn shortage(&self, used: Option<Usage>, limits: &Limits) -> Option<Shortage> {
        let used = used.map_or(self.before, |used| used.tables().map(|(_, used)| used));
        let tables = limits.tables().into_iter().zip(used).zip(self.more);
        tables
            .map(|(((what, limit), used), more)| Shortage {
                what,
                wanted: u64::from(used) + u64::from(more),
                limit: limit.into(),
            })
            .find(|shortage| shortage.wanted > shortage.limit)
    }
}

/// The nodes that run a subject of what changes, by sort.
fn sorts(world: &World, changes: &[Change], room: &dyn Fn(Uid, &Name) -> Room) -> BTreeMap<Sort, Vec<Member>> {
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
    let mut sorts: BTreeMap<Sort, Vec<Member>> = BTreeMap::new();
    for node @ (cluster, name) in concerned {
        let policies = policies.remove(&node).unwrap_or_default();
        let Room { limits, used } = room(cluster, name);
        sorts.entry((cluster, policies, limits)).or_default().push((name.clone(), used));
    }
    sorts
}

/// What of the change does not fit that fitted before.
fn compile(
    world: &World,
    changes: &[Change],
    (cluster, node): (Uid, &Name),
    limits: Limits,
    takes: &mut Takes,
) -> Vec<(Key, Shortage)> {
    let mut compiler = Compiler::new(Context { cluster, node: node.clone() }, limits);
    let all = Kind::ALL.iter().filter(|kind| kind.is_for_spokes()).flat_map(|kind| world.objects(*kind));
    let before = compiler.update(&all.cloned().map(Change::Put).collect::<Vec<_>>());
    let usage = compiler.usage();
    compiler.peak();
    let for_spokes: Vec<Change> = changes.iter().filter(|change| change.key().kind.is_for_spokes()).cloned().collect();
    let after = compiler.update(&for_spokes);
    takes.note(&usage, &compiler.peak());
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

    fn room(port_classes: u16, used: Option<Usage>) -> Room {
        Room { limits: Limits { port_classes, ..ROOMY }, used }
    }

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
        let small = |cluster: Uid, _: &Name| room(if cluster == EAST { 8 } else { 256 }, None);
        let fits = predict(&world, &wide("p", 3), &small, 8);
        assert_eq!((fits.refused, fits.concerned, fits.estimated), (vec![], 2, 0));
        let change = wide("p", 20);
        let prediction = predict(&world, &change, &small, 8);
        let [overflow] = &prediction.refused[..] else { panic!("{prediction:?}") };
        assert_eq!(
            (overflow.policy.name.as_str(), overflow.shortage.what, overflow.shortage.limit),
            ("p", "port classes", 7)
        );
        assert_eq!(overflow.nodes, [(EAST, Name::new("n1").unwrap())]);
    }

    #[test]
    fn nodes_that_it_is_not_compiled_for_are_estimated_from_those_that_it_is() {
        let mut world = world();
        for (home, address) in [(EAST, "10.1.1.1"), (WEST, "10.2.1.1")] {
            namespace(&mut world, home, "shop", &[]);
            workload(&mut world, home, "shop", address, &[("app", "a")]);
        }
        let change = wide("p", 20);
        // 20 ports make 20 classes: where 100 of 110 are taken, there is too little. East is the fullest and is compiled.
        let used = |taken| Some(Limits { port_classes: taken, classes: 1, ..Limits::NONE });
        let west = |taken: u16| {
            move |cluster: Uid, _: &Name| if cluster == EAST { room(256, None) } else { room(110, used(taken)) }
        };
        let fits = predict(&world, &change, &west(80), 1);
        assert_eq!((fits.refused, fits.estimated), (vec![], 1));
        let prediction = predict(&world, &change, &west(100), 1);
        let [overflow] = &prediction.refused[..] else { panic!("{prediction:?}") };
        assert_eq!(overflow.shortage, Shortage { what: "port_classes", wanted: 120, limit: 110 });
        assert_eq!((overflow.is_estimate, &overflow.nodes[..]), (true, &[(WEST, Name::new("n1").unwrap())][..]));
        assert_eq!(predict(&world, &change, &west(100), 2).refused, [], "the compiler knows better: nothing was there");
    }

    #[test]
    fn what_did_not_fit_before_is_no_fault_of_the_change() {
        let mut world = world();
        namespace(&mut world, EAST, "shop", &[]);
        workload(&mut world, EAST, "shop", "10.1.1.1", &[("app", "a")]);
        wide("old", 20).iter().for_each(|change| world.apply(change));
        let small = |_: Uid, _: &Name| room(8, None);
        assert_eq!(predict(&world, &wide("p", 2), &small, 8).refused, []);
    }
}
