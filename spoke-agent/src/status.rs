//! What a running agent says of itself, for people and programs on its machine.
use axle_core::log::Position;
use serde::{Deserialize, Serialize};

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The cluster's name.
    pub cluster: String,
    /// This machine's name in it.
    pub node_name: String,
    /// The relay role, where this process has it.
    pub relay: Option<RelayStatus>,
    /// The node role, where this process has it.
    pub node: Option<NodeStatus>,
    /// What is wrong, in sentences.
    pub problems: Vec<String>,
}

/// The relay role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayStatus {
    /// Where nodes connect.
    pub listen: String,
    /// Where the hub is.
    pub hub: String,
    /// Whether a session with the hub is up.
    pub connected: bool,
    /// How far this relay's copy of the hub's log is.
    pub received: Option<Position>,
    /// How far the hub has this cluster's log.
    pub sent: Option<Position>,
    /// Where this relay's own log is.
    pub head: Position,
    /// Complete copies taken from the hub since the start; resumes by revision are not among them.
    pub resyncs: u64,
    /// When its certificate ends, in milliseconds since 1970.
    pub certificate_expires_ms: u64,
    /// The cluster's nodes as they last reported.
    pub nodes: Vec<RelayNode>,
}

/// A node, as its relay knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RelayNode {
    /// Its name.
    pub name: String,
    /// Whether a session is up.
    pub connected: bool,
    /// The hub's position that its kernel holds.
    pub applied: Option<Position>,
    /// Whether something it received is not in force.
    pub degraded: bool,
}

/// The node role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Where the relay is.
    pub relay: String,
    /// Whether a session with the relay is up.
    pub connected: bool,
    /// How far this node's copy of the relay's log is.
    pub received: Option<Position>,
    /// The hub's position that the kernel holds.
    pub applied: Option<Position>,
    /// What the kernel holds, by meaning, in hexadecimal.
    pub digest: String,
    /// Until when all traffic passes, in milliseconds since 1970.
    pub bypassed_until_ms: Option<u64>,
    /// What was received and is not in force.
    pub refused: Vec<Refused>,
    /// Complete copies taken from the relay since the start.
    pub resyncs: u64,
    /// When its certificate ends, in milliseconds since 1970.
    pub certificate_expires_ms: u64,
    /// The workloads of this machine.
    pub workloads: Vec<Workload>,
    /// How full the kernel's tables are.
    pub capacity: Vec<Capacity>,
    /// Verdict events lost since the start.
    pub events_dropped: u64,
}

/// Something that is not in force though received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The object, as its key reads.
    pub object: String,
    /// Stable word for the reason.
    pub code: String,
    /// The reason, for people.
    pub message: String,
}

/// A workload of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its interface on this machine.
    pub interface: String,
    /// Whether both its hooks are attached.
    pub enforced: bool,
    /// Whether both hooks have been seen to see packets.
    pub proven: bool,
    /// If not both, why.
    pub reason: String,
}

/// One table of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Its name.
    pub table: String,
    /// Entries in use.
    pub used: u64,
    /// Entries it can hold.
    pub limit: u64,
}
