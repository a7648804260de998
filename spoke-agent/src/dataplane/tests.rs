//! The shipped programs, run by the kernel over made packets. They need root.
mod flows;
mod headers;
mod interfaces;
mod model;
mod packet;
mod plans;
mod reports;
pub(crate) mod sandbox;
mod vectors;
