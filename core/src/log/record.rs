//! One entry of the log.
use crate::{
    log::Hash,
    model::{Key, Object, Uid},
};

/// One change of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It exists now, with this content.
    Put(Object),
    /// This incarnation exists no more. If the key holds another uid, nothing happens.
    Delete {
        /// Its name.
        key: Key,
        /// Which incarnation.
        uid: Uid,
    },
}

impl Change {
    /// The name of the object that changes.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(object) => &object.key,
            Self::Delete { key, .. } => key,
        }
    }
}

/// One revision: one command and everything that it changed, taking effect together.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its number: the one before plus one.
    pub revision: u64,
    /// Covers this record and the hash of the one before.
    pub hash: Hash,
    /// When the hub accepted it, in milliseconds since 1970; for people, never for ordering.
    pub time_ms: u64,
    /// Who asked: `user:alice`, `cluster:<uid>/relay`, `hub`.
    pub actor: String,
    /// The asker's own id of the request: a repeated one is answered, not applied again. May be empty.
    pub request_id: String,
    /// What was asked, for the audit trail: `policy apply shop/allow-web`.
    pub action: String,
    /// In the order of their keys, each key once.
    pub changes: Vec<Change>,
}
