//! Policy in one hash map, as the field has it: the entry of (slot, class, port) and that of (slot, any class, port) are
//! both looked up, as either can outrank the other; if neither is there, that of (slot, class, any port).
use axle_ebpf_common::policy::{Address, Workload};
use aya_ebpf::{
    macros::map,
    maps::{HashMap, LpmTrie, lpm_trie::Key},
    programs::TcContext,
};

use crate::{maps::PREFIXES6, packet::read};

/// Where the destination address starts, behind the Ethernet header.
const DESTINATION: u32 = 14 + 16;

/// What an entry is found by; 0 stands for any class, any table and number.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PolicyKey {
    pub slot: u32,
    pub class: u32,
    pub table: u16,
    pub number: u16,
}

#[map]
pub static POLICY: HashMap<PolicyKey, u32> = HashMap::with_max_entries(65_536, 0);

/// Whether the destination's address is known: where no hook is a workload's own, that address tells the workload, so
/// it is looked up like the source's.
#[inline(always)]
pub fn knows_destination(context: &TcContext) -> bool {
    read(context, DESTINATION).is_some_and(|address| crate::class4(address) != 0)
}

/// The answer of the tables, and what they were asked.
#[derive(Clone, Copy)]
pub struct Answer {
    pub accepted: bool,
    pub slot: u32,
    pub port_class: u16,
}

pub use crate::class4;

#[inline(always)]
pub fn class(family: u8, address: &Address) -> u32 {
    if family == 4 { class4(address.ipv4()) } else { class6(address) }
}

#[inline(always)]
pub fn class6(address: &Address) -> u32 {
    let prefixes: &LpmTrie<Address, u32> = &PREFIXES6;
    prefixes.get(&Key::new(128, *address)).copied().unwrap_or(0)
}

#[inline(always)]
pub fn ask(workload: &Workload, generation: u32, origin: u8, class: u32, table: u32, number: u16) -> Answer {
    let slot = workload.slots[(generation & 1) as usize][(origin & 1) as usize];
    let table = table as u16;
    let exact = accepts(&PolicyKey { slot, class, table, number });
    let any = accepts(&PolicyKey { slot, class: 0, table, number });
    let accepted = exact.or(any).or_else(|| accepts(&PolicyKey { slot, class, table: 0, number: 0 }));
    Answer { accepted: accepted == Some(true), slot, port_class: 0 }
}

#[inline(always)]
pub fn accepts_all(workload: &Workload, generation: u32, origin: u8, class: u32) -> bool {
    let slot = workload.slots[(generation & 1) as usize][(origin & 1) as usize];
    accepts(&PolicyKey { slot, class, table: 0, number: 0 }) == Some(true)
}

#[inline(always)]
fn accepts(key: &PolicyKey) -> Option<bool> {
    // SAFETY: a verdict is one word.
    unsafe { POLICY.get(key) }.map(|verdict| *verdict == 1)
}
