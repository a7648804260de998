//! What it means to match: subjects, peers and ports, one function each.
//!
//! An address may be unresolved (its cluster known, its labels not), so a match has three answers. The rule for the
//! third: a selector that is not empty *may* match a workload whose labels are unknown, each on its own; the evaluator
//! then takes the strictest of the verdicts that follow.
use std::net::IpAddr;

use crate::{
    identity::Identity,
    model::{
        Cluster, ClusterSelector, IpBlock, LabelSelector, Labels, Name, Peer, Peers, Policy, PortMatch, Ports,
        Protocol, REGION_LABEL, Rule, Scope, Uid,
    },
    policy::{
        tables::PortTable,
        world::{Party, Workload, World},
    },
};

/// Whether something matches, in the order of certainty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Match {
    /// No.
    No(Miss),
    /// For some of the labels or named ports that it could have.
    Maybe,
    /// Yes.
    Yes,
}

/// What stood in the way of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Miss {
    /// It is of another cluster.
    Cluster,
    /// It is in another namespace than the policy's own.
    Namespace,
    /// The labels of its namespace differ.
    NamespaceLabels,
    /// Its own labels differ.
    Labels,
    /// A workload was wanted.
    NotAWorkload,
    /// A node was wanted.
    NotANode,
    /// Its address is in none of the blocks.
    Address,
    /// Its identity is another.
    Identity,
    /// It is no backend of the service.
    NotABackend,
    /// No name that is wanted leads to its address, as far as is known.
    DomainName,
    /// Domain names are looked at outside the mesh only.
    NotOutside,
    /// The list of peers is empty.
    NoPeers,
    /// An Accept with a peer that this version does not know accepts nothing.
    UnknownPeer,
    /// None of its ports is the packet's.
    Port,
}

/// The other side of a judgement, with the address that block rules look at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Other<'w> {
    pub(super) party: Party<'w>,
    pub(super) address: IpAddr,
}

/// What a packet asks for: a port table and a number in it (see [`PortTable`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The protocol.
    pub table: PortTable,
    /// Destination port; for ICMP type times 256 plus code; for any other protocol its number.
    pub number: u16,
}

impl Match {
    /// Both must match: the first that does not is the reason.
    pub(super) fn and(self, other: impl FnOnce() -> Self) -> Self {
        match self {
            Self::No(_) => self,
            Self::Maybe => other().min(Self::Maybe),
            Self::Yes => other(),
        }
    }

    fn when(holds: bool, miss: Miss) -> Self {
        if holds { Self::Yes } else { Self::No(miss) }
    }
}

/// The best of several; the last miss if all miss.
fn any(matches: impl Iterator<Item = Match>, nothing: Miss) -> Match {
    matches.fold(Match::No(nothing), |best, next| match (best, next) {
        (Match::No(_), Match::No(_)) => next,
        _ => best.max(next),
    })
}

impl World {
    /// Whether a policy of this scope is about the workload. The labels of its namespace are known.
    #[must_use]
    pub fn subject_matches(&self, scope: Scope, policy: &Policy, workload: &Workload<'_>) -> Match {
        let of_scope = match scope {
            Scope::Fleet => true,
            // A policy written in a cluster has subjects there only, whatever it says.
            Scope::Cluster(cluster) => cluster == workload.cluster,
        };
        let of_namespace = policy.namespace.as_ref().is_none_or(|name| *name == workload.endpoint.namespace);
        let subject = &policy.subject;
        Match::when(of_scope && self.cluster_matches(scope, &subject.clusters, workload.cluster), Miss::Cluster)
            .and(|| Match::when(of_namespace, Miss::Namespace))
            .and(|| self.labels_match(workload, &subject.namespaces, &subject.pods))
    }

    /// Whether one of a rule's peers is the other side.
    pub(super) fn peers_match(&self, scope: Scope, peers: &Peers, other: &Other<'_>) -> Match {
        match peers {
            Peers::Any => Match::Yes,
            Peers::Of(peers) => any(peers.iter().map(|peer| self.peer_matches(scope, peer, other)), Miss::NoPeers),
        }
    }

    fn peer_matches(&self, scope: Scope, peer: &Peer, other: &Other<'_>) -> Match {
        match (peer, other.party) {
            (Peer::Pods { clusters, namespaces, pods }, Party::Workload(workload)) => {
                Match::when(self.cluster_matches(scope, clusters, workload.cluster), Miss::Cluster)
                    .and(|| self.labels_match(&workload, namespaces, pods))
            }
            (Peer::Pods { clusters, namespaces, pods }, Party::Unresolved { cluster }) => {
                let all = LabelSelector::default();
                let certain = if *namespaces == all && *pods == all { Match::Yes } else { Match::Maybe };
                Match::when(self.cluster_matches(scope, clusters, cluster), Miss::Cluster).and(|| certain)
            }
            (Peer::Service { clusters, namespace, name }, Party::Workload(workload)) => {
                Match::when(self.cluster_matches(scope, clusters, workload.cluster), Miss::Cluster)
                    .and(|| Match::when(*namespace == workload.endpoint.namespace, Miss::Namespace))
                    .and(|| Match::when(self.is_backend(&workload, name), Miss::NotABackend))
            }
            (Peer::Identities { clusters, names }, Party::Workload(workload)) => {
                let excluded = self.fleet().map(|fleet| fleet.excluded_label_keys.as_slice()).unwrap_or_default();
                let known = || names.contains(&Identity::of(workload.endpoint, excluded).id());
                Match::when(self.cluster_matches(scope, clusters, workload.cluster), Miss::Cluster)
                    .and(|| Match::when(known(), Miss::Identity))
            }
            (Peer::Service { clusters, .. } | Peer::Identities { clusters, .. }, Party::Unresolved { cluster }) => {
                Match::when(self.cluster_matches(scope, clusters, cluster), Miss::Cluster).and(|| Match::Maybe)
            }
            (Peer::Pods { .. } | Peer::Service { .. } | Peer::Identities { .. }, _) => Match::No(Miss::NotAWorkload),
            (Peer::DomainNames(names), Party::Outside) => {
                let mut leading = self.domain_names(other.address);
                Match::when(leading.any(|each| names.iter().any(|name| name.matches(each))), Miss::DomainName)
            }
            (Peer::DomainNames(_), _) => Match::No(Miss::NotOutside),
            (Peer::Networks(blocks), _) => {
                Match::when(blocks.iter().any(|block| in_block(block, other.address)), Miss::Address)
            }
            (Peer::Nodes { clusters, nodes }, Party::Node { cluster, node }) => {
                Match::when(self.cluster_matches(scope, clusters, cluster), Miss::Cluster)
                    .and(|| Match::when(nodes.matches(&node.labels), Miss::Labels))
            }
            (Peer::Nodes { .. }, _) => Match::No(Miss::NotANode),
            (Peer::Unknown(_), _) => Match::No(Miss::UnknownPeer),
        }
    }

