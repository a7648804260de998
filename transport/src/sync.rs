//! The sync session over gRPC: core's [`Sender`](axle_core::session::Sender) and
//! [`Receiver`](axle_core::session::Receiver), driven.
//!
//! Each side serves the other a [`View`], an encoded log, and feeds what it receives into a [`Replica`]. The upper side
//! (hub, relay) is a [`Host`] behind a [`SyncServer`]; the lower side (relay, node) runs a [`Link`].
mod bounds;
mod codec;
mod density;
mod host;
mod inbound;
mod link;
mod message;
mod outbound;
mod outbox;
mod replica;
mod server;
mod snapshot;
mod view;
mod window;

pub use host::{Admission, Host, Introduction, SessionCounters};
pub use link::{Link, LinkSettings, LinkState};
pub use replica::{Goodbye, Replica};
pub use server::SyncServer;
pub use view::{View, ViewSettings};

/// The largest message that a session takes, in bytes: a revision of a whole cluster must fit.
pub const MAX_MESSAGE: usize = 64 << 20;

#[cfg(test)]
mod tests;
