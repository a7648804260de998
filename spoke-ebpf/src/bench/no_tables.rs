//! Tables that are not looked at: one port is accepted.
use axle_ebpf_common::policy::{Address, Workload};

/// The answer of the tables, and what they were asked.
#[derive(Clone, Copy)]
pub struct Answer {
    pub accepted: bool,
    pub slot: u32,
    pub port_class: u16,
}

#[inline(always)]
pub fn class(family: u8, _: &Address) -> u32 {
    u32::from(family)
}

#[inline(always)]
pub fn class4(_: u32) -> u32 {
    4
}

#[inline(always)]
pub fn class6(_: &Address) -> u32 {
    6
}

#[inline(always)]
pub fn ask(workload: &Workload, generation: u32, origin: u8, class: u32, _: u32, number: u16) -> Answer {
    let slot = workload.slots[(generation & 1) as usize][(origin & 1) as usize];
    Answer { accepted: class != 0 && number == 80, slot, port_class: 0 }
}

#[inline(always)]
pub fn accepts_all(_: &Workload, _: u32, _: u8, _: u32) -> bool {
    false
}
