//! Who may write what: a spoke speaks only for itself.
use crate::{
    log::{Change, Contents},
    model::{Key, Kind, Name, Object, Resource, Scope, Uid},
    refusal::{Refusal, code},
};

/// Who writes, as its certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A cluster's relay: for all of its cluster.
    Cluster(Uid),
    /// A node: for itself and its endpoints.
    Node(Uid, Name),
}

impl Owner {
    /// The kinds that a cluster writes.
    pub const KINDS: [Kind; 5] = [Kind::Node, Kind::Namespace, Kind::Endpoint, Kind::ServiceExport, Kind::Policy];

    /// Whether this owner may make that change, given what is there.
    ///
    /// # Errors
    /// The change is refused as [`code::FOREIGN_OBJECT`].
    pub fn allows(&self, change: &Change, there: &Contents) -> Result<(), Refusal> {
        let key = change.key();
        let (wanted, allowed) = match (self, change) {
            (Self::Cluster(cluster), _) => {
                let kinds = "a Node, Namespace, Endpoint, ServiceExport or Policy";
                let own = key.scope == Scope::Cluster(*cluster) && Self::KINDS.contains(&key.kind);
                (format!("{kinds} of cluster {cluster}"), own)
            }
            (Self::Node(cluster, node), Change::Put(object)) => {
                let before = there.get(key).is_none_or(|before| self.owns(before));
                (format!("node {node} of cluster {cluster} or an endpoint on it"), self.owns(object) && before)
            }
            (Self::Node(cluster, node), Change::Delete { .. }) => {
                let own = there.get(key).is_none_or(|object| self.owns(object));
                (format!("node {node} of cluster {cluster} or an endpoint on it"), own)
            }
        };
        if allowed {
            return Ok(());
        }
        let revision = if let Change::Put(object) = change { object.revision } else { 0 };
        let message = format!("got {key}, wanted {wanted}: a spoke writes only what it owns");
        Err(Refusal { key: key.clone(), revision, code: code::FOREIGN_OBJECT.into(), message })
    }

    /// Whether this owner owns the object.
    #[must_use]
    pub fn owns(&self, object: &Object) -> bool {
        match self {
            Self::Cluster(cluster) => {
                object.key.scope == Scope::Cluster(*cluster) && Self::KINDS.contains(&object.key.kind)
            }
            Self::Node(cluster, name) => {
                object.key.scope == Scope::Cluster(*cluster)
                    && match &*object.resource {
                        Resource::Node(node) => node.name == *name,
                        Resource::Endpoint(endpoint) => endpoint.node == *name,
                        _ => false,
                    }
            }
        }
    }

    /// Everything that this owner owns.
    pub fn owned<'c>(&'c self, contents: &'c Contents) -> impl Iterator<Item = &'c Object> + 'c {
        let (Self::Cluster(cluster) | Self::Node(cluster, _)) = self;
        let scope = Scope::Cluster(*cluster);
        Self::KINDS.into_iter().flat_map(move |kind| contents.list_in(kind, scope)).filter(|object| self.owns(object))
    }

    /// What a full account of this owner's objects changes: each is put, and what the owner has and does not account for
    /// is deleted. `keep` names objects that were refused and stay as they are.
    #[must_use]
    pub fn sweep(&self, objects: &[Object], keep: &[Refusal], there: &Contents) -> Vec<Change> {
        let kept: std::collections::BTreeSet<&Key> =
            objects.iter().map(|object| &object.key).chain(keep.iter().map(|refusal| &refusal.key)).collect();
        let gone = self.owned(there).filter(|object| !kept.contains(&object.key));
        let gone = gone.map(|object| Change::Delete { key: object.key.clone(), uid: object.uid });
        gone.chain(objects.iter().cloned().map(Change::Put)).collect()
    }
}
