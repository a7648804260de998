//! The fleet, its clusters, their nodes and namespaces.
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Action, Labels, Name};

/// Settings that hold for the whole fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fleet {
    /// Where IPv4 service addresses come from.
    pub vip4: Ipv4Net,
    /// Where IPv6 service addresses come from.
    pub vip6: Ipv6Net,
    /// Label keys that are not part of an identity; a selector on one of them is refused.
    pub excluded_label_keys: Vec<String>,
}

/// A member cluster. Its uid is the uid of its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Unique in the fleet.
    pub name: Name,
    /// Free text for locality, such as `eu-north-1`; may be empty.
    pub region: String,
    /// For cluster selectors.
    pub labels: Labels,
    /// The address ranges of its workloads; no two clusters' overlap.
    pub prefixes: Vec<IpNet>,
    /// What happens to a flow that no policy decides: `Accept` or `Deny`.
    pub default_action: Action,
    /// It is about to leave: no other cluster leads anybody to its backends.
    pub draining: bool,
}

/// A node of a cluster, keyed by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Unique in its cluster.
    pub name: Name,
    /// For `nodes` peers.
    pub labels: Labels,
    /// Its own addresses, which no workload has.
    pub addresses: Vec<IpAddr>,
}

/// A namespace of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Unique in its cluster.
    pub name: Name,
    /// Its labels, to which `kubernetes.io/metadata.name` is added by whoever makes it.
    pub labels: Labels,
}
