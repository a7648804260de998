//! What judging a program takes: the meaning of its numbers.
use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Compiler,
    atom::{ANY_PORT, Atom, AtomId, DENIED, OWN_NODE, PortName},
    code::{self, Code, CodeId, Lookup, PeerCode, ProgramId},
    peers::Peers,
    policies::Policies,
    ports::{Ports, TermId},
    portset::{Bits, PortSet},
};
use crate::policy::tables::Direction;

/// Atoms, terms and codes with their meaning.
#[derive(Clone, Copy)]
pub(super) struct Sight<'s> {
    pub(super) policies: &'s Policies,
    pub(super) peers: &'s Peers,
    pub(super) ports: &'s Ports,
}

impl Lookup for Sight<'_> {
    fn code(&self, id: CodeId) -> &Code {
        self.policies.codes.get(id)
    }

    fn mask(&self, term: TermId) -> Bits {
        self.ports.mask(term)
    }

    fn port_mask(&self, name: &PortName, port: u16) -> Bits {
        let term = self.policies.terms.needed(&PortSet::one(name.protocol, port));
        term.map_or(Bits::NONE, |term| self.ports.mask(term))
    }

    fn all(&self) -> Bits {
        self.ports.all()
    }

    fn named(&self, atoms: &[AtomId], name: &PortName) -> Bits {
        atoms.iter().fold(Bits::NONE, |bits, atom| match self.peers.atoms.get(*atom).as_ref() {
            Atom::Named(own, port) if own == name => bits | self.port_mask(name, *port),
            _ => bits,
        })
    }
}

impl Sight<'_> {
    /// The verdicts of a program on an address with these atoms.
    pub(super) fn row(&self, id: ProgramId, atoms: &[AtomId]) -> Bits {
        code::row(self.policies.programs.get(id), atoms, self)
    }

    /// The atoms that a program asks for, sorted.
    pub(super) fn relevant(&self, id: ProgramId) -> Vec<AtomId> {
        let program = self.policies.programs.get(id);
        let mut atoms = Vec::new();
        if program.asks_for_own_node() {
            atoms.push(OWN_NODE);
        }
        for policy in &program.policies {
            let code = self.policies.codes.get(policy.code);
            for rule in code.rules(program.direction).into_iter().flatten() {
                if let PeerCode::Of { yes, maybe } = &rule.peers {
                    atoms.extend(yes.iter().chain(maybe));
                }
            }
            if program.direction == Direction::Egress {
                if code.asks_for_any_port() {
                    atoms.push(ANY_PORT);
                }
                for name in code.port_names(Direction::Egress) {
                    let named = self.policies.ports_named(name).map(|port| Atom::Named(name.clone(), port));
                    atoms.extend(named.filter_map(|atom| self.peers.atoms.needed(&atom)));
                }
            }
        }
        atoms.sort_unstable();
        atoms.dedup();
        atoms
    }
}

impl Compiler {
    /// The atoms of the addresses of a prefix that are nobody's we know.
    pub(super) fn atoms_of_prefix(&self, net: IpNet) -> Vec<AtomId> {
        if self.is_service(net) {
            return vec![DENIED];
        }
        let mut atoms: Vec<_> = self.places.blocks(net).collect();
        if let Some(cluster) = self.places.home(net) {
            self.peers.of_unresolved(cluster, &self.nouns, &mut atoms);
        }
        atoms.sort_unstable();
        atoms.dedup();
        atoms
    }

    /// The atoms of an address.
    pub(super) fn atoms_of_address(&self, address: IpAddr, atoms: &mut Vec<AtomId>) {
        let net = IpNet::from(address);
        if self.is_service(net) {
            atoms.push(DENIED);
            return;
        }
        let place = self.places.place(address);
        if let Some((cluster, node)) = place.and_then(|place| self.nouns.node(place.node()?)) {
            if self.nouns.cluster(cluster).is_none() {
                atoms.push(DENIED);
                return;
            }
            let own = cluster == self.context.cluster && node.name == self.context.node;
            self.peers.of_node(cluster, node, own, &self.nouns, atoms);
        } else if let Some((uid, cluster, endpoint)) = place.and_then(|place| {
            let uid = place.holder()?;
            self.nouns.endpoint(uid).map(|(cluster, endpoint)| (uid, cluster, endpoint))
        }) {
            if self.nouns.cluster(cluster).is_none() {
                atoms.push(DENIED);
                return;
            }
            if self.nouns.namespace_labels(cluster, &endpoint.namespace).is_some() {
                self.peers.of_workload(uid, endpoint, atoms);
            } else {
                self.peers.of_unresolved(cluster, &self.nouns, atoms);
            }
        } else if let Some(cluster) = self.places.home(net) {
            self.peers.of_unresolved(cluster, &self.nouns, atoms);
        }
        atoms.extend(self.places.blocks(net));
        atoms.sort_unstable();
        atoms.dedup();
    }

    pub(super) fn is_service(&self, net: IpNet) -> bool {
        self.nouns
            .fleet()
            .is_some_and(|fleet| IpNet::V4(fleet.vip4).contains(&net) || IpNet::V6(fleet.vip6).contains(&net))
    }
}
