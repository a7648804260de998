//! The names that certificates carry, as SPIFFE URIs.
use std::fmt;

use axle_core::model::{Name, Uid};

use super::PkiError;

/// Who a certificate speaks for within its mesh. Source of the form: the SPIFFE ID standard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Principal {
    /// The hub: any of its replicas.
    Hub,
    /// A cluster's certificate authority; signs that cluster's nodes and nothing else.
    Cluster(Uid),
    /// A cluster's relay.
    Relay(Uid),
    /// A node of a cluster.
    Node(Uid, Name),
}

impl Principal {
    /// The cluster that it belongs to.
    #[must_use]
    pub fn cluster(&self) -> Option<Uid> {
        match self {
            Self::Hub => None,
            Self::Cluster(uid) | Self::Relay(uid) | Self::Node(uid, _) => Some(*uid),
        }
    }

    /// The URI that stands in its certificate.
    #[must_use]
    pub fn uri(&self, mesh: &Name) -> String {
        format!("spiffe://{mesh}/{self}")
    }

    /// Reads a URI back into mesh and principal.
    ///
    /// # Errors
    /// When the text is not exactly what [`Principal::uri`] writes.
    pub fn parse(uri: &str) -> Result<(Name, Self), PkiError> {
        let wrong = || PkiError::Refused(format!("{uri:?} is not a name of this mesh's form"));
        let (mesh, path) = uri.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
        let mesh = Name::new(mesh).map_err(|_| wrong())?;
        let uid = |text: &str| text.parse::<Uid>().map_err(|_| wrong());
        let parts: Vec<&str> = path.split('/').collect();
        let principal = match parts.as_slice() {
            ["hub"] => Self::Hub,
            ["cluster", cluster] => Self::Cluster(uid(cluster)?),
            ["cluster", cluster, "relay"] => Self::Relay(uid(cluster)?),
            ["cluster", cluster, "node", node] => Self::Node(uid(cluster)?, Name::new(*node).map_err(|_| wrong())?),
            _ => return Err(wrong()),
        };
        // One spelling per principal: a uid written in another case or grouping is somebody else's idea.
        if principal.uri(&mesh) == uri { Ok((mesh, principal)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Principal {
    /// The path of its URI, which is also its name as an actor in the audit trail.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("hub"),
            Self::Cluster(cluster) => write!(f, "cluster/{cluster}"),
            Self::Relay(cluster) => write!(f, "cluster/{cluster}/relay"),
            Self::Node(cluster, node) => write!(f, "cluster/{cluster}/node/{node}"),
        }
    }
}
