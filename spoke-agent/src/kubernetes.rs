//! Kubernetes: what runs here, as its API server says.
//!
//! Only what was listed whole counts as complete. While the API server is away, or does not let us look, what it said last
//! stays, and the status says what is missing.
pub mod attachment;
mod client;
pub mod cni;
pub mod conditions;
pub mod crd;
pub mod mirrors;
pub mod policies;
mod policy_feed;
pub mod raw;
mod teller;
mod watch;

pub use client::{ApiServer, ConnectError};
pub use policy_feed::{NetworkPolicies, PolicyWatch, follow_policies, with_policies};
pub use teller::{Telling, keep_telling};
pub use watch::{Called, Held, Trouble, Watched, follow};
