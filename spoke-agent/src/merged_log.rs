//! A log of one's own, merged from several feeds and kept on disk.
//!
//! A relay merges the hub's view, what its nodes say and its own inventory; a node merges its relay's log and its own
//! inventory. Both are the truth for what they own: what comes back of it from above is an echo, and dropped. Only while a
//! log has no origin yet, because it is new or was lost, it takes its own part from above too: else those above would learn
//! that all of it is gone. Each revision is on disk, together with how far its feed has come, before anybody is told of it.
mod claims;
mod kept;
mod merge;
mod ownership;
mod succession;

use std::{collections::BTreeMap, path::Path};

use axle_core::{
    log::{Change, Contents, Delta, Position},
    model::{Key, Kind, Name, Object, Uid},
    refusal::Refusal,
    state::Endpoints,
};

pub use merge::{Batch, Merged};
pub use ownership::{Feed, Ownership};
pub use succession::Reign;

use crate::journal::Journal;

/// See the module.
#[derive(Debug)]
pub struct MergedLog {
    ownership: Ownership,
    contents: Contents,
    feeds: BTreeMap<Feed, Position>,
    /// What of the upstream's log is not in this one; whether the newest entry on disk says something else.
    unread: BTreeMap<Key, Refusal>,
    unread_moved: bool,
    /// At a relay, to keep its nodes apart.
    endpoints: Endpoints,
    journal: Journal,
}

/// What a batch did.
#[derive(Debug, Default)]
pub struct Taken {
    /// The new revision, if there is one.
    pub delta: Option<Delta>,
    /// How far the feed is taken in now.
    pub at: Option<Position>,
    /// What the feed sent and does not own.
    pub foreign: Vec<Key>,
    /// What a node sent that claims what is another's: refused, or taken without that.
    pub claimed: Vec<Refusal>,
    /// Nodes that were removed from above.
    pub removed_nodes: Vec<Name>,
    /// What was deleted above and is not here: where it could not be read, that is over.
    pub gone: Vec<Key>,
    /// Why it is not on disk, if it is not: it is in memory all the same, and taken again after a restart.
    pub trouble: Option<String>,
}

/// The log could not be read from disk.
#[derive(Debug, thiserror::Error)]
#[error("the log in {directory} cannot be opened: {why}")]
pub struct OpenError {
    directory: String,
    why: String,
}

impl MergedLog {
    /// Opens the log in `directory`, or begins one with the epoch `fresh`. The texts say what was damaged and set aside;
    /// everything lost is taken from the feeds again.
    ///
    /// # Errors
    /// If the system does not let us read or write there.
    pub fn open(directory: &Path, ownership: Ownership, fresh: Uid) -> Result<(Self, Vec<String>), OpenError> {
        let failed =
            |why: std::io::Error| OpenError { directory: directory.display().to_string(), why: why.to_string() };
        let (journal, found) = Journal::open(directory).map_err(failed)?;
        let mut damage = found.damage;
        let kept = match found.state.as_deref().map(kept::read_state).transpose() {
            Ok(kept) => kept,
            Err(why) => {
                damage.push(format!("{}: the state is of another version: {why}; beginning anew", directory.display()));
                None
            }
        };
        let known = kept.is_some();
        let lacks_kinds = kept.as_ref().is_some_and(|kept| kept.lacks_kinds);
        let kept = kept.map(|kept| kept.everything);
        let (contents, feeds, unread) =
            kept.unwrap_or_else(|| (Contents::new(fresh), BTreeMap::new(), BTreeMap::new()));
        let endpoints = Endpoints::default();
        let mut log = Self { ownership, contents, feeds, unread, unread_moved: false, endpoints, journal };
        if known {
            for entry in &found.entries {
                if let Err(why) = log.replay(entry) {
                    damage.push(format!("{}: {why}; later entries are left out", directory.display()));
                    break;
                }
            }
        }
        if log.ownership.is_relay() {
            log.endpoints = Endpoints::of(&log.contents);
        }
        // What a relay did not send to a node that did not know it lies behind where the node stands.
        if lacks_kinds && !log.ownership.is_relay() {
            log.feeds.remove(&Feed::Upstream);
        }
        if !known || lacks_kinds || !damage.is_empty() {
            log.compact().map_err(failed)?;
        }
        Ok((log, damage))
    }

    fn replay(&mut self, entry: &[u8]) -> Result<(), String> {
        let kept::Kept { delta, feed, at, unread } = kept::read_entry(entry)?;
        let here = self.contents.position();
        if delta.to.epoch == here.epoch && delta.to.revision > here.revision {
            let _ = self.contents.apply(&delta).map_err(|error| error.to_string())?;
            for change in &delta.changes {
                if let (Feed::Upstream, Change::Delete { key, .. }) = (&feed, change)
                    && key.kind == Kind::Node
                {
                    self.feeds.remove(&Feed::Node(key.name.clone()));
                }
            }
            self.note(feed, at);
            self.unread = unread.unwrap_or_else(|| std::mem::take(&mut self.unread));
        }
        Ok(())
    }

