//! Refusals.
use axle_core::refusal::Refusal;

use crate::{
    convert::{
        Invalid,
        invalid::{Within, required},
        key_from_wire, key_to_wire,
    },
    v1,
};

/// A refusal from its message.
///
/// # Errors
/// [`Invalid`] names the field.
pub fn refusal_from_wire(wire: v1::Refusal) -> Result<Refusal, Invalid> {
    let key = key_from_wire(required("key", wire.key)?).within("key")?;
    Ok(Refusal { key, revision: wire.revision, code: wire.code, message: wire.message })
}

/// A refusal as a message.
#[must_use]
pub fn refusal_to_wire(refusal: &Refusal) -> v1::Refusal {
    let Refusal { key, revision, code, message } = refusal;
    v1::Refusal { key: Some(key_to_wire(key)), revision: *revision, code: code.clone(), message: message.clone() }
}
