//! The one canonical policy, whatever document it was written as.
use ipnet::IpNet;

use super::{DomainName, IdentityId, LabelSelector, Name};

/// A policy. Its key's scope says who wrote it: the fleet's people, or one cluster (then its subjects and, unless it
/// says otherwise, its peers are of that cluster).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Unique in its scope and namespace.
    pub name: Name,
    /// Only for [`Tier::Namespace`]: the namespace whose workloads it is about.
    pub namespace: Option<Name>,
    /// Where it stands in the order of decision.
    pub tier: Tier,
    /// Lower decides first, 0 to 1000; equal priority: Deny, then Pass, then Accept, then name. 0 in the namespace tier.
    pub priority: u16,
    /// The workloads it is about.
    pub subject: Subject,
    /// Rules for what reaches the subject. `None` leaves the direction alone; `Some` of no rules selects it (which in
    /// the namespace tier denies all).
    pub ingress: Option<Vec<Rule>>,
    /// Rules for what the subject sends; `None` and empty as for `ingress`.
    pub egress: Option<Vec<Rule>>,
    /// Whether it decides or only reports.
    pub enforcement: Enforcement,
    /// Kept, shown, without effect.
    pub disabled: bool,
    /// For people.
    pub description: String,
    /// For people: who answers for it.
    pub owner: String,
}

/// What a receiver must know to take some policies; see [`Object::features`](super::Object::features).
pub mod feature {
    /// Peers by domain name: the data plane learns addresses from answers of DNS.
    pub const DOMAIN_NAMES: &str = "domain-names";
    /// Peers by identity.
    pub const IDENTITY_PEERS: &str = "identity-peers";
    /// Peers that are a service's backends.
    pub const SERVICE_PEERS: &str = "service-peers";
    /// Services without an address, with backends of their own or on the client's node alone.
    pub const SERVICE_TRAITS: &str = "service-traits";
    /// A cluster's own services; see [`Kind::feature`](super::Kind::feature).
    pub const CLUSTER_SERVICES: &str = "cluster-services";
}

impl Policy {
    /// Its name for people, with its namespace if it is of one: `shop/web`.
    #[must_use]
    pub fn title(&self) -> String {
        self.namespace.as_ref().map_or_else(|| self.name.to_string(), |namespace| format!("{namespace}/{}", self.name))
    }

    /// Every rule of both directions.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.ingress.iter().chain(&self.egress).flatten()
    }

    /// Every peer of every rule.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.rules().flat_map(|rule| match &rule.peers {
            Peers::Any => &[],
            Peers::Of(peers) => peers.as_slice(),
        })
    }

    /// What a receiver must know to take it, sorted.
    #[must_use]
    pub fn features(&self) -> Vec<String> {
        let features: std::collections::BTreeSet<_> = self.peers().filter_map(Peer::feature).collect();
        features.into_iter().map(str::to_owned).collect()
    }
}

/// Order of decision: Admin, then Namespace, then Baseline; within Admin and Baseline the fleet's policies are the outer ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Decides before namespaces do. Source: ClusterNetworkPolicy v1alpha2.
    Admin,
    /// NetworkPolicy: a selected direction denies what nothing accepts.
    Namespace,
    /// Decides what nobody else did.
    Baseline,
}

/// What a rule does with a flow that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Drop it.
    Deny,
    /// Leave the tier; the next one decides.
    Pass,
    /// Let it through this direction.
    Accept,
}

/// Whether a policy decides or only reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Enforcement {
    /// It decides.
    #[default]
    Enforce,
    /// Its would-be verdicts are reported; it decides nothing.
    Audit,
}

/// The workloads that a policy is about: all three must match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// Of which clusters.
    pub clusters: ClusterSelector,
    /// Of namespaces with these labels.
    pub namespaces: LabelSelector,
    /// With these labels.
    pub pods: LabelSelector,
}

/// The label by which cluster selectors see the region.
pub const REGION_LABEL: &str = "axle.dev/region";

/// Which clusters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClusterSelector {
    /// The fleet's policies: every cluster. A cluster's policies: that cluster.
    #[default]
    Own,
    /// Every cluster, also from a cluster's policy.
    Any,
    /// These, by name. A name that no cluster has matches nothing.
    Names(Vec<Name>),
    /// Those with these labels (the label `axle.dev/region` stands for the region).
    Labels(LabelSelector),
}

/// One rule: it matches a flow if one of its peers and one of its ports do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// For people; may be empty.
    pub name: String,
    /// What it does.
    pub action: Action,
    /// The other side.
    pub peers: Peers,
    /// The destination's ports.
    pub ports: Ports,
}

/// The other side of a rule. Absent is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peers {
    /// Anything, workload or not (the field was absent where its specification gives that this meaning).
    Any,
    /// One of these; of no peers, nothing.
    Of(Vec<Peer>),
}

