//! How one object of many is refused, by name, while the rest goes on.
use crate::model::Key;

/// Why one object was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} at revision {revision}: {message} ({code})")]
pub struct Refusal {
    /// Which.
    pub key: Key,
    /// Its revision.
    pub revision: u64,
    /// Stable, for programs; see [`code`].
    pub code: String,
    /// What was found, what is wanted and how to mend it.
    pub message: String,
}

/// The stable codes of refusals. Never renamed.
pub mod code {
    /// The object requires a feature that this receiver lacks.
    pub const UNKNOWN_FEATURE: &str = "unknown_feature";
    /// The payload cannot be read, or is not what its key says.
    pub const INVALID_OBJECT: &str = "invalid_object";
    /// The sender may not write this object.
    pub const FOREIGN_OBJECT: &str = "foreign_object";
    /// An endpoint has an address outside its cluster's prefixes.
    pub const ADDRESS_OUTSIDE: &str = "address_outside_cluster";
    /// The cluster has as many objects as one may have.
    pub const TOO_MUCH: &str = "too_much";
    /// A node cannot hold the policy.
    pub const DOES_NOT_FIT: &str = "does_not_fit";
    /// The kernel refused a write.
    pub const MAP_WRITE_FAILED: &str = "map_write_failed";
}
