//! Policy in one hash map, as widely done: an entry for (slot, class, port), else for (slot, class), else for (slot, port).
use axle_ebpf_common::policy::{Address, Workload};
use aya_ebpf::{
    macros::map,
    maps::{HashMap, LpmTrie, lpm_trie::Key},
};

use crate::maps::PREFIXES6;

/// What an entry is found by; 0 stands for any class, any table and number.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PolicyKey {
    pub slot: u32,
    pub class: u32,
    pub table: u32,
    pub number: u32,
}

#[map]
pub static POLICY: HashMap<PolicyKey, u32> = HashMap::with_max_entries(65_536, 0);

/// The answer of the tables, and what they were asked.
#[derive(Clone, Copy)]
pub struct Answer {
    pub accepted: bool,
    pub slot: u32,
    pub port_class: u16,
}

#[inline(always)]
pub fn class(family: u8, address: &Address) -> u32 {
    if family == 4 {
        return crate::class4(address.ipv4());
    }
    let prefixes: &LpmTrie<Address, u32> = &PREFIXES6;
    prefixes.get(&Key::new(128, *address)).copied().unwrap_or(0)
}

#[inline(always)]
pub fn ask(workload: &Workload, generation: u32, origin: u8, class: u32, table: u32, number: u16) -> Answer {
    let slot = workload.slots[(generation & 1) as usize][(origin & 1) as usize];
    let number = u32::from(number);
    let accepted = accepts(&PolicyKey { slot, class, table, number })
        .or_else(|| accepts(&PolicyKey { slot, class, table: 0, number: 0 }))
        .or_else(|| accepts(&PolicyKey { slot, class: 0, table, number }));
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
