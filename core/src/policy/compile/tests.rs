//! The compiler against the oracle: every verdict, after every single write.
mod counts;
mod limits;
mod many;
mod random;
mod rig;
