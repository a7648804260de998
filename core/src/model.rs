//! The nouns of Axle: plain data, no behaviour beyond validation.
mod cluster;
mod endpoint;
mod key;
mod name;
mod policy;
mod selector;
mod service;

pub use cluster::{Cluster, Fleet, Namespace, Node};
pub use endpoint::{Endpoint, NamedPort};
pub use key::{Envelope, Key, Kind, Object, Resource, Scope, Uid};
pub use name::{InvalidName, Labels, Name};
pub use policy::{
    Action, ClusterSelector, Enforcement, IpBlock, Peer, Peers, Policy, PortMatch, Ports, Protocol, Rule, Subject, Tier,
};
pub use selector::{LabelSelector, Operator, Requirement};
pub use service::{
    Affinity, MAX_SERVICE_PORTS, PortTarget, ServiceConflict, ServiceExport, ServiceImport, ServicePort,
};
