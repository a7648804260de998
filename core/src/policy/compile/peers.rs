//! Which atoms hold for whom: workloads by their profile, nodes, and addresses of unknown labels.
use std::collections::{BTreeSet, HashMap};

use super::{
    atom::{ANY_PORT, Atom, AtomId, By, Clusters, DENIED, OWN_NODE, PodSelector, PortName},
    index::{LabelIndex, SelectorIndex},
    intern::Interned,
    nouns::Nouns,
    places::Places,
};
use crate::{
    identity::Identity,
    model::{Endpoint, IdentityId, Labels, Name, Node, Uid},
    policy::matching::selects_backend,
};

/// Number of a [`Profile`].
pub(super) type ProfileId = u32;

/// What selectors see of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Profile {
    pub(super) cluster: Uid,
    pub(super) namespace: Name,
    pub(super) service_account: String,
    pub(super) labels: Labels,
}

/// The workloads of one profile.
#[derive(Debug, Default, Clone)]
struct Group {
    /// The pod atoms in force that select them, sorted.
    atoms: Vec<AtomId>,
    members: Vec<Uid>,
}

/// Profiles and atoms, matched.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) atoms: Interned<Atom>,
    profiles: Interned<Profile>,
    groups: Vec<Group>,
    of_endpoint: HashMap<Uid, ProfileId>,
    of_namespace: HashMap<(Uid, Name), BTreeSet<ProfileId>>,
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
}

impl Peers {
    pub(super) fn new() -> Self {
        let mut atoms = Interned::default();
        for (number, atom) in [(DENIED, Atom::Denied), (OWN_NODE, Atom::OwnNode), (ANY_PORT, Atom::AnyPort)] {
            let given = atoms.number(atom);
            debug_assert_eq!(number, given, "fresh numbers start at 0");
            atoms.acquire(given);
        }
        Self {
            atoms,
            profiles: Interned::default(),
            groups: Vec::new(),
            of_endpoint: HashMap::new(),
            of_namespace: HashMap::new(),
            by_labels: LabelIndex::default(),
            selectors: SelectorIndex::default(),
            unlabelled: BTreeSet::new(),
            for_all: BTreeSet::new(),
            maybe: BTreeSet::new(),
            nodes: BTreeSet::new(),
            own_node_needs: 0,
            any_port_needs: 0,
        }
    }

    /// Lets go of numbers that nobody needs.
    pub(super) fn sweep(&mut self) {
        self.atoms.sweep();
        self.profiles.sweep();
    }

    pub(super) fn add_endpoint(&mut self, uid: Uid, cluster: Uid, endpoint: &Endpoint, nouns: &Nouns) {
        let Endpoint { namespace, service_account, labels, .. } = endpoint.clone();
        let profile = Profile { cluster, namespace, service_account, labels };
        let id = self.profiles.number(profile);
        if self.groups.len() <= id as usize {
            self.groups.resize_with(id as usize + 1, Group::default);
        }
        if self.profiles.acquire(id) {
            self.by_labels.add(&endpoint.labels, id);
            self.of_namespace.entry((cluster, endpoint.namespace.clone())).or_default().insert(id);
            self.match_profile(id, nouns);
        }
        self.groups[id as usize].members.push(uid);
        self.of_endpoint.insert(uid, id);
    }

    pub(super) fn remove_endpoint(&mut self, uid: Uid) {
        let Some(id) = self.of_endpoint.remove(&uid) else { return };
        let members = &mut self.groups[id as usize].members;
        if let Some(at) = members.iter().position(|member| *member == uid) {
            members.swap_remove(at);
        }
        if self.profiles.release(id) {
            let profile = self.profiles.get(id);
            self.by_labels.remove(&profile.labels, id);
            if let Some(ids) = self.of_namespace.get_mut(&(profile.cluster, profile.namespace.clone())) {
                ids.remove(&id);
            }
            self.groups[id as usize].atoms.clear();
        }
    }

    /// Matches a profile with every atom in force.
    fn match_profile(&mut self, id: ProfileId, nouns: &Nouns) {
        let profile = self.profiles.get(id);
        let selects = |atom: &AtomId| match self.atoms.get(*atom).as_ref() {
            Atom::Pods(selector) => selected(selector, profile, nouns),
            _ => false,
        };
        let candidates = self.selectors.candidates(&profile.labels).chain(self.unlabelled.iter().copied());
        let mut atoms: Vec<_> = candidates.filter(selects).collect();
        atoms.sort_unstable();
        atoms.dedup();
        self.groups[id as usize].atoms = atoms;
    }

    /// Matches the profiles of a namespace anew, after its labels changed.
    pub(super) fn rematch_namespace(&mut self, cluster: Uid, namespace: &Name, nouns: &Nouns, places: &mut Places) {
        let ids = self.of_namespace.get(&(cluster, namespace.clone())).cloned().unwrap_or_default();
        for id in ids {
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
            self.rematch(|_| true, nouns, places);
        }
    }

    /// Matches the profiles of a cluster anew, after it changed.
    pub(super) fn rematch_cluster(&mut self, cluster: Uid, nouns: &Nouns, places: &mut Places) {
        self.rematch(|profile| profile.cluster == cluster, nouns, places);
    }

