//! In whole clusters of Kubernetes itself, which `make setup-kubernetes` builds. `make test-kubernetes` runs them.
mod attachment;
mod protection;
