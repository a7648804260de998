//! The wire: what was ever written is read for ever, and nothing is read that the model cannot mean.
#![cfg(test)]

#[path = "wire/golden.rs"]
mod golden;
#[path = "wire/random.rs"]
mod random;
#[path = "wire/sample.rs"]
mod sample;
#[path = "wire/strict.rs"]
mod strict;
