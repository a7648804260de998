//! The end-to-end tests: real hubs, agents, kernel programs and packets, in network namespaces. One file per theme.
mod address;
mod certificates;
mod coexistence;
mod database;
mod documents;
mod enrollment;
mod fabric;
mod identity;
mod input;
mod on_the_node;
mod pair;
mod policy;
mod refusal;
mod restart;
mod service;
mod single_agent;
mod writes;
