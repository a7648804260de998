//! Taking a node out of the cluster from this side: Kubernetes says that it is gone.
use std::{collections::BTreeSet, convert::Infallible, sync::Arc};

use axle_core::model::{Kind, Name, Scope};

use super::{board::Board, registry::Registry, sessions::Sessions};
use crate::{
    merged_log::{Batch, Feed, MergedLog},
    shared_log::{SharedLog, Unread},
};

/// A relay's nodes.
#[derive(Clone)]
pub struct Nodes {
    pub(super) log: Arc<SharedLog>,
    pub(super) board: Arc<Board>,
    pub(super) registry: Arc<Registry>,
    pub(super) sessions: Sessions,
}

impl Nodes {
    /// Whoever is let in, or was heard of.
    #[must_use]
    pub fn names(&self) -> BTreeSet<Name> {
        let heard_of = |log: &MergedLog| {
            let scope = Scope::Cluster(log.ownership().cluster());
            log.contents().list_in(Kind::Node, scope).map(|node| node.key.name.clone()).collect::<BTreeSet<_>>()
        };
        let mut names = self.log.read(heard_of);
        names.extend(self.registry.names());
        names
    }

    /// The node is let in no more, and all that it said goes. It may join anew.
    pub fn remove(&self, node: &Name) {
        if let Err(error) = self.registry.remove(node) {
            tracing::error!(%error, node.name = %node, "its removal cannot be recorded");
        }
        self.sessions.end(node);
        let gone = |_: &MergedLog| Ok::<_, Infallible>((Batch::Whole(Vec::new()), ()));
        let Ok(_) = self.log.take_with(&Feed::Node(node.clone()), (None, None), Unread::default(), gone);
        self.board.removed(node);
        self.sessions.hear_refused();
    }
}
