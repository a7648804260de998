//! A world looked at once, so that many questions about it are answered quickly: verdicts of many flows, what a change of
//! policies changes, and which rules are of no use.
//!
//! Nothing here has an opinion on what policy means. Addresses are grouped so that the oracle's own functions, asked of
//! one of a group, answer for all of it; so what is previewed is what is enforced.
mod capacity;
mod class;
mod course;
mod curve;
mod diff;
mod index;
mod lint;
mod proposal;
mod report;
mod set;
#[cfg(test)]
mod tests;
mod trial;

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    rc::Rc,
};

use smallvec::SmallVec;

use crate::{
    model::{Labels, Name, Node, Uid},
    policy::{
        Decision, Flow, Match, Party, Side, Workload, World,
        evaluate::{Case, ITSELF, Written},
        matching::Other,
        tables::Direction,
    },
};
pub use capacity::{Overflow, Prediction, Room, predict};
pub use curve::Span;
pub use diff::{Diff, End, Gap, diff};
pub use lint::{Finding, Weight, lint};
pub use proposal::{policies_after, propose, tests_after};
pub use report::{Group, Pairs, Report, Whom};
pub use trial::{Broken, Outcome, Trial, try_tests};

/// Who is at every address of a world.
#[derive(Debug, Clone)]
pub struct Survey<'w> {
    world: &'w World,
    claims: BTreeMap<IpAddr, SmallVec<[Workload<'w>; 1]>>,
    nodes: BTreeMap<IpAddr, (Uid, &'w Node)>,
}

impl<'w> Survey<'w> {
    /// Looks at a world.
    #[must_use]
    pub fn new(world: &'w World) -> Self {
        let mut claims: BTreeMap<IpAddr, SmallVec<[Workload<'w>; 1]>> = BTreeMap::new();
        for workload in world.workloads() {
            for address in &workload.endpoint.addresses {
                claims.entry(*address).or_default().push(workload);
            }
        }
        let mut nodes = BTreeMap::new();
        for (cluster, node) in world.nodes() {
            for address in &node.addresses {
                nodes.entry(*address).or_insert((cluster, node));
            }
        }
        Self { world, claims, nodes }
    }

    /// Every workload, in the order of their addresses; one with several as often.
    fn workloads(&self) -> impl Iterator<Item = Workload<'w>> {
        self.claims.values().flatten().copied()
    }

    /// Who is at an address; see [`World::party`].
    #[must_use]
    pub fn party(&self, address: IpAddr, seen_from: Option<(Uid, &Name)>) -> Party<'w> {
        self.world.party_of(address, self.nodes.get(&address).copied(), || self.holder(address, seen_from))
    }

    /// Whose policy judges what comes from or goes to an address; see [`World::subject_at`].
    #[must_use]
    pub fn subject_at(&self, address: IpAddr) -> Option<Workload<'w>> {
        let other = self.world.is_service_address(address) || self.nodes.contains_key(&address);
        if other { None } else { self.holder(address, None) }
    }

    fn holder(&self, address: IpAddr, seen_from: Option<(Uid, &Name)>) -> Option<Workload<'w>> {
        self.claims.get(&address)?.iter().copied().max_by_key(|workload| workload.claim(seen_from))
    }
}

/// Answers for many flows what [`evaluate`](super::evaluate) answers for one.
#[derive(Debug)]
pub struct Judge<'w> {
    survey: Survey<'w>,
    policies: Vec<Written<'w>>,
    /// The same by the namespace that they are written for, if for one: most are about no other.
    of_namespace: HashMap<Option<&'w Name>, Vec<Written<'w>>>,
    /// The policies that are about the workloads of a cluster and namespace with certain labels.
    about: HashMap<(Uid, &'w Name, &'w Labels), Rc<[Written<'w>]>>,
}

impl<'w> Judge<'w> {
    /// Judges by these policies and none that the world may hold besides.
    #[must_use]
    pub fn new(world: &'w World, policies: Vec<Written<'w>>) -> Self {
        let mut of_namespace: HashMap<_, Vec<_>> = HashMap::new();
        for written in &policies {
            of_namespace.entry(written.1.namespace.as_ref()).or_default().push(*written);
        }
        Self { survey: Survey::new(world), policies, of_namespace, about: HashMap::new() }
    }

    /// What both ends say to a flow.
    pub fn evaluate(&mut self, flow: Flow) -> Decision {
        let mut end = |address, direction, peer| {
            let local = self.survey.subject_at(address)?;
            Some(self.side(local, direction, peer, flow))
        };
        Decision {
            egress: end(flow.from, Direction::Egress, flow.to),
            ingress: end(flow.to, Direction::Ingress, flow.from),
        }
    }

    /// One more workload, which the world does not have.
    fn admit(&mut self, workload: Workload<'w>) {
        for address in &workload.endpoint.addresses {
            self.survey.claims.entry(*address).or_default().push(workload);
        }
    }

    fn side(&mut self, local: Workload<'w>, direction: Direction, peer: IpAddr, flow: Flow) -> Side {
        let party = self.survey.party(peer, Some((local.cluster, &local.endpoint.node)));
        let policies = self.about(local);
        let other = Other { party, address: peer };
        let own_node = local.is_on(&party);
        let (world, target) = (self.survey.world, flow.target);
        let case = Case { world, policies: Cow::Borrowed(&policies), local, direction, other, own_node, target };
        if case.is_itself() { ITSELF } else { case.side() }
    }

    fn about(&mut self, local: Workload<'w>) -> Rc<[Written<'w>]> {
        let (world, namespace) = (self.survey.world, &local.endpoint.namespace);
        let written = [None, Some(namespace)].into_iter().filter_map(|name| self.of_namespace.get(&name)).flatten();
        let matches = |(object, policy): &&Written<'w>| {
            // The cheapest question first.
            policy.subject.pods.matches(&local.endpoint.labels)
                && !matches!(world.subject_matches(object.key.scope, policy, &local), Match::No(_))
        };
        let key = (local.cluster, namespace, &local.endpoint.labels);
        self.about.entry(key).or_insert_with(|| written.filter(matches).copied().collect()).clone()
    }
}
