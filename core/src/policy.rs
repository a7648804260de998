//! Policy: what it means (the oracle), how it is compiled, and the tables that the kernel looks it up in.
pub mod tables;
