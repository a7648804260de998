//! The compiler against the oracle: every verdict, after every single write.
mod counts;
mod limits;
mod random;
mod rig;
