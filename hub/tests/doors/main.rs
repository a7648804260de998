//! The hub's doors, in front of a real hub: good input, bad input, streams, both doors alike.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]
mod bad_input;
mod client;
mod fixture;
mod grpc;
mod reading;
mod streams;
mod trust;
mod writing;
