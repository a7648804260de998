//! What one append writes.
use std::{collections::BTreeMap, net::IpAddr};

use axle_core::{
    log::{Change, Hash, Position, Record},
    model::{Envelope, Key, Kind, Object, Scope, Uid},
};
use bytes::Bytes;
use prost::Message as _;

use super::{StoreError, document, exact, unsigned};

/// Records in order, ready to be written, and what they come to.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) log: Vec<LogRow>,
    /// The last word on each key.
    pub(super) objects: BTreeMap<Key, Last>,
    pub(super) intakes: BTreeMap<Uid, Position>,
    /// Clusters that are no more: nobody may join or speak for them.
    pub(super) removed: Vec<Uid>,
    /// Service addresses that rest from these revisions on.
    pub(super) given_up: Vec<(IpAddr, u64)>,
}

#[derive(Debug)]
pub(super) struct LogRow {
    pub(super) revision: u64,
    pub(super) hash: Hash,
    pub(super) time_ms: u64,
    pub(super) actor: String,
    pub(super) request_id: String,
    pub(super) action: String,
    pub(super) record: Bytes,
}

#[derive(Debug)]
pub(super) enum Last {
    Put(Box<ObjectRow>),
    Deleted(Uid),
}

/// A row of `objects`.
#[derive(Debug)]
pub(super) struct ObjectRow {
    pub(super) uid: Uid,
    pub(super) revision: u64,
    pub(super) features: String,
    pub(super) payload: Bytes,
    pub(super) document: String,
}

impl Batch {
    /// What these records, in order, come to.
    #[must_use]
    pub fn of(records: &[Record]) -> Self {
        let mut batch = Self::default();
        for record in records {
            batch.log.push(LogRow {
                revision: record.revision,
                hash: record.hash,
                time_ms: record.time_ms,
                actor: record.actor.clone(),
                request_id: record.request_id.clone(),
                action: record.action.clone(),
                record: axle_proto::convert::record_to_wire(record).encode_to_vec().into(),
            });
            if let Some(intake) = &record.intake {
                batch.intakes.insert(intake.cluster, intake.position);
            }
            for change in &record.changes {
                batch.change(change);
            }
        }
        for cluster in &batch.removed {
            batch.intakes.remove(cluster);
        }
        batch
    }

    /// The same, and these service addresses are given up by it, each by that revision.
    #[must_use]
    pub fn giving_up(mut self, addresses: impl IntoIterator<Item = (IpAddr, u64)>) -> Self {
        self.given_up.extend(addresses);
        self
    }

    fn change(&mut self, change: &Change) {
        match change {
            Change::Put(object) => {
                // Postgres' JSON has no NUL, and a spoke may write what it likes: it must not stop everybody's writes.
                let document = document::of(&object.resource).to_string().replace("\\u0000", "\\ufffd");
                let row = ObjectRow {
                    uid: object.uid,
                    revision: object.revision,
                    features: object.features.join(" "),
                    payload: object.payload.clone(),
                    document,
                };
                self.objects.insert(object.key.clone(), Last::Put(Box::new(row)));
            }
            Change::Delete { key, uid } => {
                if key.kind == Kind::Cluster {
                    self.removed.push(*uid);
                }
                self.objects.insert(key.clone(), Last::Deleted(*uid));
            }
        }
    }

    /// Revision and hash after it; `None` if it is empty.
    pub(super) fn end(&self) -> Option<(u64, Hash)> {
        self.log.last().map(|row| (row.revision, row.hash))
    }

    /// Whether it has no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }
}

/// The columns of `objects` that make an object again.
pub(super) struct Columns {
    pub(super) kind: i64,
    pub(super) cluster: Vec<u8>,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: Vec<u8>,
    pub(super) revision: i64,
    pub(super) features: String,
    pub(super) payload: Vec<u8>,
}

impl Columns {
    pub(super) fn object(self) -> Result<Object, StoreError> {
        let kind = u32::try_from(self.kind).ok().and_then(Kind::from_number);
        let kind = kind.ok_or_else(|| StoreError::Corrupt(format!("there is no kind {}", self.kind)))?;
        let scope = match self.cluster.as_slice() {
            [] => Scope::Fleet,
            uid => Scope::Cluster(Uid(exact("a cluster's uid", uid)?)),
        };
        let name = self.name.parse().map_err(|why| StoreError::Corrupt(format!("{why}")))?;
        let envelope = Envelope {
            key: Key { kind, scope, namespace: self.namespace, name },
            uid: Uid(exact("a uid", &self.uid)?),
            revision: unsigned(self.revision)?,
            features: self.features.split_whitespace().map(str::to_string).collect(),
            payload: self.payload.into(),
        };
        let shown = envelope.key.to_string();
        envelope.open(&axle_proto::convert::Wire).map_err(|why| StoreError::Corrupt(format!("{shown}: {why}")))
    }
}

/// The cluster column of a key.
pub(super) fn cluster_column(key: &Key) -> Vec<u8> {
    match key.scope {
        Scope::Fleet => Vec::new(),
        Scope::Cluster(uid) => uid.0.to_vec(),
    }
}

/// A row of `log`, read back.
pub(super) fn record(bytes: Vec<u8>) -> Result<Record, StoreError> {
    let corrupt = |why: String| StoreError::Corrupt(format!("a record of the log: {why}"));
    let wire = axle_proto::v1::Record::decode(Bytes::from(bytes)).map_err(|why| corrupt(why.to_string()))?;
    axle_proto::convert::record_from_wire(wire).map_err(|why| corrupt(why.to_string()))
}
