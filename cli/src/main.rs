//! The axle command: what people use.
fn main() {}
