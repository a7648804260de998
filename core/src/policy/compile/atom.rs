//! The questions that policies ask about the other side of a packet. Addresses with the same answers share a class.
use crate::{
    model::{Cluster, ClusterSelector, IdentityId, IpBlock, LabelSelector, Name, Peer, Protocol, Scope, Uid},
    policy::matching::cluster_labels,
};

/// Number of an [`Atom`].
pub(super) type AtomId = u32;

/// One question about an address, as far as policies in force ask it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Atom {
    /// Is it an address that nothing may be sent to or come from, such as a service's? Then nothing else is asked.
    Denied,
    /// Is it this node's own?
    OwnNode,
    /// May it have any named port, since it is not known which it has?
    AnyPort,
    /// Is a workload that these select there?
    Pods(PodSelector),
    /// Is a workload of unknown labels there that these may select?
    MaybePods(PodSelector),
    /// Is a node that these select there?
    Nodes(Clusters, LabelSelector),
    /// Is it in this block?
    Block(IpBlock),
    /// Does the workload there call this port so?
    Named(PortName, u16),
    /// Is it the address of a service of the node's cluster, which stands for whatever the service leads to?
    ClusterService,
}

/// What all compilers number alike.
pub(super) const DENIED: AtomId = 0;
/// See [`Atom::OwnNode`].
pub(super) const OWN_NODE: AtomId = 1;
/// See [`Atom::AnyPort`].
pub(super) const ANY_PORT: AtomId = 2;

/// See [`Atom::ClusterService`].
pub(super) const CLUSTER_SERVICE: AtomId = 3;

/// A name for ports, of one protocol.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PortName {
    pub(super) name: String,
    pub(super) protocol: Protocol,
}

/// Selects workloads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct PodSelector {
    pub(super) clusters: Clusters,
    pub(super) by: By,
}

/// By what workloads are selected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum By {
    Labels { namespaces: LabelSelector, pods: LabelSelector },
    Identity(Vec<IdentityId>),
    Service { namespace: Name, name: Name },
}

impl PodSelector {
    /// The selector of a peer, if it is one of workloads.
    pub(super) fn of(scope: Scope, peer: &Peer) -> Option<Self> {
        let by = match peer.clone() {
            Peer::Pods { namespaces, pods, .. } => By::Labels { namespaces, pods },
            Peer::Identities { names, .. } => By::Identity(names),
            Peer::Service { namespace, name, .. } => By::Service { namespace, name },
            Peer::Networks(_) | Peer::Nodes { .. } | Peer::DomainNames(_) | Peer::Unknown(_) => return None,
        };
        Some(Self { clusters: Clusters::new(scope, peer.clusters()?), by })
    }

    /// Whether every workload of the clusters is selected, whatever its labels.
    pub(super) fn is_all(&self) -> bool {
        let all = LabelSelector::default();
        matches!(&self.by, By::Labels { namespaces, pods } if *namespaces == all && *pods == all)
    }
}

/// Which clusters, whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Clusters {
    Any,
    One(Uid),
    Names(Vec<Name>),
    Labels(LabelSelector),
}

impl Clusters {
    /// What a selector means in a policy of this scope.
    pub(super) fn new(scope: Scope, selector: &ClusterSelector) -> Self {
        match (selector, scope) {
            (ClusterSelector::Own, Scope::Cluster(uid)) => Self::One(uid),
            (ClusterSelector::Own, Scope::Fleet) | (ClusterSelector::Any, _) => Self::Any,
            (ClusterSelector::Names(names), _) => {
                let mut names = names.clone();
                names.sort();
                names.dedup();
                Self::Names(names)
            }
            (ClusterSelector::Labels(selector), _) => Self::Labels(selector.clone()),
        }
    }

    /// Whether this (known) cluster is one of them.
    pub(super) fn contains(&self, uid: Uid, cluster: &Cluster) -> bool {
        match self {
            Self::Any => true,
            Self::One(one) => *one == uid,
            Self::Names(names) => names.binary_search(&cluster.name).is_ok(),
            Self::Labels(selector) => selector.matches(&cluster_labels(cluster)),
        }
    }
}
