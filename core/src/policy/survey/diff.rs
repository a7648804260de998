//! What a change of policies changes: every source, destination and port whose verdict becomes another.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use super::{
    Survey,
    class::{Class, Few},
    course::{Course, Scene, Standing, decides, rules},
    curve::{Curve, Span},
    set::Set,
};
use crate::{
    log::Change,
    model::{Kind, Resource, Uid},
    policy::{Party, Verdict, World, tables::Direction},
};

/// What a change of policies changes.
#[derive(Debug, Clone, Default)]
pub struct Diff<'w> {
    /// Disjoint: no flow is in two of them. The one with the most pairs first.
    pub gaps: Vec<Gap<'w>>,
}

/// Sources, destinations and ports: every flow from one of the first to one of the second with one of the third becomes
/// accepted, or becomes denied; but for a workload's flows to itself, which stay with it.
#[derive(Debug, Clone)]
pub struct Gap<'w> {
    /// What the flows get from now on.
    pub becomes: Verdict,
    /// Who sends.
    pub sources: Vec<End<'w>>,
    /// Who receives.
    pub destinations: Vec<End<'w>>,
    /// With which protocols and ports.
    pub ports: Vec<Span>,
    /// Pairs of a source and a destination.
    pub pairs: u64,
}

/// One end of flows: addresses that policy does not tell apart.
#[derive(Debug, Clone, PartialEq)]
pub struct End<'w> {
    /// One of the addresses.
    pub address: IpAddr,
    /// Who is there.
    pub party: Party<'w>,
    /// Of a node: whether it is meant as the workloads on it see it.
    pub own_node: bool,
    /// How many addresses of workloads or nodes there are.
    pub addresses: u32,
    /// Its number among the ends of this diff.
    pub number: u32,
}

/// What these changes of policies change; changes of anything else are not looked at.
#[must_use]
pub fn diff<'w>(world: &'w World, changes: &'w [Change]) -> Diff<'w> {
    let touched: BTreeSet<_> = changes.iter().map(Change::key).filter(|key| key.kind == Kind::Policy).collect();
    let before =
        world.policies().map(|written| Standing { written, in_force: [true, !touched.contains(&written.0.key)] });
    let after = changes.iter().filter_map(|change| match change {
        Change::Put(object) => match object.resource.as_ref() {
            Resource::Policy(policy) => Some(Standing { written: (object, policy), in_force: [false, true] }),
            _ => None,
        },
        Change::Delete { .. } => None,
    });
    let standing = before.chain(after).filter(|policy| decides(policy.written.1)).collect();
    Differ::new(Scene::new(&Survey::new(world), standing)).diff()
}

/// A curve by its number.
type CurveId = u32;
/// Ports that become accepted and ports that become denied.
type Changed = [Vec<Span>; 2];

struct Differ<'w> {
    scene: Scene<'w>,
    curves: HashMap<Curve, CurveId>,
    by_id: Vec<Curve>,
    /// What two ends together come to, by number in `changes`; `None`: no change.
    together: HashMap<(CurveId, CurveId), Option<u32>>,
    changes: BTreeMap<Changed, u32>,
    /// Workloads alone in their class, with all such classes of theirs.
    alone: HashMap<Uid, Vec<u32>>,
    nodes: Vec<u32>,
}

/// How one course sees the others: by curve.
struct Sight {
    course: Course,
    parts: Vec<(CurveId, Set)>,
}

/// What changes for one class: by change, with whom.
type Row = BTreeMap<u32, Set>;

impl<'w> Differ<'w> {
    fn new(scene: Scene<'w>) -> Self {
        let mut alone: HashMap<Uid, Vec<u32>> = HashMap::new();
        let mut nodes = Vec::new();
        for (at, class) in (0u32..).zip(&scene.classes) {
            match (class.workloads, class.party) {
                (Few::One(uid), _) => alone.entry(uid).or_default().push(at),
                (Few::Many, Party::Node { .. }) => nodes.push(at),
                _ => {}
            }
        }
        let (curves, together) = (HashMap::new(), HashMap::new());
        Self { scene, curves, by_id: Vec::new(), together, changes: BTreeMap::new(), alone, nodes }
    }

