//! The map keys and values that Axle's kernel programs and its agent share.
#![no_std]
