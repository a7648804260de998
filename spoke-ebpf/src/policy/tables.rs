//! The lookups of `axle_core::policy::tables`: address to class, port to port class, slot and class to row, row to bit.
use axle_ebpf_common::policy::{Address, ROW_WORDS, SLOT_BLOCKS, Workload};
use aya_ebpf::maps::lpm_trie::Key;

use crate::{
    maps::{ADDRESSES6, BLOCKS, L1, L2, L3, PORTS, PREFIXES4, PREFIXES6, ROWS, SLOTS},
    verifier::opaque,
};

/// The answer of the tables, and what they were asked.
#[derive(Clone, Copy)]
pub struct Answer {
    pub accepted: bool,
    pub slot: u32,
    pub port_class: u16,
}

/// The class of an address; 0 if nothing leads to one.
#[inline(always)]
pub fn class(family: u8, address: &Address) -> u32 {
    if family == 4 { class4(address.ipv4()) } else { class6(address) }
}

/// The class of an IPv4 address, of which a packet has these bytes; or `DENIED`, which no slot has a row for.
#[inline(always)]
pub fn class4(address: u32) -> u32 {
    let host = u32::from_be(address);
    if let Some(class) = entry4(host)
        && class != 0
    {
        return class;
    }
    PREFIXES4.get(&Key::new(32, address)).copied().unwrap_or(0)
}

#[inline(always)]
fn entry4(host: u32) -> Option<u32> {
    let second = L1.get(0)?[(host >> 16) as u16 as usize];
    if second == 0 {
        return None;
    }
    let third = L2.get(second)?[(host >> 8) as u8 as usize];
    if third == 0 {
        return None;
    }
    Some(L3.get(third)?[host as u8 as usize])
}

/// The class of an IPv6 address.
#[inline(always)]
pub fn class6(address: &Address) -> u32 {
    // SAFETY: a class is one word; at worst it is the class of an address that was just removed.
    if let Some(class) = unsafe { ADDRESSES6.get(address) } {
        return *class;
    }
    PREFIXES6.get(&Key::new(128, *address)).copied().unwrap_or(0)
}

/// What the policy of `workload` for flows that began in `origin` says now.
#[inline(always)]
pub fn ask(workload: &Workload, generation: u32, origin: u8, class: u32, table: u32, number: u16) -> Answer {
    let slot = workload.slots[(generation & 1) as usize][(origin & 1) as usize];
    let port_class = port_class(table, number);
    let accepted = match row(slot, class) {
        Some(row) => row[(port_class >> 6) as usize & (ROW_WORDS - 1)] >> (port_class & 63) & 1 == 1,
        None => false,
    };
    Answer { accepted, slot, port_class }
}

/// Whether that policy accepts every port of the class.
#[inline(always)]
pub fn accepts_all(workload: &Workload, generation: u32, origin: u8, class: u32) -> bool {
    let slot = workload.slots[(generation & 1) as usize][(origin & 1) as usize];
    match row(slot, class) {
        Some(row) => row.iter().fold(u64::MAX, |all, word| all & word) == u64::MAX,
        None => false,
    }
}

#[inline(always)]
fn port_class(table: u32, number: u16) -> u16 {
    match PORTS.get(table) {
        Some(ports) => ports[number as usize],
        None => 0,
    }
}

#[inline(always)]
fn row(slot: u32, class: u32) -> Option<&'static [u64; ROW_WORDS]> {
    if class == 0 {
        return None;
    }
    let index = opaque((class >> 8) as usize);
    if index >= SLOT_BLOCKS {
        return None;
    }
    let block = SLOTS.get(slot)?[index];
    let row = BLOCKS.get(block)?[class as u8 as usize];
    ROWS.get(row)
}
