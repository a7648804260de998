//! Which atoms hold for whom: workloads by their profile, nodes, and addresses of unknown labels.
use std::{collections::BTreeSet, sync::Arc};

use hashbrown::HashMap;

use super::{
    atom::{ANY_PORT, Atom, AtomId, By, CLUSTER_SERVICE, Clusters, DENIED, OWN_NODE, PodSelector, PortName},
    digest::Meaning,
    index::{LabelIndex, SelectorIndex},
    intern::Interned,
    nouns::Nouns,
    places::Places,
    profiles::{Known, Profile, Text, contains, selected},
    workloads::{self, WorkloadId},
};
use crate::model::{Endpoint, Name, Node, Resource, Uid};

/// Number of a [`Profile`].
pub(super) type ProfileId = u32;

/// The workloads of one profile.
#[derive(Debug, Default, Clone)]
struct Group {
    known: Known,
    /// The pod atoms in force that select them, sorted.
    atoms: Vec<AtomId>,
    members: Vec<WorkloadId>,
}

/// Profiles and atoms, matched.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) atoms: Interned<Atom>,
    /// What those in force mean, by their numbers.
    pub(super) meanings: Vec<Meaning>,
    profiles: Interned<Profile>,
    /// Where the text of the endpoint at hand is put together.
    text: Vec<u8>,
    groups: Vec<Group>,
    /// The profile of each workload, and its place among the members.
    of_workload: Vec<(ProfileId, u32)>,
    of_namespace: HashMap<Uid, HashMap<Name, BTreeSet<ProfileId>>>,
    by_labels: LabelIndex<ProfileId>,
    /// The pod atoms in force.
    selectors: SelectorIndex<AtomId>,
    /// Those of them that ask for an identity or a service instead of labels.
    unlabelled: BTreeSet<AtomId>,
    /// Those that select every workload of their clusters, also those of unknown labels.
    for_all: BTreeSet<AtomId>,
    /// The atoms in force for workloads of unknown labels.
    maybe: BTreeSet<AtomId>,
    nodes: BTreeSet<AtomId>,
    own_node_needs: u32,
    any_port_needs: u32,
    /// How many atoms of named ports are in force.
    named: u32,
}

impl Peers {
    pub(super) fn new() -> Self {
        let (mut atoms, mut meanings) = (Interned::default(), Vec::new());
        let fixed = [
            (DENIED, Atom::Denied),
            (OWN_NODE, Atom::OwnNode),
            (ANY_PORT, Atom::AnyPort),
            (CLUSTER_SERVICE, Atom::ClusterService),
        ];
        for (number, atom) in fixed {
            meanings.push(Meaning::of(&atom));
            let given = atoms.number(atom);
            debug_assert_eq!(number, given, "fresh numbers start at 0");
            atoms.acquire(given);
        }
        Self {
            atoms,
            meanings,
            profiles: Interned::default(),
            text: Vec::new(),
            groups: Vec::new(),
            of_workload: Vec::new(),
            of_namespace: HashMap::new(),
            by_labels: LabelIndex::default(),
            selectors: SelectorIndex::default(),
            unlabelled: BTreeSet::new(),
            for_all: BTreeSet::new(),
            maybe: BTreeSet::new(),
            nodes: BTreeSet::new(),
            own_node_needs: 0,
            any_port_needs: 0,
            named: 0,
        }
    }

    /// Lets go of numbers that nobody needs.
    pub(super) fn sweep(&mut self) {
        self.atoms.sweep();
        self.profiles.sweep();
    }

    /// Makes room for so many more workloads at once.
    pub(super) fn reserve(&mut self, more: usize) {
        self.of_workload.reserve_exact(more);
    }

