//! One entry of the log.
use crate::{
    log::{Hash, Position, chain::Chain},
    model::{Key, Kind, Object, Uid},
};

/// One change of one object: of an [`Object`], or of an [`Envelope`](crate::model::Envelope) on its way to become one.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<T = Object> {
    /// It exists now, with this content.
    Put(T),
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
    /// In the order of their keys, each key once; but where a new incarnation takes the place of another, the other's
    /// delete comes before it.
    pub changes: Vec<Change>,
    /// How far a spoke's own log is taken in with this record, if it came from one.
    pub intake: Option<Intake>,
}

/// How far a spoke's own log has been taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intake {
    /// Whose log.
    pub cluster: Uid,
    /// The place in it, inclusive.
    pub position: Position,
}

impl Record {
    /// The hash that this record must have after a record with the hash `before` (the zero hash before the first).
    #[must_use]
    pub fn hash_after(&self, before: Hash) -> Hash {
        let mut chain = Chain::new("axle log record v1", before);
        chain.number(self.revision).number(self.time_ms);
        chain.text(&self.actor).text(&self.request_id).text(&self.action);
        chain.flag(self.intake.is_some());
        if let Some(intake) = &self.intake {
            chain.uid(intake.cluster).position(&intake.position);
        }
        chain.changes(&self.changes);
        chain.finish()
    }

    /// This record as the next of a log that stands at `before`: its revision and hash set.
    #[must_use]
    pub fn sealed(mut self, before: &Position) -> Self {
        self.revision = before.revision + 1;
        for change in &mut self.changes {
            if let Change::Put(object) = change {
                object.revision = self.revision;
            }
        }
        self.hash = self.hash_after(before.hash);
        self
    }

    /// The cluster that leaves with this record.
    pub(crate) fn removed_cluster(&self) -> Option<Uid> {
        self.changes.iter().find_map(|change| match change {
            Change::Delete { key, uid } if key.kind == Kind::Cluster => Some(*uid),
            _ => None,
        })
    }

    /// Where a log of this epoch stands after this record.
    #[must_use]
    pub fn position(&self, epoch: Uid) -> Position {
        Position { epoch, revision: self.revision, hash: self.hash }
    }
}
