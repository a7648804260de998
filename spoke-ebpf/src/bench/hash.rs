//! The packet path with its lookups in hash maps: all the rest is the shipped programs' own.
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
mod tables;
#[path = "../policy/transport.rs"]
mod transport;
#[path = "../policy/verifier.rs"]
mod verifier;

use axle_ebpf_common::policy::INGRESS;
use aya_ebpf::{
    macros::{classifier, map},
    maps::HashMap,
    programs::TcContext,
};

const TCX_DROP: i32 = 2;

#[map]
pub static ADDRESSES: HashMap<u32, u32> = HashMap::with_max_entries(2, 0);

/// The class of an IPv4 address, in network order.
#[inline(always)]
pub fn class4(address: u32) -> u32 {
    // SAFETY: a class is one word.
    unsafe { ADDRESSES.get(&address) }.copied().unwrap_or(0)
}

/// Judges what reaches the workload.
#[classifier]
pub fn axle_ingress(context: TcContext) -> i32 {
    if !tables::knows_destination(&context) {
        return TCX_DROP;
    }
    judge::packet(&context, INGRESS)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
