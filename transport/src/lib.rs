//! Axle's sessions over the network: certificates, the TLS acceptor, and the gRPC drivers of core's sync session.
pub mod context;
