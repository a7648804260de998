//! Kubernetes: what runs here, as its API server says.
//!
//! Only what was listed whole counts as complete. While the API server is away, or does not let us look, what it said last
//! stays, and the status says what is missing.
pub mod attachment;
mod client;
mod watch;

pub use client::{ApiServer, ConnectError};
pub use watch::{Called, Held, Trouble, Watched, follow};