    fn note(&mut self, feed: Feed, at: Option<Position>) {
        match at {
            Some(at) => self.feeds.insert(feed, at),
            None => self.feeds.remove(&feed),
        };
    }

    /// Takes a batch from a feed, which stands at `at` with it (`None` if it cannot be resumed from there), and whose own
    /// upstream stands at `origin`. A revision is made if anything changes, or if the origin moves on. What a node may not
    /// claim it may claim later, so it begins with everything then.
    pub fn take(&mut self, feed: &Feed, batch: Batch, at: Option<Position>, origin: Option<Position>) -> Taken {
        let Merged { changes, foreign, claimed, removed_nodes, gone } = merge::merge(self, feed, batch);
        let origin = origin.or(self.contents.origin());
        let at = at.filter(|_| claimed.is_empty());
        let mut taken = Taken { at, foreign, claimed, removed_nodes, gone, ..Taken::default() };
        for node in &taken.removed_nodes {
            self.feeds.remove(&Feed::Node(node.clone()));
        }
        self.note(feed.clone(), at);
        if changes.is_empty() && origin == self.contents.origin() {
            return taken;
        }
        self.write(feed, changes, at, origin, &mut taken);
        taken
    }

    /// Writes what this agent has of these anew, as it is: whoever is above judges it again.
    pub fn write_again(&mut self, keys: &[Key]) -> Taken {
        let revision = self.contents.position().revision + 1;
        let own = |object: &&Object| self.ownership.owner(object) != Feed::Upstream;
        let held = keys.iter().filter_map(|key| self.contents.get(key)).filter(own);
        let changes: Vec<Change> = held.map(|object| Change::Put(Object { revision, ..object.clone() })).collect();
        let mut taken = Taken::default();
        if !changes.is_empty() {
            let (at, origin) = (self.fed(&Feed::Local), self.contents.origin());
            self.write(&Feed::Local, changes, at, origin, &mut taken);
        }
        taken
    }

    fn write(
        &mut self,
        feed: &Feed,
        changes: Vec<Change>,
        at: Option<Position>,
        origin: Option<Position>,
        taken: &mut Taken,
    ) {
        let delta = Delta::next(&self.contents.position(), changes, origin);
        let entry = kept::entry(&delta, feed, at, self.unread_moved.then_some(&self.unread));
        self.unread_moved = false;
        // The delta was made from where the log stands, so it joins.
        let _ = self.contents.apply(&delta);
        if self.ownership.is_relay() {
            self.endpoints.follow(delta.changes.iter().map(Change::key), &self.contents);
        }
        let written = self.journal.append(&entry);
        let written = if self.journal.wants_compacting() { self.compact() } else { written };
        taken.trouble = written.err().map(|error| error.to_string());
        taken.delta = Some(delta);
    }

    fn compact(&mut self) -> std::io::Result<()> {
        self.journal.compact(&kept::state(&self.contents, &self.feeds, &self.unread))
    }

    /// See [`Journal::unsynced`].
    ///
    /// # Errors
    /// As the system says, with the path.
    pub fn unsynced(&mut self) -> std::io::Result<Option<std::fs::File>> {
        self.journal.unsynced()
    }

    /// The log.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Who owns what.
    #[must_use]
    pub fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    /// How far a feed has been taken in: what to resume it from.
    #[must_use]
    pub fn fed(&self, feed: &Feed) -> Option<Position> {
        self.feeds.get(feed).copied()
    }

    /// What came from upstream and is not in the log: this program could not read it, or what came with it.
    #[must_use]
    pub fn unread(&self) -> &BTreeMap<Key, Refusal> {
        &self.unread
    }

    /// Notes what did not get into a batch of the upstream's; it is on disk with the next revision.
    pub fn note_unread(&mut self, batch: &Batch, refused: &[Refusal]) {
        let before = self.unread.clone();
        match batch {
            Batch::Changes(changes) => changes.iter().for_each(|change| drop(self.unread.remove(change.key()))),
            Batch::Whole(_) | Batch::Part(_) => self.unread.clear(),
        }
        self.unread.extend(refused.iter().map(|refusal| (refusal.key.clone(), refusal.clone())));
        self.unread_moved |= self.unread != before;
    }

    /// The nodes that have ever said anything, at a relay.
    pub fn nodes(&self) -> impl Iterator<Item = &Name> {
        self.feeds.keys().filter_map(|feed| if let Feed::Node(name) = feed { Some(name) } else { None })
    }
}

#[cfg(test)]
mod tests;
