//! Who owns which objects.
use axle_core::{
    log::Change,
    model::{Key, Kind, Name, Object, Resource, Scope, Uid},
};

/// Where changes come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feed {
    /// The hub, at a relay; the relay, at a node.
    Upstream,
    /// This agent's inventory.
    Local,
    /// A node, at its relay.
    Node(Name),
}

/// What an agent is the truth for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// A relay: everything of its cluster.
    Relay {
        /// The cluster.
        cluster: Uid,
    },
    /// A node: itself and its workloads.
    Node {
        /// Its cluster.
        cluster: Uid,
        /// Its name.
        node: Name,
    },
}

impl Ownership {
    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> Uid {
        match self {
            Self::Relay { cluster } | Self::Node { cluster, .. } => *cluster,
        }
    }

    /// Whether it is a relay's.
    #[must_use]
    pub fn is_relay(&self) -> bool {
        matches!(self, Self::Relay { .. })
    }

    /// Whether it is the node's own [`Kind::Node`] object.
    #[must_use]
    pub fn is_own_node(&self, object: &Object) -> bool {
        object.key.kind == Kind::Node && !self.is_relay() && self.owner(object) == Feed::Local
    }

    /// The feed that an object comes from, and from no other.
    #[must_use]
    pub fn owner(&self, object: &Object) -> Feed {
        if !self.may_own(&object.key) {
            return Feed::Upstream;
        }
        let node = match &*object.resource {
            Resource::Node(node) => Some(&node.name),
            Resource::Endpoint(endpoint) => Some(&endpoint.node),
            _ => None,
        };
        match (self, node) {
            (Self::Relay { .. }, Some(node)) => Feed::Node(node.clone()),
            (Self::Relay { .. }, None) => Feed::Local,
            (Self::Node { node: own, .. }, Some(node)) if node == own => Feed::Local,
            (Self::Node { .. }, _) => Feed::Upstream,
        }
    }

    /// Whether an object of this name can be this agent's (or its nodes') own.
    #[must_use]
    pub fn may_own(&self, key: &Key) -> bool {
        let kind = match key.kind {
            Kind::Node
            | Kind::Namespace
            | Kind::Endpoint
            | Kind::ServiceExport
            | Kind::Policy
            | Kind::Service
            | Kind::EndpointSlice => true,
            Kind::Fleet | Kind::Cluster | Kind::ServiceImport | Kind::PolicyTest => false,
        };
        kind && key.scope == Scope::Cluster(self.cluster())
    }

    /// Whether a change belongs into what this agent sends upward. At a node, deletes of its cluster's other objects pass
    /// too: the relay drops what is not the node's.
    #[must_use]
    pub fn goes_up(&self, change: &Change) -> bool {
        match change {
            Change::Put(object) => self.sends(object),
            Change::Delete { key, .. } => self.may_own(key) && !key.kind.stays_in_cluster(),
        }
    }

    /// Whether it is part of what this agent sends upward.
    #[must_use]
    pub fn sends(&self, object: &Object) -> bool {
        self.owner(object) != Feed::Upstream && !object.key.kind.stays_in_cluster()
    }
}
