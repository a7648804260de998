//! What leads a reader from one position to another.
use crate::{
    log::{Change, Position, Record, chain::Chain},
    model::{Object, Uid},
};

/// The changes of one or more revisions, as one reader sees them; they take effect together.
#[derive(Debug, Clone, PartialEq)]
pub struct Delta<T = Object> {
    /// The revision that the reader must be at.
    pub from: u64,
    /// Where it is afterwards.
    pub to: Position,
    /// What changes, in order; a key may come more than once, for several incarnations.
    pub changes: Vec<Change<T>>,
    /// Where the upstream of the log's owner stood: the hub's position that a relay's log includes.
    pub origin: Option<Position>,
}

/// The whole state at one position.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot<T = Object> {
    /// Where the log stood.
    pub at: Position,
    /// Every object.
    pub objects: Vec<T>,
    /// As in [`Delta::origin`].
    pub origin: Option<Position>,
}

impl Delta {
    /// The next revision of a log that no person writes: a relay's or a node's own.
    #[must_use]
    pub fn next(before: &Position, changes: Vec<Change>, origin: Option<Position>) -> Self {
        Self::link(before, before.revision + 1, changes, origin)
    }

    /// The first revision of a leader with this term, which changes nothing; `None` if the log is that far already. See
    /// [`Position::term`].
    #[must_use]
    pub fn led(before: &Position, term: u32, origin: Option<Position>) -> Option<Self> {
        let revision = before.of_leader(term).revision;
        (revision > before.revision).then(|| Self::link(before, revision, Vec::new(), origin))
    }

    fn link(before: &Position, revision: u64, changes: Vec<Change>, origin: Option<Position>) -> Self {
        let mut chain = Chain::new("axle log delta v1", before.hash);
        chain.number(revision).flag(origin.is_some());
        if let Some(origin) = &origin {
            chain.position(origin);
        }
        let hash = chain.changes(&changes).finish();
        Self { from: before.revision, to: Position { epoch: before.epoch, revision, hash }, changes, origin }
    }

    /// A hub's record as a reader sees it that may see all of it.
    #[must_use]
    pub fn of(record: &Record, epoch: Uid) -> Self {
        Self {
            from: record.revision.saturating_sub(1),
            to: record.position(epoch),
            changes: record.changes.clone(),
            origin: None,
        }
    }

    /// The same revision, showing only what `visible` lets through.
    #[must_use]
    pub fn filtered(mut self, mut visible: impl FnMut(&Change) -> bool) -> Self {
        self.changes.retain(|change| visible(change));
        self
    }
}
