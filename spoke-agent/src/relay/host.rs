//! How the relay serves its nodes: what they see, and where their objects go.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axle_core::{
    log::Position,
    model::{Name, Uid},
    session::{Heartbeat, Limits},
};
use axle_proto::v1;
use axle_transport::{
    pki::{Peer, Principal},
    sync::{Admission, Goodbye, Host, Introduction, SessionCounters, View},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    below::{Below, NodeSession, StandbySession, Succeeded},
    board::Board,
    registry::Registry,
    sessions::Sessions,
};
use crate::{
    credentials::RoleCredentials,
    flow_queue::FlowQueue,
    merged_log::Feed,
    shared_log::{FeedIntake, SharedLog},
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
    /// Which nodes are let in.
    pub registry: Arc<Registry>,
    /// What its replicas have too.
    pub credentials: RoleCredentials,
    /// Where flows go.
    pub flows: FlowQueue,
    /// How often this side shows that it lives.
    pub heartbeat: Heartbeat,
    /// Told when the inventory comes to something else by what a node said.
    pub look_again: Arc<Notify>,
    /// How nodes were served.
    pub counters: Arc<SessionCounters>,
    /// The newest session of each node.
    pub sessions: Sessions,
    /// Whether all of the inventory was looked at, and is in the log, since this relay began.
    pub listed: watch::Receiver<bool>,
    /// Until when also who has nothing yet waits for that.
    pub patient_until: Instant,
    /// Told when another replica leads.
    pub(super) succeeded: Succeeded,
}

impl RelayHost {
    /// A replica has this relay's own key.
    fn is_replica(&self, peer: &Peer) -> bool {
        is_replica(peer, self.cluster, &self.credentials)
    }

    fn admit_replica(&self, introduction: &Introduction) -> Result<Admission<Below>, Goodbye> {
        let view = self.log.down();
        if !Arc::ptr_eq(&view, &self.log.down_for(&introduction.features)) {
            return Err(Goodbye::because("this replica is of an older version, and cannot have all of the log"));
        }
        tracing::info!(node.name = %introduction.node, "a replica that stands by is connected");
        Ok(Admission {
            view,
            replica: Below::Standby(StandbySession { log: self.log.clone(), succeeded: self.succeeded.clone() }),
            limits: NODE_LIMITS,
            heartbeat: self.heartbeat,
            end: CancellationToken::new(),
            ask: Arc::default(),
            counters: Arc::default(),
        })
    }

    /// Waits a moment until what a node would be served lacks nothing: not before there is a copy of the hub's log; and
    /// whoever cannot go on from where they are may have more than this log, as long as the inventory is not in it. Who has
    /// nothing is better served with a part of it than never.
    async fn may_serve(&self, view: &View, resume: Option<Position>) -> Result<(), Goodbye> {
        if tokio::time::timeout(PATIENCE, self.log.begun()).await.is_err() {
            // What this relay would serve lacks every policy.
            return Err(Goodbye::because("this relay has no copy of the hub's log yet; what the node holds stays"));
        }
        let goes_on = resume.is_some_and(|at| view.read(|log| log.remembers(&at)));
        let has_nothing = resume.is_none() && Instant::now() >= self.patient_until;
        let listed = async { self.listed.clone().wait_for(|listed| *listed).await.is_ok() };
        if goes_on || has_nothing || tokio::time::timeout(PATIENCE, listed).await == Ok(true) {
            return Ok(());
        }
        let why = "this relay does not know yet all that its cluster has, see its status; what the node holds stays";
        Err(Goodbye::because(why))
    }

    fn node(&self, peer: &Peer) -> Result<Name, Goodbye> {
        self.registry.admits(peer).map_err(Goodbye::because)?;
        match &peer.principal {
            Principal::Node(cluster, node) if *cluster == self.cluster => Ok(node.clone()),
            other => Err(Goodbye::because(format_args!("{other} is not a node of cluster {}", self.cluster))),
        }
    }
}

impl Host for RelayHost {
    type Replica = Below;

    async fn admit(&self, peer: &Peer, introduction: &Introduction) -> Result<Admission<Below>, Goodbye> {
        if self.is_replica(peer) {
            return self.admit_replica(introduction);
        }
        let node = self.node(peer)?;
        let view = self.log.down_for(&introduction.features);
        self.may_serve(&view, introduction.resume).await?;
        tracing::info!(node.name = %node, agent.version = %introduction.agent_version, "a node is connected");
        self.board.joined(&node);
        let session = NodeSession {
            node: node.clone(),
            cluster: self.cluster,
            log: self.log.clone(),
            board: self.board.clone(),
            look_again: self.look_again.clone(),
            sessions: self.sessions.clone(),
        };
        let end = self.sessions.begin(&node);
        Ok(Admission {
            view,
            replica: Below::Node(Box::new(FeedIntake::new(self.log.clone(), Feed::Node(node), session))),
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

/// Whether somebody is a replica of the relay with these credentials: it has the same key.
pub(super) fn is_replica(peer: &Peer, cluster: Uid, credentials: &RoleCredentials) -> bool {
    peer.principal == Principal::Relay(cluster) && peer.key == credentials.shared().load().peer().key
}