    pub(super) fn add_endpoint(&mut self, id: WorkloadId, cluster: Uid, like: &Arc<Resource>, nouns: &Nouns) {
        let Some(endpoint) = workloads::endpoint(like) else { return };
        let text = Text::write(&mut self.text, cluster, endpoint);
        let profile = self.profiles.number_of(&text, || Profile::new(cluster, like, &text));
        if self.groups.len() <= profile as usize {
            self.groups.resize_with(profile as usize + 1, Group::default);
        }
        if self.profiles.acquire(profile) {
            self.by_labels.add(&endpoint.labels, profile);
            let namespaces = self.of_namespace.entry(cluster).or_default();
            match namespaces.get_mut(&endpoint.namespace) {
                Some(profiles) => drop(profiles.insert(profile)),
                None => drop(namespaces.insert(endpoint.namespace.clone(), BTreeSet::from([profile]))),
            }
            self.match_profile(profile, nouns);
        }
        let members = &mut self.groups[profile as usize].members;
        if self.of_workload.len() <= id as usize {
            self.of_workload.resize(id as usize + 1, (0, 0));
        }
        self.of_workload[id as usize] = (profile, members.len() as u32);
        members.push(id);
    }

    pub(super) fn remove_endpoint(&mut self, id: WorkloadId) {
        let (profile, at) = self.of_workload[id as usize];
        let group = &mut self.groups[profile as usize];
        group.members.swap_remove(at as usize);
        if let Some(moved) = group.members.get(at as usize) {
            self.of_workload[*moved as usize].1 = at;
        }
        if self.profiles.release(profile)
            && let Some(seen) = self.profiles.get(profile).seen()
        {
            self.by_labels.remove(&seen.labels, profile);
            if let Some(namespaces) = self.of_namespace.get_mut(&self.profiles.get(profile).cluster())
                && let Some(profiles) = namespaces.get_mut(&seen.namespace)
            {
                profiles.remove(&profile);
                if profiles.is_empty() {
                    namespaces.remove(&seen.namespace);
                }
            }
            group.atoms.clear();
        }
    }

    /// Matches a profile with every atom in force.
    fn match_profile(&mut self, id: ProfileId, nouns: &Nouns) {
        let Some(Endpoint { namespace, labels, .. }) = self.profiles.get(id).seen() else { return };
        let cluster = self.profiles.get(id).cluster();
        let known = match (nouns.cluster(cluster), nouns.namespace_labels(cluster, namespace)) {
            (None, _) => Known::Nothing,
            (Some(_), None) => Known::Cluster,
            (Some(_), Some(_)) => Known::Everything,
        };
        let selects = |atom: &AtomId| match self.atoms.get(*atom).as_ref() {
            Atom::Pods(selector) => selected(selector, self.profiles.get(id), nouns),
            _ => false,
        };
        let mut atoms: Vec<_> = match known {
            Known::Everything => {
                let candidates = self.selectors.candidates(labels).chain(self.unlabelled.iter().copied());
                candidates.filter(selects).collect()
            }
            _ => Vec::new(),
        };
        atoms.sort_unstable();
        atoms.dedup();
        let group = &mut self.groups[id as usize];
        (group.known, group.atoms) = (known, atoms);
    }

    /// Matches the profiles of a namespace anew, after its labels changed.
    pub(super) fn rematch_namespace(&mut self, cluster: Uid, namespace: &Name, nouns: &Nouns, places: &mut Places) {
        let ids = self.of_namespace.get(&cluster).and_then(|namespaces| namespaces.get(namespace));
        for id in ids.cloned().unwrap_or_default() {
            self.match_profile(id, nouns);
            self.touch_profile(id, nouns, places);
        }
    }

    /// Matches the profiles of a namespace anew, after an export in it changed.
    pub(super) fn rematch_service(&mut self, cluster: Uid, namespace: &Name, nouns: &Nouns, places: &mut Places) {
        if !self.unlabelled.is_empty() {
            self.rematch_namespace(cluster, namespace, nouns, places);
        }
    }

    /// Matches every profile anew, after what counts for an identity changed.
    pub(super) fn rematch_identities(&mut self, nouns: &Nouns, places: &mut Places) {
        if !self.unlabelled.is_empty() {
            let ids = self.profiles.iter().map(|(id, _)| id).collect();
            self.rematch(ids, nouns, places);
        }
    }

