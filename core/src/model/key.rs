//! What an object is called and what it holds.
use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Cluster, Endpoint, EndpointSlice, Fleet, Name, Namespace, Node, Policy, PolicyTest, Service, ServiceExport,
    ServiceImport, feature,
};

/// 128 bits that name one incarnation of an object, for ever: a uid is never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Uid(pub [u8; 16]);

impl fmt::Display for Uid {
    /// Lower-case hexadecimal in the 8-4-4-4-12 grouping of RFC 9562.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uid {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{:?} is not a uid: wanted 32 hexadecimal digits, grouped 8-4-4-4-12", text);
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if digits.len() != 32 || !digits.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Uid {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Uid> for String {
    fn from(uid: Uid) -> Self {
        uid.to_string()
    }
}

/// The kinds of object that live in the log. The numbers are on disk and on the wire: never reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Kind {
    /// Settings of the whole fleet; one object, named `fleet`.
    Fleet = 1,
    /// A member cluster.
    Cluster = 2,
    /// A node of a cluster.
    Node = 3,
    /// A namespace of a cluster with its labels.
    Namespace = 4,
    /// A workload's place on the network.
    Endpoint = 5,
    /// A service that a cluster offers to the fleet.
    ServiceExport = 6,
    /// What the exports of one service merge into.
    ServiceImport = 7,
    /// A policy, of the fleet or of one cluster.
    Policy = 8,
    /// A test of the fleet's policies. Kept at the hub, never sent to spokes.
    PolicyTest = 9,
    /// A service of a cluster. Never leaves its cluster.
    Service = 10,
    /// Backends of a cluster's service. Never leaves its cluster.
    EndpointSlice = 11,
}

impl Kind {
    /// Whether spokes get objects of this kind.
    #[must_use]
    pub fn is_for_spokes(self) -> bool {
        self != Self::PolicyTest
    }

    /// Whether objects of this kind stay in their cluster: its relay has them and its nodes get them.
    #[must_use]
    pub fn stays_in_cluster(self) -> bool {
        matches!(self, Self::Service | Self::EndpointSlice)
    }

    /// What a receiver must say that it knows to be sent objects of this kind at all: who does not know the number of a
    /// kind cannot read the message. `None` for the kinds that everybody knows.
    #[must_use]
    pub fn feature(self) -> Option<&'static str> {
        self.stays_in_cluster().then_some(feature::CLUSTER_SERVICES)
    }

    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Fleet,
        Self::Cluster,
        Self::Node,
        Self::Namespace,
        Self::Endpoint,
        Self::ServiceExport,
        Self::ServiceImport,
        Self::Policy,
        Self::PolicyTest,
        Self::Service,
        Self::EndpointSlice,
    ];

    /// The kind with this number, if there is one.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }
}

/// Whose object it is: the fleet's or one cluster's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Written at the hub, by a person or by the hub itself.
    Fleet,
    /// Written by that cluster's relay or nodes.
    Cluster(Uid),
}

/// The name of an object in the log, unique at any revision.
///
/// An endpoint's name is its uid in text, since two incarnations of one workload can live at once on two nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// What it is.
    pub kind: Kind,
    /// Whose it is.
    pub scope: Scope,
    /// Its namespace; empty where the kind has none.
    pub namespace: String,
    /// Its name.
    pub name: Name,
}

