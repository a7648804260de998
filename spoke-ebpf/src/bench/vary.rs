//! Gives a program a packet of another endpoint each time that it runs.
#![no_std]
#![no_main]

use aya_ebpf::{
    macros::{classifier, map},
    maps::{Array, ProgramArray},
    programs::TcContext,
};

/// How far the draw has come.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Draw {
    /// Packets so far.
    pub step: u32,
    /// Endpoints less one: a power of two less one.
    pub mask: u32,
}

#[map]
pub static DRAW: Array<Draw> = Array::with_max_entries(1, 0);
/// The program that judges.
#[map]
pub static NEXT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Where the source address starts, behind the Ethernet header.
const SOURCE: usize = 14 + 12;
/// The first endpoint's address, 10.0.0.0.
const FIRST: u32 = 0x0a00_0000;
/// Drop.
const TCX_DROP: i32 = 2;

/// Writes the next endpoint's address over the packet's source and has it judged.
#[classifier]
pub fn axle_vary(context: TcContext) -> i32 {
    let Some(draw) = DRAW.get_ptr_mut(0) else { return TCX_DROP };
    // SAFETY: only one thread runs it.
    let Draw { step, mask } = unsafe { *draw };
    // SAFETY: as above.
    unsafe { (*draw).step = step.wrapping_add(1) };
    // Each operation is reversible, so `mask + 1` packets have every endpoint once, in an order that no cache foresees.
    let mut drawn = step.wrapping_mul(0x9e37_79b1) & mask;
    drawn ^= drawn >> 7;
    drawn = drawn.wrapping_mul(0x85eb_ca6b) & mask;
    let start = context.data() + SOURCE;
    if start + 4 > context.data_end() {
        return TCX_DROP;
    }
    // SAFETY: in bounds, as just checked.
    unsafe { *(start as *mut u32) = (FIRST + drawn).to_be() };
    // SAFETY: the context is this program's own.
    let _ = unsafe { NEXT.tail_call(&context, 0) };
    TCX_DROP
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
