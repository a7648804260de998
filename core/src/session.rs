//! Both ends of the sync session, without I/O: every decision of the protocol is made here.
//!
//! Each side of a session serves the other a log. A [`Sender`] decides what its peer gets next; a [`Receiver`] checks what
//! comes and says what to do with it. [`Heartbeat`] and [`Backoff`] decide about time, which is passed in.
mod frame;
mod liveness;
mod receiver;
mod sender;

use crate::model::feature;
pub use frame::{Ack, Digest, Frame, Marker, Page};
pub use liveness::{Backoff, Heartbeat};
pub use receiver::{Effect, Fault, Intake, Limits, Receiver, SUPERSEDED, superseded_by};
pub use sender::{Reach, Sender, Step};

/// The oldest protocol version that this code speaks.
pub const MIN_VERSION: u32 = 1;
/// The newest protocol version that this code speaks.
pub const MAX_VERSION: u32 = 1;
/// The features of objects that this code understands. Version 1 includes all that the model can say; what the model
/// learns later gets a name here, and objects that use it require that name.
pub const FEATURES: &[&str] = &[
    feature::CLUSTER_SERVICES,
    feature::DOMAIN_NAMES,
    feature::IDENTITY_PEERS,
    feature::SERVICE_PEERS,
    feature::SERVICE_TRAITS,
];
/// Those of them that a node's data plane can enforce.
pub const ENFORCED: &[&str] =
    &[feature::CLUSTER_SERVICES, feature::IDENTITY_PEERS, feature::SERVICE_PEERS, feature::SERVICE_TRAITS];

/// The version that two peers speak, given the other's range.
///
/// # Errors
/// Says both ranges, if they do not meet.
pub fn negotiate(min: u32, max: u32) -> Result<u32, String> {
    let version = max.min(MAX_VERSION);
    if version < min || version < MIN_VERSION {
        return Err(format!(
            "the peer speaks protocol versions {min} to {max}, this side {MIN_VERSION} to {MAX_VERSION}: upgrade the older one"
        ));
    }
    Ok(version)
}

#[cfg(test)]
mod tests;
