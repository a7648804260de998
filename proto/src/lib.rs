//! Axle's wire: the generated messages and their conversion to and from the model, and its views. No logic.

pub mod convert;
pub mod view;

/// The package `axle.v1`, generated from `proto/axle/v1/*.proto`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    reason = "generated code"
)]
pub mod v1 {
    tonic::include_proto!("axle.v1");
}

/// The descriptors of `axle.v1`, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/axle.bin"));
