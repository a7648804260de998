//! What travels on a session.
use axle_core::{
    log::{Delta, Hash, Position},
    model::Envelope,
    session::{Ack, Marker, Page},
};
use bytes::Bytes;

use crate::{
    convert::{
        Invalid, change_from_wire, change_to_wire, envelope_from_wire,
        invalid::{Within, list, required},
        refusal_from_wire, refusal_to_wire,
        scalar::{uid_from_wire, uid_to_wire},
    },
    v1,
};

pub(crate) fn hash(at: &str, bytes: &[u8]) -> Result<Hash, Invalid> {
    let wrong = |_| Invalid::new(at, format_args!("{} bytes", bytes.len()), "32 bytes");
    Ok(Hash(bytes.try_into().map_err(wrong)?))
}

/// A position from its message.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn position_from_wire(wire: v1::Position) -> Result<Position, Invalid> {
    let epoch = uid_from_wire("epoch", &wire.epoch)?;
    Ok(Position { epoch, revision: wire.revision, hash: hash("hash", &wire.hash)? })
}

/// A position as a message.
#[must_use]
pub fn position_to_wire(position: &Position) -> v1::Position {
    let hash = Bytes::copy_from_slice(&position.hash.0);
    v1::Position { epoch: uid_to_wire(position.epoch), revision: position.revision, hash }
}

pub(crate) fn place(at: &str, wire: Option<v1::Position>) -> Result<Position, Invalid> {
    position_from_wire(required(at, wire)?).within(at)
}

pub(crate) fn origin(wire: Option<v1::Position>) -> Result<Option<Position>, Invalid> {
    wire.map(position_from_wire).transpose().within("origin")
}

/// A delta from its message, its payloads not yet understood.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn delta_from_wire(wire: v1::Delta) -> Result<Delta<Envelope>, Invalid> {
    Ok(Delta {
        from: wire.from,
        to: place("to", wire.to)?,
        changes: list("changes", wire.changes, change_from_wire)?,
        origin: origin(wire.origin)?,
    })
}

/// A delta as a message.
#[must_use]
pub fn delta_to_wire(delta: &Delta) -> v1::Delta {
    v1::Delta {
        from: delta.from,
        to: Some(position_to_wire(&delta.to)),
        changes: delta.changes.iter().map(change_to_wire).collect(),
        origin: delta.origin.as_ref().map(position_to_wire),
    }
}

/// A snapshot's page from its message.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn page_from_wire(wire: v1::SnapshotPage) -> Result<Page, Invalid> {
    let objects = list("objects", wire.objects, envelope_from_wire)?;
    Ok(Page { at: place("at", wire.at)?, index: wire.index, objects })
}

/// A snapshot's end from its message.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn marker_from_wire(wire: v1::SyncMarker) -> Result<Marker, Invalid> {
    let digest = hash("digest", &wire.digest)?;
    Ok(Marker { at: place("at", wire.at)?, count: wire.count, digest, origin: origin(wire.origin)? })
}

/// A snapshot's end as a message.
#[must_use]
pub fn marker_to_wire(marker: &Marker) -> v1::SyncMarker {
    v1::SyncMarker {
        at: Some(position_to_wire(&marker.at)),
        count: marker.count,
        digest: Bytes::copy_from_slice(&marker.digest.0),
        origin: marker.origin.as_ref().map(position_to_wire),
    }
}

/// An answer from its message.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn ack_from_wire(wire: v1::Ack) -> Result<Ack, Invalid> {
    let refused = list("refused", wire.refused, refusal_from_wire)?;
    Ok(Ack { received: place("received", wire.received)?, refused })
}

/// An answer as a message.
#[must_use]
pub fn ack_to_wire(ack: &Ack) -> v1::Ack {
    let refused = ack.refused.iter().map(refusal_to_wire).collect();
    v1::Ack { received: Some(position_to_wire(&ack.received)), refused }
}
