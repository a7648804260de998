//! Kubernetes: what runs here, as its API server says.
//!
//! Only what was listed whole counts as complete. While the API server is away, or does not let us look, what it said last
//! stays, and the status says what is missing.
pub mod attachment;
mod client;
mod cluster;
pub mod cni;
pub mod conditions;
pub mod crd;
pub mod exports;
pub mod imports;
mod joining;
mod leading;
mod lease;
mod local;
mod machine;
pub mod mirrors;
mod place;
pub mod pod;
pub mod policies;
mod policy_feed;
pub mod raw;
mod review;
mod secret;
mod service;
mod slice_keeper;
mod slices;
mod standing_by;
mod teller;
mod trouble;
pub mod uninstall;
mod watch;
mod writer;

pub use client::{ApiServer, ConnectError};
pub use cluster::cluster_inventory;
pub use joining::Joiner;
pub use leading::{Joins, Leading, Released, lead};
pub use lease::{Lease, Times, Turn};
pub use local::local_inventory;
pub use place::{AUDIENCE, Here, RelayPlace};
pub use policy_feed::{Feeds, NetworkPolicies, PolicyState, PolicyWatch};
pub use review::Reviewer;
pub use teller::{Telling, keep_telling};
pub use trouble::Trouble;
pub use watch::{Called, Held, Watched, follow};
