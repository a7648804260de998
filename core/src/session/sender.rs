//! The end that serves a log.
use crate::log::Position;

/// How a log can serve a reader at some position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It is at the head.
    Head,
    /// What follows is at hand, revision by revision.
    Follow,
    /// The log went through that position and can compact what came since into one delta.
    CatchUp,
    /// Another epoch, another past, or too long ago.
    Nothing,
}

/// What to send next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing until the log grows.
    Wait,
    /// The deltas after this position.
    Follow(Position),
    /// One compacted delta from this position to the head.
    CatchUp(Position),
    /// Everything.
    Snapshot,
}

/// Serves a log to one peer: a cursor and the decision what it needs.
#[derive(Debug, Clone)]
pub struct Sender {
    cursor: Option<Position>,
}

impl Sender {
    /// For a peer that says what it holds.
    #[must_use]
    pub fn new(resume: Option<Position>) -> Self {
        Self { cursor: resume }
    }

    /// What to send now; `reach` tells how the log can serve a reader at a position.
    pub fn step(&self, reach: impl FnOnce(&Position) -> Reach) -> Step {
        let Some(cursor) = self.cursor else { return Step::Snapshot };
        match reach(&cursor) {
            Reach::Head => Step::Wait,
            Reach::Follow => Step::Follow(cursor),
            Reach::CatchUp => Step::CatchUp(cursor),
            Reach::Nothing => Step::Snapshot,
        }
    }

    /// The peer has been sent everything up to this position.
    pub fn sent(&mut self, to: Position) {
        self.cursor = Some(to);
    }

    /// What was sent so far.
    #[must_use]
    pub fn cursor(&self) -> Option<Position> {
        self.cursor
    }
}