    /// Matches the profiles of a cluster anew, after it changed.
    pub(super) fn rematch_cluster(&mut self, cluster: Uid, nouns: &Nouns, places: &mut Places) {
        let ids = self.of_namespace.get(&cluster).into_iter().flat_map(HashMap::values).flatten().copied().collect();
        self.rematch(ids, nouns, places);
    }

    fn rematch(&mut self, ids: Vec<ProfileId>, nouns: &Nouns, places: &mut Places) {
        for id in ids {
            self.match_profile(id, nouns);
            self.touch_profile(id, nouns, places);
        }
    }

    fn touch_profile(&self, id: ProfileId, nouns: &Nouns, places: &mut Places) {
        for id in &self.groups[id as usize].members {
            places.touch_workload(*id, || Some(&nouns.workloads.get(*id)?.2.addresses));
        }
    }

    /// Touches what has no known labels in these clusters.
    fn touch_unresolved(&self, clusters: &Clusters, nouns: &Nouns, places: &mut Places) {
        for (_, cluster) in nouns.clusters().filter(|(uid, cluster)| clusters.contains(*uid, cluster)) {
            cluster.prefixes.iter().for_each(|prefix| places.touch_prefixes_within(*prefix));
        }
        let namespaces =
            self.of_namespace.iter().flat_map(|(cluster, of)| of.iter().map(move |(name, ids)| (*cluster, name, ids)));
        let orphans = namespaces.filter(|(cluster, name, _)| nouns.namespace_labels(*cluster, name).is_none());
        orphans.flat_map(|(.., ids)| ids).for_each(|id| self.touch_profile(*id, nouns, places));
    }

    /// Puts an atom in force, or says that one more needs it.
    pub(super) fn acquire(&mut self, id: AtomId, nouns: &Nouns, places: &mut Places) {
        let special = match id {
            OWN_NODE => &mut self.own_node_needs,
            ANY_PORT => &mut self.any_port_needs,
            _ => {
                if self.atoms.acquire(id) {
                    self.set_in_force(id, true, nouns, places);
                }
                return;
            }
        };
        *special += 1;
        if *special == 1 {
            self.touch_special(id, nouns, places);
        }
    }

    /// Says that one needs an atom no more; when nobody does, it is out of force.
    pub(super) fn release(&mut self, id: AtomId, nouns: &Nouns, places: &mut Places) {
        let special = match id {
            OWN_NODE => &mut self.own_node_needs,
            ANY_PORT => &mut self.any_port_needs,
            _ => {
                if self.atoms.release(id) {
                    self.set_in_force(id, false, nouns, places);
                }
                return;
            }
        };
        *special -= 1;
        if *special == 0 {
            self.touch_special(id, nouns, places);
        }
    }

    fn touch_special(&self, id: AtomId, nouns: &Nouns, places: &mut Places) {
        if id == ANY_PORT {
            self.touch_unresolved(&Clusters::Any, nouns, places);
        } else {
            places.touch_nodes();
        }
    }

    fn set_in_force(&mut self, id: AtomId, on: bool, nouns: &Nouns, places: &mut Places) {
        let atom = std::sync::Arc::clone(self.atoms.get(id));
        let put = |set: &mut BTreeSet<AtomId>| if on { set.insert(id) } else { set.remove(&id) };
        if on {
            self.meanings.resize(self.meanings.len().max(id as usize + 1), Meaning::default());
            self.meanings[id as usize] = Meaning::of(atom.as_ref());
        }
        match atom.as_ref() {
            Atom::Pods(selector) => {
                match &selector.by {
                    By::Labels { pods, .. } if on => self.selectors.add(pods, id),
                    By::Labels { pods, .. } => self.selectors.remove(pods, id),
                    By::Identity(_) | By::Service { .. } if on => drop(self.unlabelled.insert(id)),
                    By::Identity(_) | By::Service { .. } => drop(self.unlabelled.remove(&id)),
                }
                for profile in self.candidates(selector, nouns) {
                    let group = &self.groups[profile as usize];
                    // Out of force, those that have it lose it.
                    let concerns = if on {
                        group.known == Known::Everything && selected(selector, self.profiles.get(profile), nouns)
                    } else {
                        group.atoms.binary_search(&id).is_ok()
                    };
                    if !concerns {
                        continue;
                    }
                    let atoms = &mut self.groups[profile as usize].atoms;
                    match (atoms.binary_search(&id), on) {
                        (Err(at), true) => atoms.insert(at, id),
                        (Ok(at), false) => drop(atoms.remove(at)),
                        _ => {}
                    }
                    self.touch_profile(profile, nouns, places);
                }
                if selector.is_all() {
                    put(&mut self.for_all);
                    self.touch_unresolved(&selector.clusters, nouns, places);
                }
            }
            Atom::MaybePods(selector) => {
                put(&mut self.maybe);
                self.touch_unresolved(&selector.clusters, nouns, places);
            }
            Atom::Nodes(..) => {
                put(&mut self.nodes);
                places.touch_nodes();
            }
            Atom::Block(block) if on => places.add_block(id, block),
            Atom::Block(block) => places.remove_block(id, block),
            // Who calls the port so is told by those that know: see `Policies`.
            Atom::Named(..) => self.named = if on { self.named + 1 } else { self.named - 1 },
            Atom::Denied | Atom::OwnNode | Atom::AnyPort | Atom::ClusterService => {}
        }
    }

