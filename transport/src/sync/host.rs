//! What the upper side of sessions provides.
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axle_core::{
    log::Position,
    session::{Heartbeat, Limits},
};
use axle_proto::v1;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    replica::{Goodbye, Replica},
    view::View,
};
use crate::pki::Peer;

/// The upper side: the hub for relays, a relay for nodes.
pub trait Host: Send + Sync + 'static {
    /// Where a spoke's own log goes.
    type Replica: Replica;

    /// Lets a spoke in: what it sees, and where its own objects go. Who it is follows from `peer` alone.
    fn admit(
        &self,
        peer: &Peer,
        introduction: &Introduction,
    ) -> impl Future<Output = Result<Admission<Self::Replica>, Goodbye>> + Send;

    /// Takes what a spoke's nodes saw. Must not wait: what cannot be taken is dropped and counted.
    ///
    /// # Errors
    /// A [`Goodbye`] ends the stream of reports.
    fn report(&self, peer: &Peer, batch: v1::FlowBatch) -> Result<(), Goodbye>;
}

/// What a spoke says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Introduction {
    /// The node that the process runs on.
    pub node: String,
    /// Of its program.
    pub agent_version: String,
    /// The features of objects that it understands.
    pub features: Vec<String>,
    /// Where its copy of the host's log stands.
    pub resume: Option<Position>,
    /// Where its own log stands.
    pub head: Option<Position>,
}

/// How a spoke is served.
pub struct Admission<R> {
    /// What it sees.
    pub view: Arc<View>,
    /// Where its own objects go; dropped when the session ends.
    pub replica: R,
    /// How much it may send at once.
    pub limits: Limits,
    /// How often this side shows that it lives.
    pub heartbeat: Heartbeat,
    /// Cancelled by the host to end the session; the spoke comes again.
    pub end: CancellationToken,
    /// Notified by the host to have the spoke show at once that it lives.
    pub ask: Arc<Notify>,
    /// How the spoke's sessions were served.
    pub counters: Arc<SessionCounters>,
}

/// Counts how sessions were served.
#[derive(Debug, Default)]
pub struct SessionCounters {
    snapshots: AtomicU64,
    resumes: AtomicU64,
}

impl SessionCounters {
    /// Snapshots that were sent: at first contact, or because the spoke could not resume.
    #[must_use]
    pub fn snapshots(&self) -> u64 {
        self.snapshots.load(Ordering::Relaxed)
    }

    /// Sessions that began from what the spoke held.
    #[must_use]
    pub fn resumes(&self) -> u64 {
        self.resumes.load(Ordering::Relaxed)
    }

    pub(super) fn snapshot(&self) {
        self.snapshots.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn resume(&self) {
        self.resumes.fetch_add(1, Ordering::Relaxed);
    }
}
