//! Axle's sessions over the network: certificates, the TLS acceptor, and the gRPC drivers of core's sync session.
#![forbid(unsafe_code)]

pub mod acceptor;
pub mod context;
pub mod pki;
pub mod sync;
pub mod tls;
