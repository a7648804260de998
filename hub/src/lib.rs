//! Axle's hub: store, authentication, distribution, gRPC, REST and dashboard.
#![forbid(unsafe_code)]

pub mod app;
pub mod auth;
pub mod authority;
pub mod config;
pub mod distribution;
pub mod enroll;
pub mod live;
pub mod members;
pub mod operations;
pub mod replica;
pub mod store;
pub mod writer;