impl Key {
    /// The name that an object of this content has. `uid` names endpoints, whose workload's name is not unique in time.
    #[must_use]
    pub fn of(resource: &Resource, scope: Scope, uid: Uid) -> Self {
        let none = String::new;
        let (namespace, name) = match resource {
            Resource::Fleet(_) => (none(), Name::fleet()),
            Resource::Cluster(cluster) => (none(), cluster.name.clone()),
            Resource::Node(node) => (none(), node.name.clone()),
            Resource::Namespace(namespace) => (none(), namespace.name.clone()),
            Resource::Endpoint(endpoint) => (endpoint.namespace.to_string(), Name::of_uid(uid)),
            Resource::ServiceExport(export) => (export.namespace.to_string(), export.name.clone()),
            Resource::ServiceImport(import) => (import.namespace.to_string(), import.name.clone()),
            Resource::Policy(policy) => {
                (policy.namespace.as_ref().map_or_else(none, ToString::to_string), policy.name.clone())
            }
            Resource::PolicyTest(test) => (none(), test.name.clone()),
            Resource::Service(service) => (service.namespace.to_string(), service.name.clone()),
            Resource::EndpointSlice(slice) => (slice.namespace.to_string(), slice.name.clone()),
        };
        Self { kind: resource.kind(), scope, namespace, name }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/", self.kind)?;
        if let Scope::Cluster(uid) = self.scope {
            write!(f, "{uid}/")?;
        }
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{}", self.name)
    }
}

/// An object as the log holds it: envelope, wire bytes and their meaning.
///
/// `payload` is what travels and is hashed, unchanged by whoever passes it on; `resource` is its decoded form.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its name.
    pub key: Key,
    /// Its incarnation.
    pub uid: Uid,
    /// The revision that last wrote it: the hub's, or its owner's where the hub has not seen it yet. A relay passes it on.
    pub revision: u64,
    /// What a receiver must understand to take it; see design section 5. Sorted, no duplicates.
    pub features: Vec<String>,
    /// The wire bytes of the resource.
    pub payload: Bytes,
    /// The resource.
    pub resource: Arc<Resource>,
}

/// An object as it travels: the payload not yet understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// See [`Object::key`].
    pub key: Key,
    /// See [`Object::uid`].
    pub uid: Uid,
    /// See [`Object::revision`].
    pub revision: u64,
    /// See [`Object::features`].
    pub features: Vec<String>,
    /// See [`Object::payload`].
    pub payload: Bytes,
}

impl Object {
    /// Whether both are one incarnation with the same content. Revisions may differ: they number different logs.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.key == other.key
            && self.uid == other.uid
            && self.payload == other.payload
            && self.features == other.features
    }

    /// The object as it travels.
    #[must_use]
    pub fn envelope(&self) -> Envelope {
        let Self { key, uid, revision, features, payload, .. } = self.clone();
        Envelope { key, uid, revision, features, payload }
    }
}

/// What an object can be.
#[derive(Debug, Clone, PartialEq)]
pub enum Resource {
    /// See [`Kind::Fleet`].
    Fleet(Fleet),
    /// See [`Kind::Cluster`].
    Cluster(Cluster),
    /// See [`Kind::Node`].
    Node(Node),
    /// See [`Kind::Namespace`].
    Namespace(Namespace),
    /// See [`Kind::Endpoint`].
    Endpoint(Endpoint),
    /// See [`Kind::ServiceExport`].
    ServiceExport(ServiceExport),
    /// See [`Kind::ServiceImport`].
    ServiceImport(ServiceImport),
    /// See [`Kind::Policy`].
    Policy(Policy),
    /// See [`Kind::PolicyTest`].
    PolicyTest(PolicyTest),
    /// See [`Kind::Service`].
    Service(Service),
    /// See [`Kind::EndpointSlice`].
    EndpointSlice(EndpointSlice),
}

impl Resource {
    /// What a receiver must know to take it, sorted.
    #[must_use]
    pub fn features(&self) -> Vec<String> {
        match self {
            Self::Policy(policy) => policy.features(),
            Self::ServiceExport(export) => export.features(),
            Self::ServiceImport(import) => import.features(),
            _ => Vec::new(),
        }
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Fleet(_) => Kind::Fleet,
            Self::Cluster(_) => Kind::Cluster,
            Self::Node(_) => Kind::Node,
            Self::Namespace(_) => Kind::Namespace,
            Self::Endpoint(_) => Kind::Endpoint,
            Self::ServiceExport(_) => Kind::ServiceExport,
            Self::ServiceImport(_) => Kind::ServiceImport,
            Self::Policy(_) => Kind::Policy,
            Self::PolicyTest(_) => Kind::PolicyTest,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
        }
    }
}