/// One kind of other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Workloads; never a node, never an address outside.
    Pods {
        /// Of which clusters.
        clusters: ClusterSelector,
        /// Of namespaces with these labels.
        namespaces: LabelSelector,
        /// With these labels.
        pods: LabelSelector,
    },
    /// Any address in one of these blocks, workloads included.
    Networks(Vec<IpBlock>),
    /// Nodes of the mesh with these labels, the subject's own included.
    Nodes {
        /// Of which clusters.
        clusters: ClusterSelector,
        /// With these labels.
        nodes: LabelSelector,
    },
    /// The backends of an exported service: in each cluster that exports it, the workloads that its export selects. Only
    /// in rules that accept: what the name leads to is decided elsewhere, and where it leads nowhere nothing is denied.
    Service {
        /// Of which clusters.
        clusters: ClusterSelector,
        /// The service's namespace.
        namespace: Name,
        /// The service's name.
        name: Name,
    },
    /// Workloads of these identities.
    Identities {
        /// Of which clusters.
        clusters: ClusterSelector,
        /// The identities' names.
        names: Vec<IdentityId>,
    },
    /// Addresses outside the mesh that one of these names leads to; an answer of DNS never opens a way to a workload or
    /// a node. Only in egress rules that accept. Source: ClusterNetworkPolicy v1alpha2 (experimental).
    DomainNames(Vec<DomainName>),
    /// A peer this version does not know: an Accept matches nothing, a Deny or Pass counts as Deny of everything.
    /// Source: ClusterNetworkPolicy v1alpha2, fail closed.
    Unknown(String),
}

impl Peer {
    /// What a receiver must know to take it.
    #[must_use]
    pub fn feature(&self) -> Option<&'static str> {
        match self {
            Self::Service { .. } => Some(feature::SERVICE_PEERS),
            Self::Identities { .. } => Some(feature::IDENTITY_PEERS),
            Self::DomainNames(_) => Some(feature::DOMAIN_NAMES),
            Self::Pods { .. } | Self::Networks(_) | Self::Nodes { .. } | Self::Unknown(_) => None,
        }
    }

    /// Whether only rules that accept may have it.
    #[must_use]
    pub fn only_accepts(&self) -> bool {
        matches!(self, Self::Service { .. } | Self::DomainNames(_))
    }

    /// Which clusters it is about, if it is about workloads or nodes.
    #[must_use]
    pub fn clusters(&self) -> Option<&ClusterSelector> {
        match self {
            Self::Pods { clusters, .. }
            | Self::Nodes { clusters, .. }
            | Self::Service { clusters, .. }
            | Self::Identities { clusters, .. } => Some(clusters),
            Self::Networks(_) | Self::DomainNames(_) | Self::Unknown(_) => None,
        }
    }
}

impl Peer {
    /// [`Peer::clusters`], to be changed.
    pub fn clusters_mut(&mut self) -> Option<&mut ClusterSelector> {
        match self {
            Self::Pods { clusters, .. }
            | Self::Nodes { clusters, .. }
            | Self::Service { clusters, .. }
            | Self::Identities { clusters, .. } => Some(clusters),
            Self::Networks(_) | Self::DomainNames(_) | Self::Unknown(_) => None,
        }
    }
}

/// An address block with holes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpBlock {
    /// The block; no host bits.
    pub cidr: IpNet,
    /// Parts of it that do not belong.
    pub except: Vec<IpNet>,
}

/// The ports of a rule. Absent is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// Every protocol and port.
    Any,
    /// One of these; of no ports, nothing.
    Of(Vec<PortMatch>),
}

/// One kind of port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortMatch {
    /// Every port of the protocol (for ICMP: every type).
    Protocol(Protocol),
    /// Ports `first` to `last`, both included, of TCP, UDP or SCTP.
    Range {
        /// TCP, UDP or SCTP.
        protocol: Protocol,
        /// At least 1.
        first: u16,
        /// At least `first`.
        last: u16,
    },
    /// The destination workload's port of this name, whatever its number.
    Named {
        /// Restricts the protocol, where the front door has one.
        protocol: Option<Protocol>,
        /// The port's name.
        name: String,
    },
    /// One ICMP type, and code if given, of `Icmp` or `Icmpv6`.
    IcmpType {
        /// `Icmp` or `Icmpv6`.
        protocol: Protocol,
        /// The type.
        kind: u8,
        /// The code, any if absent.
        code: Option<u8>,
    },
}

/// The protocols that policy tells apart. A packet of any other protocol is judged as [`Ports::Any`] rules say and
/// matches no narrower port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP (6).
    Tcp,
    /// UDP (17).
    Udp,
    /// SCTP (132).
    Sctp,
    /// ICMP for IPv4 (1).
    Icmp,
    /// ICMP for IPv6 (58).
    Icmpv6,
}
