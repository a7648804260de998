//! Axle's kernel programs.
#![no_std]
#![no_main]
use aya_ebpf::{macros::classifier, programs::TcContext};
#[classifier]
pub fn axle_probe(_: TcContext) -> i32 { -1 }
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