    fn is_backend(&self, workload: &Workload<'_>, name: &Name) -> bool {
        let export = self.export(workload.cluster, &workload.endpoint.namespace, name);
        export.is_some_and(|export| selects_backend(&export.selector, &workload.endpoint.labels))
    }

    fn labels_match(&self, workload: &Workload<'_>, namespaces: &LabelSelector, pods: &LabelSelector) -> Match {
        let labels = self.namespace_labels(workload.cluster, &workload.endpoint.namespace);
        Match::when(labels.is_some_and(|labels| namespaces.matches(labels)), Miss::NamespaceLabels)
            .and(|| Match::when(pods.matches(&workload.endpoint.labels), Miss::Labels))
    }

    fn cluster_matches(&self, scope: Scope, selector: &ClusterSelector, uid: Uid) -> bool {
        let Some(cluster) = self.cluster(uid) else { return false };
        match selector {
            ClusterSelector::Own => scope == Scope::Fleet || scope == Scope::Cluster(uid),
            ClusterSelector::Any => true,
            ClusterSelector::Names(names) => names.contains(&cluster.name),
            ClusterSelector::Labels(selector) => selector.matches(&cluster_labels(cluster)),
        }
    }
}

/// Whether an export with this selector has a workload with these labels as a backend: an empty one has none.
pub(super) fn selects_backend(selector: &Labels, labels: &Labels) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A cluster's labels as selectors see them: with its region, which no label of its own can stand for.
#[must_use]
pub fn cluster_labels(cluster: &Cluster) -> Labels {
    let mut labels = cluster.labels.clone();
    labels.remove(REGION_LABEL);
    if !cluster.region.is_empty() {
        labels.insert(REGION_LABEL.into(), cluster.region.clone());
    }
    labels
}

fn in_block(block: &IpBlock, address: IpAddr) -> bool {
    block.cidr.contains(&address) && !block.except.iter().any(|hole| hole.contains(&address))
}

/// Whether a rule names a peer that this version does not know.
pub(super) fn has_unknown_peer(rule: &Rule) -> bool {
    matches!(&rule.peers, Peers::Of(peers) if peers.iter().any(|peer| matches!(peer, Peer::Unknown(_))))
}

/// Whether one of a rule's ports is the packet's. `destination` is who receives it, for the ports that it names.
pub(super) fn ports_match(ports: &Ports, target: Target, destination: &Party<'_>) -> Match {
    match ports {
        Ports::Any => Match::Yes,
        Ports::Of(ports) => any(ports.iter().map(|port| port_matches(port, target, destination)), Miss::Port),
    }
}

fn port_matches(port: &PortMatch, target: Target, destination: &Party<'_>) -> Match {
    let Some(of) = protocol(target.table) else { return Match::No(Miss::Port) };
    let holds = match port {
        PortMatch::Protocol(protocol) => *protocol == of,
        PortMatch::Range { protocol, first, last } => *protocol == of && (*first..=*last).contains(&target.number),
        PortMatch::IcmpType { protocol, kind, code } => {
            let [packet_kind, packet_code] = target.number.to_be_bytes();
            *protocol == of && *kind == packet_kind && code.is_none_or(|code| code == packet_code)
        }
        PortMatch::Named { protocol, name } => {
            let has_ports = matches!(of, Protocol::Tcp | Protocol::Udp | Protocol::Sctp);
            if !has_ports || protocol.is_some_and(|protocol| protocol != of) {
                return Match::No(Miss::Port);
            }
            match destination {
                Party::Workload(workload) => {
                    let named = &workload.endpoint.named_ports;
                    named.iter().any(|own| own.name == *name && own.protocol == of && own.port == target.number)
                }
                Party::Unresolved { .. } => return Match::Maybe,
                _ => false,
            }
        }
    };
    Match::when(holds, Miss::Port)
}

fn protocol(table: PortTable) -> Option<Protocol> {
    match table {
        PortTable::Tcp => Some(Protocol::Tcp),
        PortTable::Udp => Some(Protocol::Udp),
        PortTable::Sctp => Some(Protocol::Sctp),
        PortTable::Icmp => Some(Protocol::Icmp),
        PortTable::Icmpv6 => Some(Protocol::Icmpv6),
        PortTable::Other => None,
    }
}
