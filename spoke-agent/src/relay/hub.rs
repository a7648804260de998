//! What the relay hears from the hub beside the log.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axle_core::session::Ack;
use axle_proto::convert::refusal_to_wire;

use super::{board::Board, registry::Registry, sessions::Sessions};
use crate::{
    merged_log::{MergedLog, Taken},
    problems::Problems,
    shared_log::{Hooks, SharedLog},
    upstream::Sent,
};

/// The relay's side of all sessions with the hub.
pub(super) struct HubSession {
    log: Arc<SharedLog>,
    board: Arc<Board>,
    registry: Arc<Registry>,
    sessions: Sessions,
    sent: Sent,
    problems: Problems,
    resyncs: Arc<AtomicU64>,
}

impl HubSession {
    pub(super) fn new(
        log: Arc<SharedLog>,
        board: Arc<Board>,
        registry: Arc<Registry>,
        sessions: Sessions,
        sent: Sent,
        problems: Problems,
    ) -> Self {
        Self { log, board, registry, sessions, sent, problems, resyncs: Arc::default() }
    }

    /// Complete copies that were taken.
    pub(super) fn resyncs(&self) -> Arc<AtomicU64> {
        self.resyncs.clone()
    }
}

impl Hooks for HubSession {
    fn taken(&mut self, taken: &Taken) {
        for node in &taken.removed_nodes {
            tracing::warn!(node.name = %node, "removed at the hub: it must join anew to come back");
            if let Err(error) = self.registry.remove(node) {
                tracing::error!(%error, node.name = %node, "its removal cannot be recorded");
            }
            self.sessions.end(node);
            self.board.removed(node);
        }
        if !taken.removed_nodes.is_empty() {
            self.sessions.hear_refused();
        }
    }

    fn unread(&mut self, log: &MergedLog) {
        self.board.withhold(log.unread().values().map(refusal_to_wire).collect());
    }

    fn begins_anew(&mut self) {
        self.sent.begins_anew();
    }

    fn acknowledged(&mut self, ack: Ack) {
        self.sent.acknowledged(ack, &self.log, &self.problems, "the hub");
    }

    fn resynced(&mut self) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
        tracing::info!("a complete copy of the hub's log was taken");
    }
}
