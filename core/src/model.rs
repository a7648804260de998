//! The nouns of Axle: plain data, no behaviour beyond validation.
mod cluster;
mod domain;
mod endpoint;
mod identity;
mod key;
mod name;
mod policy;
mod policy_test;
mod selector;
mod service;

pub use cluster::{Cluster, Fleet, Namespace, Node};
pub use domain::DomainName;
pub use endpoint::{Endpoint, Host, NamedPort};
pub use identity::IdentityId;
pub use key::{Envelope, Key, Kind, Object, Resource, Scope, Uid};
pub use name::{InvalidName, Labels, Name};
pub use policy::{
    Action, ClusterSelector, Enforcement, IpBlock, Peer, Peers, Policy, PortMatch, Ports, Protocol, REGION_LABEL, Rule,
    Subject, Tier, feature,
};
pub use policy_test::{Assertion, ExpectedRule, PolicyTest, TestEnd};
pub use selector::{LabelSelector, Operator, Requirement};
pub use service::{
    Affinity, BackendEndpoint, Backends, DEFAULT_WEIGHT, Distribution, EndpointSlice, Family, Internal,
    MAX_SERVICE_PORTS, PortTarget, Service, ServiceConflict, ServiceExport, ServiceImport, ServicePort, Traffic,
    Traits,
};
