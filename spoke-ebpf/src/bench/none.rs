//! The packet path without lookups: all the rest is the shipped programs' own.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

#[path = "../policy/clock.rs"]
mod clock;
#[path = "../policy/flows.rs"]
mod flows;
#[path = "../policy/fragments.rs"]
mod fragments;
#[path = "../policy/judge.rs"]
mod judge;
#[path = "../policy/maps.rs"]
mod maps;
#[path = "../policy/packet.rs"]
mod packet;
#[path = "../policy/report.rs"]
mod report;
#[path = "no_tables.rs"]
mod tables;
#[path = "../policy/transport.rs"]
mod transport;
#[path = "../policy/verifier.rs"]
mod verifier;

use axle_ebpf_common::policy::INGRESS;
use aya_ebpf::{macros::classifier, programs::TcContext};

/// Judges what reaches the workload.
#[classifier]
pub fn axle_ingress(context: TcContext) -> i32 {
    judge::packet(&context, INGRESS)
}

/// What it costs to run a program at all.
#[classifier]
pub fn axle_empty(_: TcContext) -> i32 {
    -1
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
