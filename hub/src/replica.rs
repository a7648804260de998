//! What this hub knows: the log applied, for everybody to read.
use std::sync::Arc;

use axle_core::{
    log::{Position, Record},
    state::State,
};
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// Somebody who is told of every revision in its order, before anybody can read it from [`Replica::head`].
pub trait Follower: Send + Sync {
    /// The log went on; `state` includes the records.
    fn moved(&self, state: &State, records: &[Record]);

    /// The log is another one now: a new epoch.
    fn restarted(&self, state: &State);
}

/// The state as it is committed in the store, as far as this hub has heard.
pub struct Replica {
    state: RwLock<State>,
    head: watch::Sender<Position>,
    health: RwLock<Result<(), String>>,
    followers: RwLock<Vec<Arc<dyn Follower>>>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("head", &*self.head.borrow()).finish_non_exhaustive()
    }
}

impl Replica {
    pub(crate) fn new(state: State) -> Self {
        let head = watch::Sender::new(state.position());
        Self { state: RwLock::new(state), head, health: RwLock::new(Ok(())), followers: RwLock::default() }
    }

    /// The state. Hold it briefly, and never across an await: the writer waits for it.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// Where the log stands, and every place it moves to.
    pub fn head(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    /// Whether the store could be reached when it was last asked; why not.
    ///
    /// # Errors
    /// What the store said.
    pub fn health(&self) -> Result<(), String> {
        self.health.read().clone()
    }

    /// Adds a follower, who is first told of the state as it is.
    pub fn follow(&self, follower: Arc<dyn Follower>) {
        let mut followers = self.followers.write();
        follower.restarted(&self.state.read());
        followers.push(follower);
    }

    pub(crate) fn set_health(&self, health: Result<(), String>) {
        *self.health.write() = health;
    }

    /// Takes records that are committed. Only the writer calls it, so followers hear of them in order.
    pub(crate) fn advance(&self, records: &[Record]) -> Result<(), axle_core::log::OutOfOrder> {
        let followers = self.followers.read();
        let mut state = self.state.write();
        for record in records {
            // Committed: it is never taken back.
            let _ = state.apply(record)?;
        }
        let state = parking_lot::RwLockWriteGuard::downgrade(state);
        for follower in followers.iter() {
            follower.moved(&state, records);
        }
        self.head.send_replace(state.position());
        Ok(())
    }

    pub(crate) fn restart(&self, state: State) {
        let followers = self.followers.read();
        *self.state.write() = state;
        let state = self.state.read();
        for follower in followers.iter() {
            follower.restarted(&state);
        }
        self.head.send_replace(state.position());
    }
}
