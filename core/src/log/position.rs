//! A place in a log.
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::Uid;

/// One life of a log. A restore, an import or a failover that lost commits begins a new one.
pub type Epoch = Uid;

/// A BLAKE3 hash that covers a record and, through its predecessor's hash, all records before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A place in a log. Two logs agree up to a revision if epoch and hash there are equal: a resume whose hash differs is
/// a resync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Which life of the log.
    pub epoch: Epoch,
    /// How many records lie before and at this place; 0 is the empty log.
    pub revision: u64,
    /// The hash of the record with that revision; zero at revision 0.
    pub hash: Hash,
}

/// How far the terms of two leaders are apart, in revisions: no leader makes so many.
const TERM: u32 = 32;

impl Position {
    /// Which of a log's leaders made it, where they come one after the other. Each goes on with the log of the one before as
    /// far as it has that, at a round revision of its own: so what two of them wrote, each for itself, has an order, and
    /// nothing that depends on the later one's word is taken back by the earlier one's. 0 where nobody else ever leads.
    #[must_use]
    pub fn term(&self) -> u32 {
        u32::try_from(self.revision >> TERM).unwrap_or(u32::MAX)
    }

    /// The least place of a leader with this term in the same log.
    #[must_use]
    pub fn of_leader(&self, term: u32) -> Self {
        Self { revision: u64::from(term) << TERM, hash: Hash::default(), ..*self }
    }

    /// Whether it is in the same log and a later leader's.
    #[must_use]
    pub fn outranks(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.term() > other.term()
    }
}
