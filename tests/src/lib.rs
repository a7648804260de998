//! The harness of Axle's end-to-end tests and of the demo: hosts, workloads and links made of network namespaces, and
//! the real programs running inside them.
//!
//! Everything here is owned: a value that is dropped takes its processes, namespaces, mounts and cgroups with it, and
//! what a killed run left behind is swept by the next one ([`lease`]).
mod authority;
pub mod binaries;
pub mod bpf;
pub mod cgroup;
pub mod eventually;
pub mod fabric;
pub mod fleet;
pub mod http;
pub mod kubernetes;
pub mod lease;
pub mod netns;
pub mod postgres;
pub mod probe;
pub mod process;
mod scenario;

pub use binaries::binaries;
pub use eventually::eventually;
pub use scenario::scenario;
