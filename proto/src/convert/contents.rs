//! A log at rest, as agents keep it on disk.
use axle_core::log::{Contents, Entry, Past, Tombstone};
use bytes::Bytes;

use crate::{
    convert::{
        Invalid, Wire, envelope_from_wire, envelope_to_wire,
        frame::{hash, origin, place},
        invalid::{Within, list, required},
        key_from_wire, key_to_wire, position_to_wire,
        scalar::{uid_from_wire, uid_to_wire},
    },
    v1,
};

/// A log from its message.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn contents_from_wire(wire: v1::Contents) -> Result<Contents, Invalid> {
    let entry = |entry: v1::Entry| {
        let envelope = envelope_from_wire(required("envelope", entry.envelope)?).within("envelope")?;
        let key = envelope.key.clone();
        let object = envelope.open(&Wire).map_err(|error| Invalid::new(key, error, "an object of its kind"))?;
        Ok(Entry { changed: entry.changed, object })
    };
    let past = |past: v1::Past| Ok(Past { revision: past.revision, hash: hash("hash", &past.hash)? });
    let gone = |gone: v1::Gone| {
        let tombstone = required("tombstone", gone.tombstone)?;
        let key = key_from_wire(required("key", tombstone.key)?).within("key")?;
        Ok(Tombstone { changed: gone.changed, key, uid: uid_from_wire("uid", &tombstone.uid)? })
    };
    let (position, origin) = (place("position", wire.position)?, origin(wire.origin)?);
    let entries = list("entries", wire.entries, entry)?;
    let history = list("history", wire.history, past)?;
    Ok(Contents::restore(position, origin, entries, &history, list("tombstones", wire.tombstones, gone)?))
}

/// A log as a message.
#[must_use]
pub fn contents_to_wire(contents: &Contents) -> v1::Contents {
    let entry = |entry: &Entry| v1::Entry { changed: entry.changed, envelope: Some(envelope_to_wire(&entry.object)) };
    let past = |past: &Past| v1::Past { revision: past.revision, hash: Bytes::copy_from_slice(&past.hash.0) };
    let gone = |gone: &Tombstone| v1::Gone {
        changed: gone.changed,
        tombstone: Some(v1::Tombstone { key: Some(key_to_wire(&gone.key)), uid: uid_to_wire(gone.uid) }),
    };
    let (entries, history, tombstones) = contents.parts();
    v1::Contents {
        position: Some(position_to_wire(&contents.position())),
        origin: contents.origin().as_ref().map(position_to_wire),
        entries: entries.iter().map(entry).collect(),
        history: history.iter().map(past).collect(),
        tombstones: tombstones.iter().map(gone).collect(),
    }
}
