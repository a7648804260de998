//! Against the API server of Kubernetes itself, which `make setup-kubernetes` builds.
#[expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers that fail the test")]
mod stage;

mod schema;
mod telling;
