//! The hub's state machine, with the real wire.
#![cfg(test)]

#[path = "state/clusters.rs"]
mod clusters;
#[path = "state/common.rs"]
mod common;
#[path = "state/intake.rs"]
mod intake;
#[path = "state/log.rs"]
mod log;
#[path = "state/policies.rs"]
mod policies;
#[path = "state/services.rs"]
mod services;
#[path = "state/sessions.rs"]
mod sessions;
