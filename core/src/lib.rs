//! Axle's pure heart: the model, the policy compiler and its oracle, the change log and both ends of the sync
//! session. Nothing here does I/O, reads a clock or draws a random number: callers pass those in.
#![forbid(unsafe_code)]

pub mod address;
pub mod codec;
pub mod duration;
pub mod identity;
pub mod log;
pub mod manifest;
pub mod model;
pub mod offline;
pub mod policy;
pub mod refusal;
pub mod service;
pub mod session;
pub mod state;
