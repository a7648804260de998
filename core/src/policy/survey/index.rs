//! Which classes a selector may mean, without asking every one of them.
use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;

use super::{class::Class, set::Set};
use crate::{
    model::{LabelSelector, Name, Peer, Peers, Rule, Scope, Uid},
    policy::{
        Match, Party, World,
        evaluate::Written,
        matching::{Other, has_unknown_peer},
    },
};

/// Up to so many classes are rather asked one by one.
const FEW: usize = 64;

/// Classes by what they are.
#[derive(Debug)]
pub(super) struct Index<'w> {
    world: &'w World,
    labels: HashMap<(&'w str, &'w str), Vec<u32>>,
    clusters: Vec<Uid>,
    namespaces: BTreeMap<(Uid, &'w Name), Vec<u32>>,
    nets: HashMap<IpNet, Vec<u32>>,
    workloads: Vec<u32>,
    nodes: Vec<u32>,
    all: Vec<u32>,
}

impl<'w> Index<'w> {
    pub(super) fn new(world: &'w World, classes: &[Class<'w>]) -> Self {
        let mut index = Self {
            world,
            labels: HashMap::new(),
            clusters: world.clusters().map(|(uid, _)| uid).collect(),
            namespaces: BTreeMap::new(),
            nets: HashMap::new(),
            workloads: Vec::new(),
            nodes: Vec::new(),
            all: Vec::new(),
        };
        for (at, class) in (0u32..).zip(classes) {
            index.all.push(at);
            class.nets.iter().for_each(|net| index.nets.entry(*net).or_default().push(at));
            match class.party {
                Party::Workload(workload) => {
                    let endpoint = workload.endpoint;
                    index.workloads.push(at);
                    index.namespaces.entry((workload.cluster, &endpoint.namespace)).or_default().push(at);
                    for (key, value) in &endpoint.labels {
                        index.labels.entry((key, value)).or_default().push(at);
                    }
                }
                Party::Node { .. } => index.nodes.push(at),
                _ => {}
            }
        }
        index
    }

    /// Whether the index is of no help.
    pub(super) fn is_small(universe: &Set) -> bool {
        universe.len() <= FEW
    }

    /// The classes that a policy is about.
    pub(super) fn subjects(&self, (object, policy): Written<'_>, classes: &[Class<'w>]) -> Vec<u32> {
        let subject = &policy.subject;
        let about = |at: &u32| {
            classes[*at as usize].subject().is_some_and(|workload| {
                // Asked first because it is the cheapest question.
                subject.pods.matches(&workload.endpoint.labels)
                    && self.world.subject_matches(object.key.scope, policy, &workload) == Match::Yes
            })
        };
        let namespace = policy.namespace.as_ref();
        let mut found: Vec<u32> = self.among(&subject.namespaces, &subject.pods, namespace).collect();
        found.retain(about);
        found.sort_unstable();
        found
    }

    /// Workloads, some of which these selectors may mean: the shortest list that one of their labels leads to.
    fn among<'s>(
        &'s self,
        namespaces: &'s LabelSelector,
        pods: &'s LabelSelector,
        namespace: Option<&'s Name>,
    ) -> Box<dyn Iterator<Item = u32> + 's> {
        let none: &[u32] = &[];
        let by_label = pods
            .match_labels
            .iter()
            .map(|(key, value)| self.labels.get(&(key.as_str(), value.as_str())).map_or(none, Vec::as_slice));
        let shortest = by_label.min_by_key(|list| list.len());
        if shortest.is_some_and(|list| list.len() <= FEW)
            || *namespaces == LabelSelector::default() && namespace.is_none()
        {
            return Box::new(shortest.unwrap_or(&self.workloads).iter().copied());
        }
        let of_namespaces: Vec<&Vec<u32>> = match namespace {
            Some(name) => self.clusters.iter().filter_map(|cluster| self.namespaces.get(&(*cluster, name))).collect(),
            None => {
                let wanted = self.namespaces.iter().filter(|(key, _)| self.selects(namespaces, key));
                wanted.map(|(_, list)| list).collect()
            }
        };
        let count: usize = of_namespaces.iter().map(|list| list.len()).sum();
        match shortest.filter(|list| list.len() <= count) {
            Some(list) => Box::new(list.iter().copied()),
            None => Box::new(of_namespaces.into_iter().flatten().copied()),
        }
    }

    fn selects(&self, namespaces: &LabelSelector, (cluster, name): &(Uid, &'w Name)) -> bool {
        self.world.namespace_labels(*cluster, name).is_some_and(|labels| namespaces.matches(labels))
    }

    /// The classes of `universe` that a rule's peers match. Of a rule with a peer that this version does not know it does
    /// not matter who they are.
    pub(super) fn peers(&self, scope: Scope, rule: &Rule, classes: &[Class<'w>], universe: &Set) -> Set {
        let mut found = Set::none(classes.len());
        let Peers::Of(peers) = &rule.peers else { return universe.clone() };
        if has_unknown_peer(rule) {
            return found;
        }
        let few = Self::is_small(universe);
        for peer in peers {
            let one = Peers::Of(vec![peer.clone()]);
            let candidates = if few { Box::new(universe.iter()) } else { self.candidates(peer) };
            for at in candidates.filter(|at| universe.has(*at)) {
                let class = &classes[at as usize];
                let other = Other { party: class.party, address: class.address };
                if may_be(peer, class) && self.world.peers_match(scope, &one, &other) == Match::Yes {
                    found.insert(at);
                }
            }
        }
        found
    }

    fn candidates<'s>(&'s self, peer: &'s Peer) -> Box<dyn Iterator<Item = u32> + 's> {
        match peer {
            Peer::Pods { namespaces, pods, .. } => self.among(namespaces, pods, None),
            Peer::Networks(blocks) => {
                let lists: Vec<_> = blocks.iter().filter_map(|block| self.nets.get(&block.cidr)).collect();
                Box::new(lists.into_iter().flatten().copied())
            }
            Peer::Nodes { .. } => Box::new(self.nodes.iter().copied()),
            Peer::Service { .. } | Peer::Identities { .. } => Box::new(self.workloads.iter().copied()),
            Peer::DomainNames(_) | Peer::Unknown(_) => Box::new(self.all.iter().copied()),
        }
    }
}

/// A cheap question first: whether the peer's labels allow it to be this class.
fn may_be(peer: &Peer, class: &Class<'_>) -> bool {
    match (peer, class.subject()) {
        (Peer::Pods { pods, .. }, workload) => workload.is_some_and(|workload| pods.matches(&workload.endpoint.labels)),
        _ => true,
    }
}
