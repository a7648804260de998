//! Who has a session with the relay from below: a node, or a replica of the relay that stands by.
use std::{net::IpAddr, sync::Arc};

use axle_core::{
    log::{Change, Delta, Position, Snapshot},
    model::{Cluster, Kind, Name, Object, Resource, Scope, Uid},
    refusal::{Refusal, code},
    session::{Ack, Intake},
};
use axle_proto::v1;
use axle_transport::sync::{Goodbye, Replica};
use tokio::sync::{Notify, watch};

use super::{board::Board, sessions::Sessions};
use crate::{
    merged_log::Taken,
    shared_log::{FeedIntake, Hooks, SharedLog},
};

/// Why this replica leads no more, once another one does.
pub(super) type Succeeded = watch::Sender<Option<String>>;

/// Where what comes from below goes.
pub enum Below {
    /// A node's objects go into the log.
    Node(Box<FeedIntake<NodeSession>>),
    /// A replica says nothing, until it leads itself.
    Standby(StandbySession),
}

/// One session of a replica that stands by.
pub struct StandbySession {
    pub(super) log: Arc<SharedLog>,
    pub(super) succeeded: Succeeded,
}

impl StandbySession {
    fn hear(&self, place: Position) {
        if place.outranks(&self.log.read(|log| log.contents().position())) {
            let why = format!("another replica leads, by its own word, as leader {}", place.term());
            self.succeeded.send_replace(Some(why));
        }
    }
}

impl Replica for Below {
    fn held(&self) -> Option<Position> {
        match self {
            Self::Node(node) => node.held(),
            Self::Standby(_) => None,
        }
    }

    async fn apply(&mut self, deltas: Vec<Intake<Delta>>) -> Result<Vec<Refusal>, Goodbye> {
        match self {
            Self::Node(node) => node.apply(deltas).await,
            Self::Standby(_) => Err(Goodbye::because("a replica that stands by has no objects of its own")),
        }
    }

    async fn replace(&mut self, snapshot: Intake<Snapshot>) -> Result<Vec<Refusal>, Goodbye> {
        match self {
            Self::Node(node) => node.replace(snapshot).await,
            Self::Standby(standby) => {
                standby.hear(snapshot.taken.at);
                Ok(Vec::new())
            }
        }
    }

    fn head(&mut self, head: Position) {
        match self {
            Self::Node(node) => node.head(head),
            Self::Standby(standby) => standby.hear(head),
        }
    }

    fn acknowledged(&mut self, ack: Ack) {
        if let Self::Node(node) = self {
            node.acknowledged(ack);
        }
    }

    fn statuses(&mut self, statuses: Vec<v1::NodeStatus>) {
        if let Self::Node(node) = self {
            node.statuses(statuses);
        }
    }
}

/// One node's session.
pub struct NodeSession {
    pub(super) node: Name,
    pub(super) cluster: Uid,
    pub(super) log: Arc<SharedLog>,
    pub(super) board: Arc<Board>,
    pub(super) look_again: Arc<Notify>,
    pub(super) sessions: Sessions,
}

impl Drop for NodeSession {
    fn drop(&mut self) {
        tracing::info!(node.name = %self.node, "a node is away");
        self.board.left(&self.node);
    }
}

impl Hooks for NodeSession {
    fn taken(&mut self, taken: &Taken) {
        let names_unknown = |change: &Change| match change {
            Change::Put(object) => match &*object.resource {
                Resource::Endpoint(endpoint) => !self.has_namespace(&endpoint.namespace),
                _ => false,
            },
            Change::Delete { .. } => false,
        };
        let changes = || taken.delta.iter().flat_map(|delta| &delta.changes);
        let has_node = changes().any(|change| change.key().kind == Kind::Node);
        if has_node || changes().any(names_unknown) {
            self.look_again.notify_one();
        }
        if has_node {
            self.sessions.hear_refused();
        }
        if !taken.claimed.is_empty() {
            self.sessions.refused(&self.node);
        }
    }

    fn statuses(&mut self, statuses: Vec<v1::NodeStatus>) {
        // A node speaks of itself alone.
        if let Some(status) = statuses.into_iter().next_back() {
            self.board.said(&self.node, status);
        }
    }

    /// As the hub will judge it: else this cluster's nodes would believe what no other does.
    fn check(&self, object: &Object) -> Result<(), (&'static str, String)> {
        self.log.read(|log| match &*object.resource {
            Resource::Endpoint(endpoint) => {
                let mut clusters = log.contents().list(Kind::Cluster).filter(|cluster| cluster.uid == self.cluster);
                match clusters.next().map(|cluster| &*cluster.resource) {
                    Some(Resource::Cluster(cluster)) => inside(cluster, &endpoint.addresses),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        })
    }
}

impl NodeSession {
    fn has_namespace(&self, name: &Name) -> bool {
        let scope = Scope::Cluster(self.cluster);
        self.log.read(|log| log.contents().list_in(Kind::Namespace, scope).any(|object| object.key.name == *name))
    }
}

fn inside(cluster: &Cluster, addresses: &[IpAddr]) -> Result<(), (&'static str, String)> {
    let outside = |address: &&IpAddr| !cluster.prefixes.iter().any(|prefix| prefix.contains(*address));
    match addresses.iter().find(outside) {
        None => Ok(()),
        Some(address) => {
            let prefixes: Vec<String> = cluster.prefixes.iter().map(ToString::to_string).collect();
            let (name, prefixes) = (&cluster.name, prefixes.join(", "));
            let message = format!("{address} is in no prefix of cluster {name}; wanted an address in {prefixes}");
            Err((code::ADDRESS_OUTSIDE, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axle_core::model::{Labels, Node};
    use axle_proto::convert;

    use super::*;
    use crate::merged_log::{MergedLog, Ownership};

    const OWN: Uid = Uid([1; 16]);

    /// Backends on a node that was not known when their slice came are its export's from now on.
    #[tokio::test]
    async fn for_a_nodes_addresses_the_inventory_is_looked_at_again() {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = MergedLog::open(directory.path(), Ownership::Relay { cluster: OWN }, Uid([9; 16])).unwrap();
        let (name, look_again) = (Name::new("n1").unwrap(), Arc::new(Notify::new()));
        let mut session = NodeSession {
            node: name.clone(),
            cluster: OWN,
            log: SharedLog::new(log),
            board: Arc::new(Board::new([])),
            look_again: look_again.clone(),
            sessions: Sessions::default(),
        };
        let node = Resource::Node(Node { name, labels: Labels::new(), addresses: vec![[10, 1, 0, 7].into()] });
        let put = Change::Put(convert::object(node, Scope::Cluster(OWN), Uid([2; 16]), 1));
        let delta = Some(Delta::next(&Position::default(), vec![put], None));
        session.taken(&Taken { delta, ..Taken::default() });
        assert!(tokio::time::timeout(Duration::ZERO, look_again.notified()).await.is_ok());
    }
}
