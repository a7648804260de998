//! Where a received log goes.
use std::{fmt, future::Future, time::Duration};

use axle_core::{
    log::{Delta, Position, Snapshot},
    refusal::Refusal,
    session::{Ack, Intake},
};
use axle_proto::v1;

/// A copy of the peer's log, kept by the hub, a relay or a node. It lives as long as one session at the upper side, and
/// over all sessions at the lower side.
///
/// What a call has taken must be safe when it returns: the driver then tells the peer so. The refusals returned go to the
/// peer with those of the [`Intake`].
pub trait Replica: Send + 'static {
    /// Where the copy stands, to resume from; asked at the beginning of each session.
    fn held(&self) -> Option<Position>;

    /// Takes deltas that join, in order, each atomically. If this fails, what was not taken comes again.
    fn apply(&mut self, deltas: Vec<Intake<Delta>>) -> impl Future<Output = Result<Vec<Refusal>, Goodbye>> + Send;

    /// Becomes the snapshot, atomically. An object that the intake refused stays as it was (see
    /// [`Contents::replace`](axle_core::log::Contents::replace)).
    fn replace(&mut self, snapshot: Intake<Snapshot>) -> impl Future<Output = Result<Vec<Refusal>, Goodbye>> + Send;

    /// The peer's log stands here: how far behind the copy is.
    fn head(&mut self, head: Position) {
        let _ = head;
    }

    /// A session began; the peer has no copy of the own log that can be resumed, so it gets everything anew.
    fn begins_anew(&mut self) {}

    /// Whether the upper side may have the own log now; asked at the lower side, after whatever was taken.
    fn may_serve(&self) -> bool {
        true
    }

    /// The peer's copy of the own log stands there, and this is what it did not take.
    fn acknowledged(&mut self, ack: Ack) {
        let _ = ack;
    }

    /// What the kernels of the peer's nodes hold. Only lower peers send this.
    fn statuses(&mut self, statuses: Vec<v1::NodeStatus>) {
        let _ = statuses;
    }
}

/// Why a session ends, and when to come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goodbye {
    /// For people.
    pub reason: String,
    /// Not before this time; zero: when the peer's own backoff says.
    pub retry_after: Duration,
}

impl Goodbye {
    /// Ends a session for this reason.
    #[must_use]
    pub fn because(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), retry_after: Duration::ZERO }
    }
}

impl fmt::Display for Goodbye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Goodbye {}
