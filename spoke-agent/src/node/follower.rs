//! From the log's revisions to the enforcement, in the same order.
use std::sync::Arc;

use axle_core::model::{Kind, Scope};

use super::enforcement::{Enforcement, Revision, Work};
use crate::{
    merged_log::MergedLog,
    shared_log::{Follower, Step},
};

/// Leaves the kernel alone until the log is complete: it includes a position of the hub, and this node's own inventory.
/// Else a node that lost its log would enforce a part of it, or take its own workloads' hooks away.
pub(super) struct EnforcementFollower {
    enforcement: Enforcement,
    begun: bool,
}

impl EnforcementFollower {
    pub(super) fn new(enforcement: Enforcement) -> Self {
        Self { enforcement, begun: false }
    }
}

impl Follower for EnforcementFollower {
    fn follow(&mut self, log: &MergedLog, step: &Step<'_>) {
        let Step { delta, refused, whole } = *step;
        let contents = log.contents();
        if self.begun {
            let changes = delta.map(|delta| delta.changes.clone()).unwrap_or_default();
            let revision = Revision { changes, origin: contents.origin(), refused: refused.to_vec(), whole };
            self.enforcement.ask(Work::Revise(Arc::new(revision)));
            return;
        }
        let Some(origin) = contents.origin() else { return };
        let scope = Scope::Cluster(log.ownership().cluster());
        let knows_itself = contents.list_in(Kind::Node, scope).any(|node| log.ownership().is_own_node(node));
        if knows_itself {
            self.begun = true;
            let objects = contents.iter().cloned().collect();
            self.enforcement.ask(Work::Begin { objects, origin, refused: refused.to_vec() });
        }
    }
}
