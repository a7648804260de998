//! Services across clusters, in the words of the Multi-Cluster Services API.
use std::net::IpAddr;

use super::{Labels, Name, Protocol, Uid};

/// The most ports of one service: every node of the fleet holds each of them, and clusters' ports are compared one by one.
pub const MAX_SERVICE_PORTS: usize = 100;

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
    /// Its ports; at least one, at most [`MAX_SERVICE_PORTS`].
    pub ports: Vec<ServicePort>,
    /// Which backends a client of this cluster prefers.
    pub affinity: Affinity,
    /// Share of traffic that this cluster's backends get among equals; 0 drains.
    pub weight: u32,
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
    /// Its addresses, at most one per family, kept as long as it exists.
    pub vips: Vec<IpAddr>,
    /// The union of the exports' ports, the oldest export winning conflicts.
    pub ports: Vec<ServicePort>,
    /// The exporting clusters, oldest export first.
    pub clusters: Vec<Uid>,
    /// Where exports disagree.
    pub conflicts: Vec<ServiceConflict>,
}

/// A disagreement between an export and the oldest one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConflict {
    /// Whose export lost.
    pub cluster: Uid,
    /// The reason as MCS-API names it, such as `PortConflict`.
    pub reason: String,
    /// What differs, for people.
    pub message: String,
}
