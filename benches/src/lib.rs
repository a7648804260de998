//! Axle's headline benchmarks, each a ratio inside one run.
