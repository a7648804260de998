//! How a log passes from one replica of a relay to the next: whoever stands by keeps a copy of the leader's, and goes on with
//! it.
//!
//! A copy has the leader's revisions and hashes, so whoever followed the leader resumes from where they are, unless they are
//! where this copy never was: then another hash is there, and they take a whole copy. What the copy does not have is how
//! far each feed was taken in, so every feed begins with everything once; what it says is there already changes nothing.
use std::io;

use axle_core::{
    log::{Contents, Delta, Epoch, Snapshot},
    state::Endpoints,
};

use super::{Feed, MergedLog, kept};

/// A leader's place among those who lead one after the other. Each process that leads is a leader of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reign {
    /// Of the log that all of them share.
    pub epoch: Epoch,
    /// See [`axle_core::log::Position::term`].
    pub term: u32,
    /// The leader before, if the log at hand is known to be all that it has told anybody, but perhaps for its last words.
    pub after: Option<u32>,
}

impl MergedLog {
    /// Follows the leader by one delta.
    ///
    /// # Errors
    /// If it does not join, or does not get to the disk.
    pub fn copy(&mut self, delta: &Delta) -> io::Result<()> {
        let _ = self.contents.apply(delta).map_err(io::Error::other)?;
        self.feeds.clear();
        self.journal.append(&kept::entry(delta, &Feed::Upstream, None, None))?;
        if self.journal.wants_compacting() { self.compact() } else { Ok(()) }
    }

    /// Becomes a copy of the leader's log.
    ///
    /// # Errors
    /// If it does not get to the disk.
    pub fn copy_whole(&mut self, snapshot: Snapshot) -> io::Result<()> {
        self.contents.replace(snapshot, &[]);
        self.feeds.clear();
        self.unread.clear();
        self.compact()
    }

    /// Begins to lead, with the log at hand or, where that may lack anything, with an empty one.
    ///
    /// # Errors
    /// If it does not get to the disk.
    pub fn lead(&mut self, reign: &Reign) -> io::Result<()> {
        let at = self.contents.position();
        if at.epoch != reign.epoch || Some(at.term()) != reign.after {
            tracing::warn!(
                term = reign.term,
                "this replica has no copy of the log of the leader before: it begins anew"
            );
            self.contents = Contents::new(reign.epoch);
            self.endpoints = Endpoints::default();
            self.feeds.clear();
            self.unread.clear();
        }
        if let Some(first) = Delta::led(&self.contents.position(), reign.term, self.contents.origin()) {
            let _ = self.contents.apply(&first).map_err(io::Error::other)?;
        }
        self.compact()
    }
}

#[cfg(test)]
mod tests;
