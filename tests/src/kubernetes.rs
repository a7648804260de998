//! The real Kubernetes: its own programs, built by `make setup-kubernetes`, with nothing of it replaced.
//!
//! [`ApiServer`] alone is there in seconds and enough for whoever only speaks to the API. A [`Cluster`] is whole: each of
//! its nodes has a kubelet and a container runtime in namespaces of its own, on a host of the fabric, which leads pods of
//! all clusters to each other. Nothing is pulled: an [`Image`] is made of files of this machine.
mod api_server;
mod cluster;
mod helm;
mod image;
mod kubectl;
mod networks;
mod node;
mod programs;

pub use api_server::ApiServer;
pub use cluster::Cluster;
pub use helm::{rehearse, template};
pub use image::Image;
pub use kubectl::Kubectl;
pub use networks::Networks;
pub use node::Node;
pub use programs::program;

/// How long a program of Kubernetes may take on a busy machine before it counts as broken.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
