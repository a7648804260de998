//! The `axle` command as a process, against a real hub.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]
mod axle;
mod failures;
#[path = "../../../hub/tests/doors/fixture.rs"]
#[allow(dead_code, reason = "shared with the hub's own tests, which use all of it")]
mod fixture;
mod preview;
mod work;
