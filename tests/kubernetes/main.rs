//! Tests against real Kubernetes: its API server, and whole clusters.
mod api_server;
mod charts;
mod clusters;
mod fleet;
mod from_charts;
mod installed;
mod multicluster;
mod namespace;
mod node_port;
mod on_postgres;
mod own_policy;
mod pods;
mod privileged;
mod windows;
