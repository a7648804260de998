//! Policy: what it means (the oracle), how it is compiled, and the tables that the kernel looks it up in.
pub mod compile;
mod decision;
mod evaluate;
mod explain;
#[cfg(test)]
pub(crate) mod fixture;
mod leads;
mod matching;
mod question;
pub mod survey;
pub mod tables;
mod world;

pub use crate::model::REGION_LABEL;
pub use decision::{Decision, Reason, RuleId, Ruling, Side, Verdict};
pub use evaluate::{Flow, STEPS, Step, evaluate, judge};
pub use explain::{Asked, Explanation, Trace, explain};
pub use leads::leads;
pub use matching::{Match, Miss, Target, cluster_labels};
pub use question::{Misunderstood, PROTOCOLS, protocol_named};
pub use world::{Party, Workload, World};
