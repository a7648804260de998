//! What judging a program takes: the meaning of its numbers.
use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    Compiler,
    around::Around,
    atom::{ANY_PORT, Atom, AtomId, CLUSTER_SERVICE, DENIED, OWN_NODE, PortName},
    code::{self, Code, CodeId, Lookup, PeerCode, ProgramId},
    peers::Peers,
    policies::Policies,
    ports::{Ports, TermId},
    portset::{Bits, PortSet},
    profiles::Known,
    standing::Questions,
    workloads::WorkloadId,
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

    /// What a program asks about the other side.
    pub(super) fn questions(&self, id: ProgramId) -> Questions {
        let program = self.policies.programs.get(id);
        let (mut atoms, mut names) = (vec![CLUSTER_SERVICE], BTreeSet::new());
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
                names.extend(code.port_names(Direction::Egress).into_iter().cloned());
            }
        }
        atoms.sort_unstable();
        atoms.dedup();
        Questions { atoms, names: names.into_iter().collect() }
    }

    /// The atoms in force that may answer questions, sorted.
    pub(super) fn relevant(&self, questions: &Questions) -> Vec<AtomId> {
        let named = questions
            .names
            .iter()
            .flat_map(|name| self.policies.ports_named(name).map(|port| Atom::Named(name.clone(), port)));
        let mut atoms: Vec<_> = named.filter_map(|atom| self.peers.atoms.needed(&atom)).collect();
        atoms.extend(&questions.atoms);
        atoms.sort_unstable();
        atoms.dedup();
        atoms
    }
}

impl Compiler {
    /// The atoms of the addresses of a prefix that are nobody's we know.
    pub(super) fn atoms_of_prefix(&self, around: &Around) -> Vec<AtomId> {
        if around.is_service {
            return vec![DENIED];
        }
        let mut atoms = around.blocks.to_vec();
        if let Some(cluster) = around.home {
            self.peers.of_unresolved(cluster, &self.nouns, &mut atoms);
        }
        atoms.sort_unstable();
        atoms.dedup();
        atoms
    }

    /// The atoms of an address that this workload holds, unless a node does.
    pub(super) fn atoms_of_address(
        &self,
        address: IpAddr,
        holder: Option<WorkloadId>,
        around: &Around,
        atoms: &mut Vec<AtomId>,
    ) {
        if around.is_service {
            atoms.push(DENIED);
            return;
        }
        if let Some((cluster, node)) = self.places.node(address).and_then(|node| self.nouns.node(node)) {
            if self.nouns.cluster(cluster).is_none() {
                atoms.push(DENIED);
                return;
            }
            let own = cluster == self.context.cluster && node.name == self.context.node;
            self.peers.of_node(cluster, node, own, &self.nouns, atoms);
        } else if let Some(id) = holder {
            match self.peers.known(id) {
                Known::Everything => self.peers.of_workload(id, &self.nouns, atoms),
                Known::Cluster => {
                    let cluster = self.nouns.workloads.get(id).map(|(_, cluster, _)| cluster);
                    cluster.into_iter().for_each(|cluster| self.peers.of_unresolved(cluster, &self.nouns, atoms));
                }
                Known::Nothing => {
                    atoms.push(DENIED);
                    return;
                }
            }
        } else if self.places.is_of_service(address) {
            atoms.push(CLUSTER_SERVICE);
        } else if let Some(cluster) = around.home {
            self.peers.of_unresolved(cluster, &self.nouns, atoms);
        }
        atoms.extend(&around.blocks);
        if !atoms.is_sorted_by(|a, b| a < b) {
            atoms.sort_unstable();
            atoms.dedup();
        }
    }

    pub(super) fn is_service(&self, net: IpNet) -> bool {
        self.nouns
            .fleet()
            .is_some_and(|fleet| IpNet::V4(fleet.vip4).contains(&net) || IpNet::V6(fleet.vip6).contains(&net))
    }
}
