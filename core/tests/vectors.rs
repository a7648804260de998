//! Policies with known outcomes, through the doors, the oracle and the compiled tables.
#![cfg(test)]

#[path = "vectors/bench.rs"]
mod bench;
#[path = "vectors/cilium.rs"]
mod cilium;
#[path = "vectors/conformance.rs"]
mod conformance;
#[path = "vectors/own.rs"]
mod own;
