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
