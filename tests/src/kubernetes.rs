//! The real Kubernetes: its own programs, built by `make setup-kubernetes`, with nothing of it replaced.
//!
//! [`ApiServer`] alone is there in seconds and enough for whoever only speaks to the API.
mod api_server;
mod authority;
mod kubectl;
mod programs;

pub use api_server::ApiServer;
pub use kubectl::Kubectl;
pub use programs::program;
