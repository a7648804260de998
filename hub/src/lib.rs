//! Axle's hub: store, authentication, distribution, gRPC, REST and dashboard.
#![forbid(unsafe_code)]

pub mod app;
pub mod auth;
pub mod authority;
mod clock;
pub mod config;
mod dashboard;
pub mod distribution;
pub mod enroll;
pub mod exchange;
pub mod grpc;
pub mod live;
pub mod members;
pub mod metrics;
pub mod operations;
pub mod replica;
pub mod rest;
pub mod retention;
pub mod sessions;
pub mod store;
pub mod tokens;
pub mod writer;
