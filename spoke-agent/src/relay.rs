//! The relay role: one per cluster. It speaks to the hub, keeps its own log, and serves the cluster's nodes.
pub mod enrollment;
pub mod tokens;
