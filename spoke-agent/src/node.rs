//! The node role: takes its relay's log, compiles it, and keeps the kernel in step.
mod directory;
pub mod enforcement;
pub mod flows;
