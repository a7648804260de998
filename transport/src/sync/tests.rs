//! Sessions over real mTLS on loopback, through a wire that can be cut.
mod behaviour;
mod cuts;
mod ends;
mod rig;
mod wire;