    /// The profiles that a selector may select.
    fn candidates(&mut self, selector: &PodSelector, nouns: &Nouns) -> Vec<ProfileId> {
        let all = || self.profiles.iter().map(|(id, _)| id).collect();
        match &selector.by {
            By::Labels { pods, .. } => {
                let everything = self.profiles.iter().filter_map(|(id, profile)| Some((id, &profile.seen()?.labels)));
                self.by_labels.candidates(pods, everything).unwrap_or_else(all)
            }
            By::Service { namespace, .. } => {
                let of = |(uid, _)| self.of_namespace.get(&uid)?.get(namespace);
                nouns.clusters().filter_map(of).flatten().copied().collect()
            }
            By::Identity(_) => all(),
        }
    }

    /// How much is known of a workload.
    pub(super) fn known(&self, id: WorkloadId) -> Known {
        self.group(id).map_or(Known::Nothing, |group| group.known)
    }

    fn group(&self, id: WorkloadId) -> Option<&Group> {
        self.groups.get(self.of_workload.get(id as usize)?.0 as usize)
    }

    /// The atoms that hold for a workload of which everything is known.
    pub(super) fn of_workload(&self, id: WorkloadId, nouns: &Nouns, atoms: &mut Vec<AtomId>) {
        atoms.extend(self.group(id).into_iter().flat_map(|group| &group.atoms));
        if self.named > 0
            && let Some((.., endpoint)) = nouns.workloads.get(id)
        {
            for port in &endpoint.named_ports {
                let name = PortName { name: port.name.clone(), protocol: port.protocol };
                atoms.extend(self.atoms.needed(&Atom::Named(name, port.port)));
            }
        }
    }

    /// The atoms that hold for a node.
    pub(super) fn of_node(&self, cluster: Uid, node: &Node, own: bool, nouns: &Nouns, atoms: &mut Vec<AtomId>) {
        let selects = |id: &&AtomId| match self.atoms.get(**id).as_ref() {
            Atom::Nodes(clusters, labels) => contains(clusters, cluster, nouns) && labels.matches(&node.labels),
            _ => false,
        };
        atoms.extend(self.nodes.iter().filter(selects));
        if own && self.own_node_needs > 0 {
            atoms.push(OWN_NODE);
        }
    }

    /// The atoms that hold for an address of which only the cluster is known.
    pub(super) fn of_unresolved(&self, cluster: Uid, nouns: &Nouns, atoms: &mut Vec<AtomId>) {
        let reaches = |id: &&AtomId| match self.atoms.get(**id).as_ref() {
            Atom::Pods(selector) | Atom::MaybePods(selector) => contains(&selector.clusters, cluster, nouns),
            _ => false,
        };
        atoms.extend(self.for_all.iter().filter(reaches));
        atoms.extend(self.maybe.iter().filter(reaches));
        if self.any_port_needs > 0 {
            atoms.push(ANY_PORT);
        }
    }
}
