//! The two roles of an agent.
use clap::ValueEnum;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Speaks to the hub for one cluster and serves the cluster's nodes.
    Relay,
    /// Enforces policy on this machine.
    Node,
}
