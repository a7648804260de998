//! Policies: whom they select here, and what they say once turned into numbers.
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::BuildHasher,
};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::{
    atom::{ANY_PORT, Atom, AtomId, Clusters, PodSelector, PortName},
    code::{Code, CodeId, PeerCode, PortCode, Program, ProgramId, RuleCode},
    index::SelectorIndex,
    intern::Interned,
    nouns::{Noun, Nouns},
    peers::Peers,
    places::Places,
    ports::TermId,
    portset::{PortSet, fixed_range},
    workloads::WorkloadId,
};
use crate::{
    model::{
        Action, Endpoint, Enforcement, Key, Peer, Peers as PeerList, Policy, PortMatch, Ports, Protocol, Rule, Scope,
        Uid,
    },
    policy::{matching::has_unknown_peer, tables::Direction},
};

/// Number of a policy object: one version of it.
pub(super) type PolicyId = u32;

/// One version of a policy.
#[derive(Debug)]
pub(super) struct PolicyState {
    pub(super) noun: std::sync::Arc<Noun>,
    /// Its code, while it selects a workload here.
    pub(super) code: Option<CodeId>,
    /// The workloads that it selects.
    pub(super) locals: BTreeSet<Uid>,
}

/// The policies, and what those in force need.
#[derive(Debug, Default)]
pub(super) struct Policies {
    by_key: HashTable<PolicyId>,
    hasher: DefaultHashBuilder,
    states: Vec<Option<PolicyState>>,
    free: Vec<PolicyId>,
    subjects: SelectorIndex<PolicyId>,
    pub(super) codes: Interned<Code>,
    pub(super) programs: Interned<Program>,
    /// Those that somebody needs, or nobody any more, since slots were last made.
    pub(super) changed_programs: BTreeSet<ProgramId>,
    /// The sets of ports that rules in force name.
    pub(super) terms: Interned<PortSet>,
    /// Those that somebody needs, or nobody any more, since the port classes were last made.
    pub(super) changed_terms: BTreeSet<TermId>,
    /// How many rules' codes use a name for ports of the other side.
    names: HashMap<PortName, u32>,
    /// The workloads that call a port so.
    named: HashMap<PortName, BTreeMap<u16, BTreeSet<WorkloadId>>>,
    /// Code that was replaced; let go once what takes its place is in force.
    retired: Vec<CodeId>,
}

/// What the numbers of a code stand for, for those who must be told.
pub(super) struct World<'w> {
    pub(super) nouns: &'w Nouns,
    pub(super) peers: &'w mut Peers,
    pub(super) places: &'w mut Places,
}

impl Policies {
    pub(super) fn state(&self, id: PolicyId) -> Option<&PolicyState> {
        self.states.get(id as usize)?.as_ref()
    }

    /// The present version of a policy.
    pub(super) fn noun(&self, key: &Key) -> Option<&std::sync::Arc<Noun>> {
        Some(&self.state(self.find(key)?)?.noun)
    }

    fn find(&self, key: &Key) -> Option<PolicyId> {
        let is = |id: &PolicyId| self.state(*id).is_some_and(|state| state.noun.key == *key);
        self.by_key.find(self.hasher.hash_one(key), is).copied()
    }

    /// Takes a version out. Gives the workloads that it selected.
    pub(super) fn remove(&mut self, key: &Key) -> BTreeSet<Uid> {
        let Some(id) = self.find(key) else { return BTreeSet::new() };
        if let Ok(found) = self.by_key.find_entry(self.hasher.hash_one(key), |each| *each == id) {
            found.remove();
        }
        let Some(state) = self.states[id as usize].take() else { return BTreeSet::new() };
        if let Some(policy) = state.noun.policy() {
            self.subjects.remove(&policy.subject.pods, id);
        }
        self.retired.extend(state.code);
        self.free.push(id);
        state.locals
    }

    /// Adds a version. A policy without effect is kept, to be known by its key.
    pub(super) fn add(&mut self, noun: std::sync::Arc<Noun>) {
        let id = self.free.pop().unwrap_or_else(|| {
            self.states.push(None);
            self.states.len() as PolicyId - 1
        });
        if let Some(policy) = noun.policy().filter(|policy| decides(policy)) {
            self.subjects.add(&policy.subject.pods, id);
        }
        let hash = self.hasher.hash_one(&noun.key);
        self.states[id as usize] = Some(PolicyState { noun, code: None, locals: BTreeSet::new() });
        let (states, hasher) = (&self.states, &self.hasher);
        let rehash = |id: &PolicyId| states[*id as usize].as_ref().map_or(0, |state| hasher.hash_one(&state.noun.key));
        self.by_key.insert_unique(hash, id, rehash);
    }

