//! How the relay serves its nodes: what they see, and where their objects go.
use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use axle_core::{
    log::Change,
    model::{Cluster, Kind, Name, Object, Resource, Scope, Uid},
    refusal::code,
    session::{Heartbeat, Limits},
};
use axle_proto::v1;
use axle_transport::{
    pki::{Peer, Principal},
    sync::{Admission, Goodbye, Host, Introduction, SessionCounters},
};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{board::Board, registry::Registry};
use crate::{
    flow_queue::FlowQueue,
    merged_log::{Feed, Taken},
    shared_log::{FeedIntake, Hooks, SharedLog},
};

/// What one node may send at once.
const NODE_LIMITS: Limits = Limits { objects: 10_000, bytes: 16 << 20 };

/// How long a node waits for a relay that has just begun.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module.
pub struct RelayHost {
    /// The cluster.
    pub cluster: Uid,
    /// The merged log.
    pub log: Arc<SharedLog>,
    /// What nodes say of themselves.
    pub board: Arc<Board>,
    /// Who is let in.
    pub registry: Arc<Registry>,
    /// Where flows go.
    pub flows: FlowQueue,
    /// How often this side shows that it lives.
    pub heartbeat: Heartbeat,
    /// Told when workloads name a namespace that the log does not have.
    pub namespaces: Arc<Notify>,
    /// How nodes were served.
    pub counters: Arc<SessionCounters>,
    /// The newest session of each node.
    pub sessions: Sessions,
}

/// The newest session of each node: an older one ends when the node comes again, or is removed.
#[derive(Debug, Clone, Default)]
pub struct Sessions(Arc<Mutex<BTreeMap<Name, Session>>>);

#[derive(Debug, Clone, Default)]
struct Session {
    end: CancellationToken,
    /// Some of what the node claims was another's.
    is_refused: bool,
}

impl Sessions {
    fn begin(&self, node: &Name) -> CancellationToken {
        let end = CancellationToken::new();
        if let Some(older) = self.0.lock().insert(node.clone(), Session { end: end.clone(), is_refused: false }) {
            older.end.cancel();
        }
        end
    }

    /// Ends the node's session.
    pub fn end(&self, node: &Name) {
        if let Some(session) = self.0.lock().remove(node) {
            session.end.cancel();
        }
    }

    fn refused(&self, node: &Name) {
        if let Some(session) = self.0.lock().get_mut(node) {
            session.is_refused = true;
        }
    }

    /// A node gave something up, or is gone: whoever was refused because of another node comes again with everything.
    pub fn hear_refused(&self) {
        self.0.lock().values().filter(|session| session.is_refused).for_each(|session| session.end.cancel());
    }
}

/// One node's session.
pub struct NodeSession {
    node: Name,
    cluster: Uid,
    log: Arc<SharedLog>,
    board: Arc<Board>,
    namespaces: Arc<Notify>,
    sessions: Sessions,
}

impl RelayHost {
    fn node(&self, peer: &Peer) -> Result<Name, Goodbye> {
        self.registry.admits(peer).map_err(Goodbye::because)?;
        match &peer.principal {
            Principal::Node(cluster, node) if *cluster == self.cluster => Ok(node.clone()),
            other => Err(Goodbye::because(format_args!("{other} is not a node of cluster {}", self.cluster))),
        }
    }
}

impl Host for RelayHost {
    type Replica = FeedIntake<NodeSession>;

    async fn admit(&self, peer: &Peer, introduction: &Introduction) -> Result<Admission<Self::Replica>, Goodbye> {
        let node = self.node(peer)?;
        if tokio::time::timeout(PATIENCE, self.log.begun()).await.is_err() {
            // What this relay would serve lacks every policy.
            return Err(Goodbye::because("this relay has no copy of the hub's log yet; what the node holds stays"));
        }
        tracing::info!(node.name = %node, agent.version = %introduction.agent_version, "a node is connected");
        self.board.joined(&node);
        let session = NodeSession {
            node: node.clone(),
            cluster: self.cluster,
            log: self.log.clone(),
            board: self.board.clone(),
            namespaces: self.namespaces.clone(),
            sessions: self.sessions.clone(),
        };
        let end = self.sessions.begin(&node);
        Ok(Admission {
            view: self.log.down_for(&introduction.features),
            replica: FeedIntake::new(self.log.clone(), Feed::Node(node), session),
            limits: NODE_LIMITS,
            heartbeat: self.heartbeat,
            end,
            ask: Arc::default(),
            counters: self.counters.clone(),
        })
    }

    fn report(&self, peer: &Peer, batch: v1::FlowBatch) -> Result<(), Goodbye> {
        let node = self.node(peer)?;
        self.flows.lost(batch.dropped);
        for flow in batch.flows {
            // Who saw it is who sent it.
            self.flows.push(v1::Flow { node: node.to_string(), cluster: self.cluster.0.to_vec().into(), ..flow });
        }
        Ok(())
    }
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
        if taken.delta.as_ref().is_some_and(|delta| delta.changes.iter().any(names_unknown)) {
            self.namespaces.notify_one();
        }
        let mut changes = taken.delta.iter().flat_map(|delta| &delta.changes);
        if changes.any(|change| change.key().kind == Kind::Node) {
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
    use super::*;

    #[test]
    fn who_was_refused_comes_again_once_another_gave_something_up() {
        let sessions = Sessions::default();
        let (n1, n2) = (Name::new("n1").unwrap(), Name::new("n2").unwrap());
        let (fine, refused) = (sessions.begin(&n1), sessions.begin(&n2));
        sessions.refused(&n2);
        assert!(!refused.is_cancelled());
        sessions.hear_refused();
        assert!(refused.is_cancelled() && !fine.is_cancelled());
        let again = sessions.begin(&n2);
        sessions.hear_refused();
        assert!(!again.is_cancelled(), "once");
    }
}
