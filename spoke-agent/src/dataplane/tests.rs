//! The shipped programs, run by the kernel over made packets. They need root.
mod model;
mod packet;
mod sandbox;