    /// The policies that are about a workload of this node. Its namespace is known.
    pub(super) fn about(&self, cluster: Uid, endpoint: &Endpoint, nouns: &Nouns) -> Vec<PolicyId> {
        let about = |id: &PolicyId| {
            self.state(*id)
                .and_then(|state| state.noun.policy().map(|policy| (state.noun.key.scope, policy)))
                .is_some_and(|(scope, policy)| is_about(scope, policy, cluster, endpoint, nouns))
        };
        let mut found: Vec<_> = self.subjects.candidates(&endpoint.labels).filter(about).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Notes that a policy selects a workload, or does so no more.
    pub(super) fn set_selects(&mut self, id: PolicyId, local: Uid, selects: bool, world: &mut World<'_>) {
        let Some(state) = self.states.get_mut(id as usize).and_then(Option::as_mut) else { return };
        if selects {
            state.locals.insert(local);
        } else {
            state.locals.remove(&local);
        }
        let noun = std::sync::Arc::clone(&state.noun);
        match (state.code, state.locals.is_empty()) {
            (None, false) => {
                let code = noun.policy().map(|policy| self.encode(noun.key.scope, policy, world.peers));
                let id_of_code = self.codes.number(code.unwrap_or_default());
                if self.codes.acquire(id_of_code) {
                    self.set_code_in_force(id_of_code, true, world);
                }
                if let Some(state) = self.states[id as usize].as_mut() {
                    state.code = Some(id_of_code);
                }
            }
            (Some(code), true) => {
                self.retired.push(code);
                state.code = None;
            }
            _ => {}
        }
    }

    /// The ports that workloads call so.
    pub(super) fn ports_named(&self, name: &PortName) -> impl Iterator<Item = u16> {
        self.named.get(name).into_iter().flat_map(BTreeMap::keys).copied()
    }

    /// Lets go of replaced code.
    pub(super) fn retire(&mut self, world: &mut World<'_>) {
        for code in std::mem::take(&mut self.retired) {
            if self.codes.release(code) {
                self.set_code_in_force(code, false, world);
            }
        }
    }

    /// Lets go of numbers that nobody needs.
    pub(super) fn sweep(&mut self) {
        self.codes.sweep();
        self.programs.sweep();
        self.terms.sweep();
    }

    fn set_code_in_force(&mut self, id: CodeId, on: bool, world: &mut World<'_>) {
        let code = std::sync::Arc::clone(self.codes.get(id));
        for atom in code.atoms() {
            set_atom(atom, on, world);
        }
        if code.asks_for_any_port() {
            set_atom(ANY_PORT, on, world);
        }
        for term in code.terms() {
            self.set_term(term, on);
        }
        for name in code.port_names(Direction::Egress) {
            let needs = self.names.entry(name.clone()).or_default();
            *needs = if on { *needs + 1 } else { *needs - 1 };
            let changed = *needs == u32::from(on);
            if *needs == 0 {
                self.names.remove(name);
            }
            if changed {
                let ports: Vec<u16> = self.ports_named(name).collect();
                ports.into_iter().for_each(|port| self.set_named(name, port, on, world));
            }
        }
    }

    fn set_term(&mut self, term: TermId, on: bool) {
        if if on { self.terms.acquire(term) } else { self.terms.release(term) } {
            self.changed_terms.insert(term);
        }
    }

    /// Puts the atom of a named port in force, or takes it out.
    fn set_named(&mut self, name: &PortName, port: u16, on: bool, world: &mut World<'_>) {
        let atom = world.peers.atoms.number(Atom::Named(name.clone(), port));
        set_atom(atom, on, world);
        for id in self.named.get(name).and_then(|ports| ports.get(&port)).into_iter().flatten() {
            world.places.touch_workload(*id, || Some(&world.nouns.workloads.get(*id)?.2.addresses));
        }
        let term = self.terms.number(PortSet::one(name.protocol, port));
        self.set_term(term, on);
    }

    /// Notes the named ports of a workload that comes or goes; its own addresses are touched anyhow.
    pub(super) fn note_named(&mut self, id: WorkloadId, endpoint: &Endpoint, on: bool, world: &mut World<'_>) {
        for own in &endpoint.named_ports {
            let name = PortName { name: own.name.clone(), protocol: own.protocol };
            let ports = self.named.entry(name.clone()).or_default();
            let workloads = ports.entry(own.port).or_default();
            let noted = if on { workloads.insert(id) } else { workloads.remove(&id) };
            let changed = noted && workloads.len() == usize::from(on);
            if workloads.is_empty() {
                ports.remove(&own.port);
            }
            if changed && self.names.contains_key(&name) {
                self.set_named(&name, own.port, on, world);
            }
        }
    }

    /// Notes that a workload needs a program, or does so no more.
    pub(super) fn set_program(&mut self, id: ProgramId, on: bool, world: &mut World<'_>) {
        let changed = if on { self.programs.acquire(id) } else { self.programs.release(id) };
        if !changed {
            return;
        }
        self.changed_programs.insert(id);
        let program = std::sync::Arc::clone(self.programs.get(id));
        if program.asks_for_own_node() {
            set_atom(super::atom::OWN_NODE, on, world);
        }
        for (name, port) in &program.named {
            let term = self.terms.number(PortSet::one(name.protocol, *port));
            self.set_term(term, on);
        }
    }

    fn encode(&mut self, scope: Scope, policy: &Policy, peers: &mut Peers) -> Code {
        let mut rules = |rules: &Option<Vec<Rule>>| {
            rules.as_ref().map(|rules| rules.iter().map(|rule| self.encode_rule(scope, rule, peers)).collect())
        };
        Code { ingress: rules(&policy.ingress), egress: rules(&policy.egress) }
    }

    fn encode_rule(&mut self, scope: Scope, rule: &Rule, peers: &mut Peers) -> RuleCode {
        if has_unknown_peer(rule) {
            // Fails closed: an Accept matches nothing, any other everything, which it denies.
            let nothing = PeerCode::Of { yes: Vec::new(), maybe: Vec::new() };
            let peers = if rule.action == Action::Accept { nothing } else { PeerCode::Any };
            let action = if rule.action == Action::Accept { Action::Accept } else { Action::Deny };
            return RuleCode { action, peers, ports: PortCode::Any };
        }
        let accepts = rule.action == Action::Accept;
        let peers = match &rule.peers {
            PeerList::Any => PeerCode::Any,
            PeerList::Of(list) => encode_peers(scope, list, accepts, peers),
        };
        let ports = match &rule.ports {
            Ports::Any => PortCode::Any,
            Ports::Of(ports) => self.encode_ports(ports, accepts),
        };
        RuleCode { action: rule.action, peers, ports }
    }

    fn encode_ports(&mut self, ports: &[PortMatch], accepts: bool) -> PortCode {
        let fixed = self.terms.number(PortSet::new(ports.iter().filter_map(fixed_range)));
        let mut named = BTreeSet::new();
        for port in ports {
            if let PortMatch::Named { protocol, name } = port {
                let protocols = protocol.map_or(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp], |one| vec![one]);
                let with_ports = protocols.into_iter().filter(|one| !matches!(one, Protocol::Icmp | Protocol::Icmpv6));
                named.extend(with_ports.map(|protocol| PortName { name: name.clone(), protocol }));
            }
        }
        let whole = named.iter().map(|name: &PortName| (name.protocol.into(), 0, u16::MAX));
        let unknown = (!accepts && !named.is_empty()).then(|| PortSet::new(whole));
        let unknown = unknown.map(|set| self.terms.number(set));
        PortCode::Of { fixed, named: named.into_iter().collect(), unknown }
    }
}

