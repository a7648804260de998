//! The end-to-end tests: real hubs, agents, kernel programs and packets, in network namespaces. One file per theme.
mod fabric;