    fn rematch(&mut self, concerns: impl Fn(&Profile) -> bool, nouns: &Nouns, places: &mut Places) {
        let ids: Vec<_> = self.profiles.iter().filter(|(_, profile)| concerns(profile)).map(|(id, _)| id).collect();
        for id in ids {
            self.match_profile(id, nouns);
            self.touch_profile(id, nouns, places);
        }
    }

    fn touch_profile(&self, id: ProfileId, nouns: &Nouns, places: &mut Places) {
        let members = &self.groups[id as usize].members;
        for (_, endpoint) in members.iter().filter_map(|uid| nouns.endpoint(*uid)) {
            endpoint.addresses.iter().for_each(|address| places.touch(*address));
        }
    }

    /// Touches what has no known labels in these clusters.
    fn touch_unresolved(&self, clusters: &Clusters, nouns: &Nouns, places: &mut Places) {
        for (_, cluster) in nouns.clusters().filter(|(uid, cluster)| clusters.contains(*uid, cluster)) {
            cluster.prefixes.iter().for_each(|prefix| places.touch_prefixes_within(*prefix));
        }
        let orphans =
            self.of_namespace.iter().filter(|((cluster, name), _)| nouns.namespace_labels(*cluster, name).is_none());
        orphans.flat_map(|(_, ids)| ids).for_each(|id| self.touch_profile(*id, nouns, places));
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
        match atom.as_ref() {
            Atom::Pods(selector) => {
                match &selector.by {
                    By::Labels { pods, .. } if on => self.selectors.add(pods, id),
                    By::Labels { pods, .. } => self.selectors.remove(pods, id),
                    By::Identity(_) | By::Service { .. } if on => drop(self.unlabelled.insert(id)),
                    By::Identity(_) | By::Service { .. } => drop(self.unlabelled.remove(&id)),
                }
                for profile in self.selected_profiles(selector, nouns) {
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
            Atom::Named(name, port) => {
                let has = |endpoint: &Endpoint| has_port(endpoint, name, *port);
                for (_, endpoint) in nouns.endpoints().filter(|(_, endpoint)| has(endpoint)) {
                    endpoint.addresses.iter().for_each(|address| places.touch(*address));
                }
            }
            Atom::Denied | Atom::OwnNode | Atom::AnyPort => {}
        }
    }

    fn selected_profiles(&mut self, selector: &PodSelector, nouns: &Nouns) -> Vec<ProfileId> {
        let all = || self.profiles.iter().map(|(id, _)| id).collect();
        let candidates = match &selector.by {
            By::Labels { pods, .. } => {
                let everything = self.profiles.iter().map(|(id, profile)| (id, &profile.labels));
                self.by_labels.candidates(pods, everything).unwrap_or_else(all)
            }
            By::Service { namespace, .. } => {
                let of = |(uid, _)| self.of_namespace.get(&(uid, namespace.clone()));
                nouns.clusters().filter_map(of).flatten().copied().collect()
            }
            By::Identity(_) => all(),
        };
        let selects = |id: &ProfileId| selected(selector, self.profiles.get(*id), nouns);
        candidates.into_iter().filter(selects).collect()
    }

    /// The atoms that hold for a workload whose namespace is known.
    pub(super) fn of_workload(&self, uid: Uid, endpoint: &Endpoint, atoms: &mut Vec<AtomId>) {
        if let Some(id) = self.of_endpoint.get(&uid) {
            atoms.extend(&self.groups[*id as usize].atoms);
        }
        for port in &endpoint.named_ports {
            let name = PortName { name: port.name.clone(), protocol: port.protocol };
            atoms.extend(self.atoms.needed(&Atom::Named(name, port.port)));
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

fn contains(clusters: &Clusters, uid: Uid, nouns: &Nouns) -> bool {
    nouns.cluster(uid).is_some_and(|cluster| clusters.contains(uid, cluster))
}

/// Whether an endpoint calls this port so.
pub(super) fn has_port(endpoint: &Endpoint, name: &PortName, port: u16) -> bool {
    let is =
        |own: &&crate::model::NamedPort| own.name == name.name && own.protocol == name.protocol && own.port == port;
    endpoint.named_ports.iter().find(is).is_some()
}

/// Whether a workload of this profile is selected. A namespace whose labels are not known is not.
fn selected(selector: &PodSelector, profile: &Profile, nouns: &Nouns) -> bool {
    let Some(labels) = nouns.namespace_labels(profile.cluster, &profile.namespace) else { return false };
    contains(&selector.clusters, profile.cluster, nouns)
        && match &selector.by {
            By::Labels { namespaces, pods } => namespaces.matches(labels) && pods.matches(&profile.labels),
            By::Identity(names) => names.contains(&identity(profile, nouns)),
            By::Service { namespace, name } => {
                let export = || nouns.export(profile.cluster, namespace, name);
                *namespace == profile.namespace
                    && export().is_some_and(|export| selects_backend(&export.selector, &profile.labels))
            }
        }
}

fn identity(profile: &Profile, nouns: &Nouns) -> IdentityId {
    let excluded = nouns.fleet().map(|fleet| fleet.excluded_label_keys.as_slice()).unwrap_or_default();
    Identity::new(&profile.namespace, &profile.service_account, &profile.labels, excluded).id()
}