/// A pod selector is asked twice: of the workloads whose labels are known and, unless the rule accepts (then what may
/// match is as good as what does not), of those whose labels are not.
fn encode_peers(scope: Scope, list: &[Peer], accepts: bool, peers: &mut Peers) -> PeerCode {
    let (mut yes, mut maybe) = (BTreeSet::new(), BTreeSet::new());
    for peer in list {
        match peer {
            Peer::Pods { .. } | Peer::Identities { .. } | Peer::Service { .. } => {
                let Some(selector) = PodSelector::of(scope, peer) else { continue };
                if !accepts && !selector.is_all() {
                    maybe.insert(peers.atoms.number(Atom::MaybePods(selector.clone())));
                }
                yes.insert(peers.atoms.number(Atom::Pods(selector)));
            }
            Peer::Networks(blocks) => {
                yes.extend(blocks.iter().map(|block| peers.atoms.number(Atom::Block(block.clone()))));
            }
            Peer::Nodes { clusters, nodes } => {
                yes.insert(peers.atoms.number(Atom::Nodes(Clusters::new(scope, clusters), nodes.clone())));
            }
            // What names lead to is not known here: such a peer accepts nothing. A rule with an unknown one never gets here.
            Peer::DomainNames(_) | Peer::Unknown(_) => {}
        }
    }
    PeerCode::Of { yes: yes.into_iter().collect(), maybe: maybe.into_iter().collect() }
}

fn set_atom(atom: AtomId, on: bool, world: &mut World<'_>) {
    if on {
        world.peers.acquire(atom, world.nouns, world.places);
    } else {
        world.peers.release(atom, world.nouns, world.places);
    }
}

/// Whether a policy can decide anything.
pub(super) fn decides(policy: &Policy) -> bool {
    !policy.disabled && policy.enforcement == Enforcement::Enforce
}

/// Whether a policy is about a workload of this (known) cluster whose namespace is known.
pub(super) fn is_about(scope: Scope, policy: &Policy, cluster: Uid, endpoint: &Endpoint, nouns: &Nouns) -> bool {
    decides(policy)
        && (scope == Scope::Fleet || scope == Scope::Cluster(cluster))
        && policy.namespace.as_ref().is_none_or(|own| *own == endpoint.namespace)
        && policy.subject.pods.matches(&endpoint.labels)
        && nouns
            .cluster(cluster)
            .is_some_and(|known| Clusters::new(scope, &policy.subject.clusters).contains(cluster, known))
        && nouns
            .namespace_labels(cluster, &endpoint.namespace)
            .is_some_and(|labels| policy.subject.namespaces.matches(labels))
}
