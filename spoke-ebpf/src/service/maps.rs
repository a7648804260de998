//! The maps. `FRONTENDS`, `BACKENDS`, `MEMBERS` and `RANGES` are new with each load of the programs; the others are pinned.
use axle_ebpf_common::service::{Backend, Call, Client, Frontend, Led, List, Member, Range, Slot, Socket};
use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, PerCpuArray},
};

/// Stands for a size that the agent sets.
const SIZED_BY_AGENT: u32 = 2;
/// Pairs of clients and services that are remembered.
const CLIENTS: u32 = 65_536;

#[map]
pub static FRONTENDS: HashMap<Frontend, List> = HashMap::with_max_entries(SIZED_BY_AGENT, BPF_F_NO_PREALLOC);
#[map]
pub static BACKENDS: HashMap<Slot, Backend> = HashMap::with_max_entries(SIZED_BY_AGENT, BPF_F_NO_PREALLOC);
/// The backends of the lists that clients come back to; the values mean nothing.
#[map]
pub static MEMBERS: HashMap<Member, u8> = HashMap::with_max_entries(SIZED_BY_AGENT, BPF_F_NO_PREALLOC);
/// Where the clients of such lists were led; of too many the least recent are forgotten.
#[map]
pub static SERVICE_CLIENTS: LruHashMap<Client, Led> = LruHashMap::with_max_entries(CLIENTS, 0);
/// Cell 0: IPv4, cell 1: IPv6.
#[map]
pub static RANGES: Array<Range> = Array::with_max_entries(2, 0);
/// What each socket called; the kernel frees it with the socket.
#[btf_map]
pub static SERVICE_SOCKETS: SkStorage<Socket> = SkStorage::new();
#[map]
pub static SERVICE_COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Call::CELLS, 0);

/// Counts a call.
pub fn count(call: Call) {
    if let Some(cell) = SERVICE_COUNTERS.get_ptr_mut(call as u32) {
        // SAFETY: the cell is this CPU's own.
        unsafe { *cell += 1 };
    }
}
