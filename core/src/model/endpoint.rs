//! A workload's place on the network.
use std::net::IpAddr;

use super::{Labels, Name, Protocol};

/// One running workload: who it is, where it runs, at which addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The namespace it is in.
    pub namespace: Name,
    /// The workload's name, unique in its namespace at a time.
    pub name: Name,
    /// The node it runs on, which owns this object.
    pub node: Name,
    /// The account it runs as.
    pub service_account: String,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses, each in one of its cluster's prefixes.
    pub addresses: Vec<IpAddr>,
    /// Ports that rules and services may name.
    pub named_ports: Vec<NamedPort>,
    /// When it started, in milliseconds since 1970: of two claims to one address the newer start wins.
    pub started_ms: u64,
    /// Whether services may send it traffic.
    pub ready: bool,
    /// Its own name in the domain of a headless service, if it has one.
    pub host: Option<Box<Host>>,
}

/// A workload's own name in a service's domain (Kubernetes: `hostname` and `subdomain`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The name.
    pub name: Name,
    /// The service, of the workload's namespace.
    pub service: Name,
}

/// A name for a port of one workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamedPort {
    /// At most 15 characters, as Kubernetes has it.
    pub name: String,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// 1 to 65535.
    pub port: u16,
}
