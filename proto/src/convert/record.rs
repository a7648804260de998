//! The log's records, as the store keeps them.
use axle_core::log::{Change, Intake, Record};
use bytes::Bytes;

use crate::{
    convert::{
        Invalid, Wire, change_from_wire, change_to_wire,
        frame::{hash, place},
        invalid::{Within, list},
        position_to_wire,
        scalar::{uid_from_wire, uid_to_wire},
    },
    v1,
};

/// A record from its message. The hash is taken as it is: see [`Record::hash_after`] to check it.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn record_from_wire(wire: v1::Record) -> Result<Record, Invalid> {
    let change = |change| {
        Ok(match change_from_wire(change)? {
            Change::Put(envelope) => {
                let key = envelope.key.clone();
                Change::Put(envelope.open(&Wire).map_err(|error| Invalid::new(key, error, "an object of its kind"))?)
            }
            Change::Delete { key, uid } => Change::Delete { key, uid },
        })
    };
    let intake = |intake: v1::Intake| {
        let cluster = uid_from_wire("cluster", &intake.cluster)?;
        Ok(Intake { cluster, position: place("position", intake.position)? })
    };
    Ok(Record {
        revision: wire.revision,
        hash: hash("hash", &wire.hash)?,
        time_ms: wire.time_ms,
        actor: wire.actor,
        request_id: wire.request_id,
        action: wire.action,
        changes: list("changes", wire.changes, change)?,
        intake: wire.intake.map(intake).transpose().within("intake")?,
    })
}

/// A record as a message.
#[must_use]
pub fn record_to_wire(record: &Record) -> v1::Record {
    let intake = |intake: &Intake| v1::Intake {
        cluster: uid_to_wire(intake.cluster),
        position: Some(position_to_wire(&intake.position)),
    };
    v1::Record {
        revision: record.revision,
        hash: Bytes::copy_from_slice(&record.hash.0),
        time_ms: record.time_ms,
        actor: record.actor.clone(),
        request_id: record.request_id.clone(),
        action: record.action.clone(),
        changes: record.changes.iter().map(change_to_wire).collect(),
        intake: record.intake.as_ref().map(intake),
    }
}
