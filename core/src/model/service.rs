//! Services: across clusters in the words of the Multi-Cluster Services API, within one in those of Kubernetes.
use std::net::IpAddr;

use super::{Labels, Name, NamedPort, Protocol, Uid, feature};

/// The most ports of one service: every node of the fleet holds each of them, and clusters' ports are compared one by one.
pub const MAX_SERVICE_PORTS: usize = 100;

/// The share of traffic of an export that does not say ([`ServiceExport::weight`]).
pub const DEFAULT_WEIGHT: u32 = 100;

/// A service that one cluster offers to the fleet: definition and export in one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceExport {
    /// The namespace, the same in every cluster that exports or uses it.
    pub namespace: Name,
    /// The service's name.
    pub name: Name,
    /// When the export was created at its own cluster, in milliseconds since 1970: the oldest wins conflicts.
    pub created_ms: u64,
    /// Which workloads of that namespace and cluster are its backends; an empty selector matches none.
    pub selector: Labels,
    /// Its ports; at least one unless it is headless, at most [`MAX_SERVICE_PORTS`].
    pub ports: Vec<ServicePort>,
    /// Which backends a client of this cluster prefers.
    pub affinity: Affinity,
    /// Share of traffic that this cluster's backends get among equals; 0 drains.
    pub weight: u32,
    /// What the oldest export decides for all.
    pub traits: Traits,
    /// Backends beside those of the selector: those of a service that has none.
    pub backends: Vec<Backends>,
}

impl ServiceExport {
    /// What a receiver must know to take it.
    #[must_use]
    pub fn features(&self) -> Vec<String> {
        required(self.traits.restricts() || !self.backends.is_empty())
    }
}

fn required(traits: bool) -> Vec<String> {
    if traits { vec![feature::SERVICE_TRAITS.to_owned()] } else { Vec::new() }
}

/// What all exports of a service share; where they disagree, the oldest export's counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traits {
    /// Whether it has no address of its own: its name leads to the backends themselves.
    pub headless: bool,
    /// How clients are led to backends.
    pub traffic: Traffic,
    /// The families of its addresses, the first one first; none: every family that the fleet has.
    pub families: Vec<Family>,
    /// Labels that the import carries.
    pub labels: Labels,
    /// Annotations that the import carries.
    pub annotations: Labels,
}

impl Traits {
    /// Whether who ignored them would lead traffic where it must not go. (All else is a preference.)
    fn restricts(&self) -> bool {
        self.headless || self.traffic.internal == Internal::Local
    }
}

/// How clients are led to backends, in the words of a Kubernetes Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// A client that comes again within so many seconds gets the same backend (`sessionAffinity: ClientIP`).
    pub sticky_s: Option<u32>,
    /// Whom clients of this cluster are led to (`internalTrafficPolicy`).
    pub internal: Internal,
    /// Whom they prefer (`trafficDistribution`).
    pub distribution: Option<Distribution>,
}

/// See [`Traffic::internal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Internal {
    /// Any backend.
    #[default]
    Cluster,
    /// Backends on the client's node alone.
    Local,
}

/// See [`Traffic::distribution`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// The older name of [`PreferSameZone`](Self::PreferSameZone).
    PreferClose,
    /// Backends of the client's zone, as long as there are any.
    PreferSameZone,
    /// Backends on the client's node, then of its zone, as long as there are any.
    PreferSameNode,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePort {
    /// Unique in its service; may be empty where the service has one port.
    pub name: String,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The port that clients use.
    pub port: u16,
    /// The port of the workload.
    pub target: PortTarget,
    /// What is spoken there, as Kubernetes' `appProtocol` has it; may be empty.
    pub app_protocol: String,
}

/// Where a service port leads on a backend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortTarget {
    /// This port.
    Number(u16),
    /// The workload's port of that name; a backend without one is not a backend for this port.
    Name(String),
}

/// Which backends a client prefers. Names as users of `service.cilium.io/affinity` know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Affinity {
    /// Those of the client's own cluster, then of its region, then any (the default).
    #[default]
    Local,
    /// Those of other clusters first.
    Remote,
    /// All alike.
    None,
}

/// What all exports of one namespaced name merge into; made by the hub, seen by every cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceImport {
    /// The exports' namespace.
    pub namespace: Name,
    /// The exports' name.
    pub name: Name,
    /// Its addresses, at most one per family, kept as long as it exists; none if it is headless.
    pub vips: Vec<IpAddr>,
    /// The union of the exports' ports, the oldest export winning conflicts.
    pub ports: Vec<ServicePort>,
    /// The exporting clusters, oldest export first.
    pub clusters: Vec<Uid>,
    /// Where exports disagree.
    pub conflicts: Vec<ServiceConflict>,
    /// The oldest export's.
    pub traits: Traits,
}

impl ServiceImport {
    /// What a receiver must know to take it.
    #[must_use]
    pub fn features(&self) -> Vec<String> {
        required(self.traits.restricts())
    }
}

/// A disagreement between exports, as it concerns one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConflict {
    /// Whose export: one that lost, or the oldest, which another disagrees with.
    pub cluster: Uid,
    /// The reason as MCS-API names it, such as `PortConflict`.
    pub reason: String,
    /// What differs, for people.
    pub message: String,
}

/// A service of one cluster, exported or not. Its own nodes alone get it: addresses of services mean nothing elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The namespace it is in.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// Which workloads of its namespace are its backends; empty: those of its [`EndpointSlice`]s.
    pub selector: Labels,
    /// Its addresses (`clusterIPs`), at most one per family; none: clients are not led anywhere.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// How clients are led to backends.
    pub traffic: Traffic,
    /// If the cluster's own address shall lead to the whole fleet's backends, as far as there is an import: which of them
    /// are preferred (`service.cilium.io/global`).
    pub global: Option<Affinity>,
}

/// Some of the backends of a cluster's service; goes where the service goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// The namespace it is in.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// The service that it belongs to.
    pub service: Name,
    /// The backends.
    pub backends: Backends,
}

/// Backends that share their ports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Backends {
    /// Where they are.
    pub endpoints: Vec<BackendEndpoint>,
    /// Their ports, by the names of the service's.
    pub ports: Vec<NamedPort>,
}

/// One backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackendEndpoint {
    /// Its addresses; the first one of a family is used.
    pub addresses: Vec<IpAddr>,
    /// Whether it may get traffic.
    pub ready: bool,
    /// Whether it would answer.
    pub serving: bool,
    /// Whether it is about to go.
    pub terminating: bool,
    /// The node it is on; may be empty.
    pub node: String,
    /// The zone it is in; may be empty.
    pub zone: String,
    /// Its name in the service's domain; may be empty.
    pub hostname: String,
}