    fn diff(mut self) -> Diff<'w> {
        let bound = self.scene.classes.len();
        let [senders, receivers] = [Direction::Egress, Direction::Ingress].map(|direction| self.affected(direction));
        let everybody = Set::of(bound, 0..bound as u32);
        let sent = self.rows(Direction::Egress, &senders, &everybody, &receivers);
        // What these send has been looked at.
        let others = everybody.without(&senders);
        let received = self.rows(Direction::Ingress, &receivers, &others, &Set::none(bound));
        let mut gaps = Vec::new();
        for (rows, direction) in [(sent, Direction::Egress), (received, Direction::Ingress)] {
            let mut alike: BTreeMap<(u32, Vec<u32>), Vec<u32>> = BTreeMap::new();
            for (at, row) in rows {
                for (change, with) in row {
                    alike.entry((change, with.iter().collect())).or_default().push(at);
                }
            }
            for ((change, with), locals) in alike {
                let (sources, destinations) = match direction {
                    Direction::Egress => (&locals, &with),
                    Direction::Ingress => (&with, &locals),
                };
                self.add_gaps(change, sources, destinations, &mut gaps);
            }
        }
        gaps.sort_by(|a, b| (b.pairs, a.becomes, &a.ports).cmp(&(a.pairs, b.becomes, &b.ports)));
        Diff { gaps }
    }

    fn add_gaps(&self, change: u32, sources: &[u32], destinations: &[u32], gaps: &mut Vec<Gap<'w>>) {
        let Some((changed, _)) = self.changes.iter().find(|(_, number)| **number == change) else { return };
        let ends = |classes: &[u32]| classes.iter().map(|class| self.end(*class)).collect::<Vec<_>>();
        for (becomes, ports) in [Verdict::Accept, Verdict::Deny].into_iter().zip(changed) {
            if !ports.is_empty() {
                gaps.push(Gap {
                    becomes,
                    sources: ends(sources),
                    destinations: ends(destinations),
                    ports: ports.clone(),
                    pairs: sources.len() as u64 * destinations.len() as u64,
                });
            }
        }
    }

    fn end(&self, number: u32) -> End<'w> {
        let Class { address, party, own_node, count, .. } = self.scene.classes[number as usize];
        End { address, party, own_node, addresses: count, number }
    }

    /// The classes that a policy which comes or goes judges in a direction.
    fn affected(&self, direction: Direction) -> Set {
        let policies = self.scene.policies.iter().zip(&self.scene.subjects);
        let changing = policies.filter(|(policy, _)| {
            policy.in_force[0] != policy.in_force[1] && rules(policy.written.1, direction).is_some()
        });
        Set::of(self.scene.classes.len(), changing.flat_map(|(_, subjects)| subjects.iter().copied()))
    }

    /// For each of `locals`, which course in this direction changes: what changes for its flows with `others`, some of
    /// whose own courses change too.
    fn rows(&mut self, direction: Direction, locals: &Set, others: &Set, changing: &Set) -> BTreeMap<u32, Row> {
        let sights: Vec<Sight> =
            self.scene.courses(direction, locals.iter()).into_iter().map(|course| self.sight(course, others)).collect();
        let mut met = changing.both(others);
        for (curve, part) in sights.iter().flat_map(|sight| &sight.parts) {
            if self.by_id[*curve as usize].changes() {
                met.add(part);
            }
        }
        let back = match direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        let answers: Vec<Sight> =
            self.scene.courses(back, met.iter()).into_iter().map(|course| self.sight(course, locals)).collect();
        let mut usual: BTreeMap<CurveId, Set> = BTreeMap::new();
        let mut unusual: HashMap<u32, Vec<(usize, CurveId)>> = HashMap::new();
        let mut silent = met;
        for (at, Sight { course, parts }) in answers.iter().enumerate() {
            silent.take_away(&course.members);
            let mut parts: Vec<_> = parts.iter().collect();
            parts.sort_by_key(|(_, part)| std::cmp::Reverse(part.len()));
            if let Some((curve, _)) = parts.first() {
                usual.entry(*curve).or_insert_with(|| Set::none(self.scene.classes.len())).add(&course.members);
            }
            for (curve, part) in parts.into_iter().skip(1) {
                part.iter().for_each(|local| unusual.entry(local).or_default().push((at, *curve)));
            }
        }
        // Who is no workload has no say.
        let accept = self.number(Curve::accept());
        usual.entry(accept).or_insert_with(|| Set::none(self.scene.classes.len())).add(&silent);
        let mut rows = BTreeMap::new();
        for Sight { course, parts } in &sights {
            for local in course.members.iter() {
                let unusual = unusual.get(&local).map(Vec::as_slice).unwrap_or_default();
                let mut row = self.row(parts, &usual, &answers, unusual);
                row.values_mut().for_each(|with| self.keep_real(local, with));
                row.retain(|_, with| !with.is_empty());
                if !row.is_empty() {
                    rows.insert(local, row);
                }
            }
        }
        rows
    }

    /// What changes for a class that sees others in these parts, and is seen by them as usual but for some.
    fn row(
        &mut self,
        parts: &[(CurveId, Set)],
        usual: &BTreeMap<CurveId, Set>,
        answers: &[Sight],
        unusual: &[(usize, CurveId)],
    ) -> Row {
        let mut row = Row::new();
        let mut apart = Set::none(self.scene.classes.len());
        unusual.iter().for_each(|(answer, _)| apart.add(&answers[*answer].course.members));
        for (ours, part) in parts {
            let usual = usual.iter().map(|(theirs, members)| (theirs, members, true));
            let all = usual.chain(unusual.iter().map(|(at, theirs)| (theirs, &answers[*at].course.members, false)));
            for (theirs, members, as_usual) in all {
                let Some(change) = self.together(*ours, *theirs) else { continue };
                let mut with = part.both(members);
                if as_usual {
                    with.take_away(&apart);
                }
                if !with.is_empty() {
                    row.entry(change).or_insert_with(|| Set::none(self.scene.classes.len())).add(&with);
                }
            }
        }
        row
    }

    fn sight(&mut self, course: Course, universe: &Set) -> Sight {
        let mut parts: BTreeMap<CurveId, Set> = BTreeMap::new();
        for part in self.scene.parts(&course, universe) {
            let Some(one) = part.iter().next() else { continue };
            let curve = self.scene.curve(&course, one);
            let curve = self.number(curve);
            parts.entry(curve).or_insert_with(|| Set::none(self.scene.classes.len())).add(&part);
        }
        Sight { course, parts: parts.into_iter().collect() }
    }

    fn number(&mut self, curve: Curve) -> CurveId {
        let next = self.by_id.len() as CurveId;
        *self.curves.entry(curve).or_insert_with_key(|curve| {
            self.by_id.push(curve.clone());
            next
        })
    }

    fn together(&mut self, ours: CurveId, theirs: CurveId) -> Option<u32> {
        if let Some(known) = self.together.get(&(ours, theirs)) {
            return *known;
        }
        let changed = self.by_id[ours as usize].with(&self.by_id[theirs as usize]);
        let next = self.changes.len() as u32;
        let nothing = changed.iter().all(Vec::is_empty);
        let number = if nothing { None } else { Some(*self.changes.entry(changed).or_insert(next)) };
        self.together.insert((ours, theirs), number);
        number
    }

    /// Takes away who cannot be the other end: the workload itself, a node that is not its own as its own, and its only
    /// node as another.
    fn keep_real(&self, local: u32, with: &mut Set) {
        let class = &self.scene.classes[local as usize];
        if let Few::One(uid) = class.workloads {
            self.alone.get(&uid).into_iter().flatten().for_each(|own| with.remove(*own));
        }
        for at in &self.nodes {
            if !sees(class, &self.scene.classes[*at as usize]) {
                with.remove(*at);
            }
        }
    }
}

/// Whether a workload of the class sees a node of the other class in the way that is meant.
fn sees(class: &Class<'_>, node: &Class<'_>) -> bool {
    if node.own_node {
        class.nodes.intersection(&node.nodes).next().is_some()
    } else {
        // All but one: there is another node, or another workload's own.
        class.nodes.len() > 1 || node.nodes.len() > 1 || class.nodes != node.nodes
    }
}
