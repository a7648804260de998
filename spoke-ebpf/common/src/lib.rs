//! The map keys and values that Axle's kernel programs and its agent share.
//!
//! Fixed-width integers and explicit padding only: both sides see the same bytes.
#![no_std]

pub mod policy;
pub mod service;
