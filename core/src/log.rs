//! The change log: what was written, by whom, in one order; and what a reader needs to follow it.
//!
//! A [`Record`] is one command with everything that it changed. A [`Delta`] is the part of one or more records that a
//! reader sees. [`Contents`] is a log applied: the objects at one [`Position`], and a memory of the way there from which
//! a reader that fell behind gets one compacted delta instead of everything.
mod chain;
mod contents;
mod delta;
mod position;
mod record;

pub use contents::{Applied, Contents, Entry, OutOfOrder, Past, Retention, Tombstone};
pub use delta::{Delta, Snapshot};
pub use position::{Epoch, Hash, Position};
pub use record::{Change, Intake, Record};

#[cfg(test)]
pub(crate) mod sketch;
#[cfg(test)]
mod tests;
