//! The compiler against the oracle: every verdict, after every single write.
mod churn;
mod counts;
mod limits;
mod many;
pub(in crate::policy) mod random;
pub(in crate::policy) mod rig;
