//! The map keys and values that Axle's kernel programs and its agent share.
//!
//! Fixed-width integers and explicit padding only: both sides see the same bytes. Addresses are 16 bytes in network order
//! as four words, IPv4 as `::ffff:a.b.c.d` (see [`policy::mapped`]).
#![no_std]

pub mod policy;
