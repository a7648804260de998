//! The packet path: two programs at the host side of a workload's veth. `axle_egress` sits at its tcx ingress and judges
//! what the workload sends, `axle_ingress` at its tcx egress and judges what reaches it.
//!
//! A packet's way: [`packet`] reads its headers, [`transport`] its ports, [`judge`] asks [`flows`] in which direction its
//! flow began and [`tables`] whether that direction's policy accepts it now; [`report`] counts it and tells the agent.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod clock;
mod flows;
mod fragments;
mod judge;
mod maps;
mod packet;
mod report;
mod tables;
mod transport;
mod verifier;

use axle_ebpf_common::policy::{EGRESS, INGRESS};
use aya_ebpf::{macros::classifier, programs::TcContext};

/// Judges what the workload sends.
#[classifier]
pub fn axle_egress(context: TcContext) -> i32 {
    judge::packet(&context, EGRESS)
}

/// Judges what reaches the workload.
#[classifier]
pub fn axle_ingress(context: TcContext) -> i32 {
    judge::packet(&context, INGRESS)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
