//! The part of a log that goes upward: what its keeper owns. It has the log's positions; revisions without a part in it
//! are passed over, so that an echo from above never makes a revision above.
use axle_core::{
    log::{Change, Contents, Delta, Entry, Position},
    model::Key,
};

use crate::merged_log::{MergedLog, Ownership};

/// The own part of the whole log.
pub(super) fn own(log: &MergedLog) -> Contents {
    let ownership = log.ownership();
    let (entries, history, tombstones) = log.contents().parts();
    let entries: Vec<Entry> = entries.into_iter().filter(|entry| ownership.sends(&entry.object)).collect();
    let is_sent = |key: &Key| ownership.may_own(key) && !key.kind.stays_in_cluster();
    let tombstones = tombstones.into_iter().filter(|tombstone| is_sent(&tombstone.key)).collect();
    Contents::restore(log.contents().position(), None, entries, &history, tombstones)
}

/// The own part of a revision, for a reader of the own part at `at`; `None` if there is none.
pub(super) fn part(ownership: &Ownership, delta: &Delta, at: Position) -> Option<Delta> {
    let changes: Vec<Change> = delta.changes.iter().filter(|change| ownership.goes_up(change)).cloned().collect();
    (!changes.is_empty()).then(|| Delta { from: at.revision, to: delta.to, changes, origin: None })
}

#[cfg(test)]
mod tests;
