//! The node's data plane: the kernel programs of `spoke-ebpf`, their maps, and the links that hold them at interfaces.
//!
//! One [`DataPlane`] has one pin directory, locked. What is pinned there (links, tracked flows, counters) goes on without
//! it; a new agent builds a complete set of tables aside and swaps each link to it, so that no packet is lost and none
//! passes unjudged. Tables are written by [`DataPlane::apply`], one for one as the compiler says.
mod addresses;
mod attach;
mod capacity;
mod error;
mod events;
mod flows;
mod interfaces;
mod judge;
mod load;
mod mapped;
mod offline;
pub mod pins;
mod plane;
mod read_back;
mod service;
mod settings;
mod status;
mod sys;
mod tables;
mod verify;

pub use attach::{Attachment, NotEnforced};
pub use capacity::Capacity;
pub use error::{Error, WriteError};
pub use events::{Event, Events};
pub use flows::{Collected, Timeouts};
pub use judge::Judged;
pub use offline::{Cleaned, Pinned, bypass, cleanup, idle, pinned};
pub use plane::{DataPlane, Gate};
pub use service::{Calls, ServicePlane, ServiceSettings, detach_services};
pub use settings::Settings;
pub use status::{Status, Tally, WorkloadStatus};

/// What the programs say became of a packet, and how many addresses of one workload they know.
pub use axle_ebpf_common::policy::{OWN_ADDRESSES, Outcome};

#[cfg(test)]
pub(crate) mod tests;
