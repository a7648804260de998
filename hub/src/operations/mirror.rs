//! The objects as the evaluator wants them, kept beside the state, and who was concerned by what was written.
use std::{collections::VecDeque, time::Instant};

use axle_core::{
    log::Record,
    model::{Kind, Policy, Scope},
    policy::World,
    state::State,
};
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};

use crate::replica::Follower;

/// Revisions of policies remembered, to know whom one concerns.
const REMEMBERED: usize = 1024;

/// A world that follows the log.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    world: RwLock<(World, u64)>,
    written: RwLock<VecDeque<Written>>,
}

/// A revision that this hub saw being committed.
#[derive(Debug, Clone)]
pub(super) struct Written {
    revision: u64,
    /// When it was.
    pub(super) at: Instant,
    /// The policies that it changed, as they were and as they are: whoever runs a subject of either has to change its
    /// kernel.
    pub(super) policies: Vec<(Scope, Policy)>,
    /// Whether it changed anything else.
    pub(super) more: bool,
}

impl Mirror {
    /// The world as it is. Hold it briefly, and never across an await: the writer waits for it.
    pub(super) fn world(&self) -> MappedRwLockReadGuard<'_, World> {
        RwLockReadGuard::map(self.world.read(), |(world, _)| world)
    }

    /// The world as it is, to be kept, and the revision that it is of.
    pub(super) fn snapshot(&self) -> (World, u64) {
        self.world.read().clone()
    }

    /// What is remembered of a revision.
    pub(super) fn written(&self, revision: u64) -> Option<Written> {
        self.written.read().iter().find(|written| written.revision == revision).cloned()
    }
}

impl Follower for Mirror {
    fn moved(&self, _: &State, records: &[Record]) {
        let mut held = self.world.write();
        let (world, revision) = &mut *held;
        let mut written = self.written.write();
        for record in records {
            let touched: Vec<_> = record.changes.iter().map(|change| change.key()).collect();
            let policies = |world: &World| -> Vec<_> {
                let touched = world.policies().filter(|(object, _)| touched.contains(&&object.key));
                touched.map(|(object, policy)| (object.key.scope, policy.clone())).collect()
            };
            let of_policy = touched.iter().any(|key| key.kind == Kind::Policy);
            let mut about = if of_policy { policies(world) } else { Vec::new() };
            record.changes.iter().for_each(|change| world.apply(change));
            if of_policy {
                about.extend(policies(world));
            }
            *revision = record.revision;
            let more = touched.iter().any(|key| !matches!(key.kind, Kind::Policy | Kind::PolicyTest));
            written.push_back(Written { revision: record.revision, at: Instant::now(), policies: about, more });
            if written.len() > REMEMBERED {
                written.pop_front();
            }
        }
    }

    fn restarted(&self, state: &State) {
        *self.world.write() = (World::new(state.contents().iter().cloned()), state.position().revision);
        self.written.write().clear();
    }
}
