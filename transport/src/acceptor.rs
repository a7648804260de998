//! A server of our own: TLS with a peer per connection, limits everywhere, gRPC and HTTP on one port.
mod crowd;
mod flight;
mod guard;
mod limits;
mod serve;

pub use guard::{ExpiredPeer, Guard};
pub use limits::Limits;
pub use serve::{Acceptor, bind};

#[cfg(test)]
mod tests;
