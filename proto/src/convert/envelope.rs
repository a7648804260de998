//! Keys, envelopes and changes.
use axle_core::{
    log::Change,
    model::{Envelope, Key, Kind, Object, Scope},
};

use crate::{
    convert::{
        Invalid,
        invalid::{Within, required},
        scalar::{name, uid_from_wire, uid_to_wire},
    },
    v1,
};

/// A key from its message.
///
/// # Errors
/// [`Invalid`] names the field; an unknown kind is one.
pub fn key_from_wire(wire: v1::Key) -> Result<Key, Invalid> {
    let kind = Kind::from_number(wire.kind);
    Ok(Key {
        kind: kind.ok_or_else(|| Invalid::new("kind", wire.kind, "a kind that this version knows: upgrade it"))?,
        scope: if wire.cluster.is_empty() {
            Scope::Fleet
        } else {
            Scope::Cluster(uid_from_wire("cluster", &wire.cluster)?)
        },
        namespace: wire.namespace,
        name: name("name", wire.name)?,
    })
}

/// A key as a message.
#[must_use]
pub fn key_to_wire(key: &Key) -> v1::Key {
    let cluster = match key.scope {
        Scope::Fleet => bytes::Bytes::new(),
        Scope::Cluster(uid) => uid_to_wire(uid),
    };
    v1::Key { kind: key.kind as u32, cluster, namespace: key.namespace.clone(), name: key.name.to_string() }
}

/// An envelope from its message; its payload stays as it is.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn envelope_from_wire(wire: v1::Envelope) -> Result<Envelope, Invalid> {
    Ok(Envelope {
        key: key_from_wire(required("key", wire.key)?).within("key")?,
        uid: uid_from_wire("uid", &wire.uid)?,
        revision: wire.revision,
        features: wire.required_features,
        payload: wire.payload,
    })
}

/// An object as a message; its payload is passed on unchanged.
#[must_use]
pub fn envelope_to_wire(object: &Object) -> v1::Envelope {
    v1::Envelope {
        key: Some(key_to_wire(&object.key)),
        uid: uid_to_wire(object.uid),
        revision: object.revision,
        required_features: object.features.clone(),
        payload: object.payload.clone(),
    }
}

/// A change from its message.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn change_from_wire(wire: v1::Change) -> Result<Change<Envelope>, Invalid> {
    Ok(match required("change", wire.change)? {
        v1::change::Change::Put(put) => Change::Put(envelope_from_wire(put).within("put")?),
        v1::change::Change::Delete(tombstone) => {
            let key = key_from_wire(required("key", tombstone.key)?).within("delete.key")?;
            Change::Delete { key, uid: uid_from_wire("delete.uid", &tombstone.uid)? }
        }
    })
}

/// A change as a message.
#[must_use]
pub fn change_to_wire(change: &Change) -> v1::Change {
    let change = match change {
        Change::Put(object) => v1::change::Change::Put(envelope_to_wire(object)),
        Change::Delete { key, uid } => {
            v1::change::Change::Delete(v1::Tombstone { key: Some(key_to_wire(key)), uid: uid_to_wire(*uid) })
        }
    };
    v1::Change { change: Some(change) }
}
