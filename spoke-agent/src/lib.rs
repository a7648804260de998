//! Axle's agent: keeps one machine's part of the mesh, and enforces it in the kernel.
//!
//! Two roles, `relay` (one per cluster: speaks to the hub, serves the cluster's nodes) and `node` (one per machine).
pub mod app;
pub mod clock;
pub mod command;
pub mod control;
pub mod credentials;
pub mod dataplane;
pub mod disk;
pub mod dns;
pub mod enroll;
pub mod flow_queue;
pub mod inventory;
pub mod journal;
pub mod kubernetes;
pub mod listener;
pub mod lock;
pub mod merged_log;
pub mod node;
pub mod probe;
pub mod problems;
pub mod relay;
pub mod renew;
pub mod report;
pub mod role;
pub mod shared_log;
pub mod state_directory;
pub mod status;
pub mod tasks;
pub mod upstream;
