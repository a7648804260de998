//! The compiler against the oracle: every verdict, after every single write.
mod counts;
mod random;
mod rig;
