//! The maps. The agent sets the sizes when it loads them and maps those that are `MMAPABLE` into its memory.
use axle_ebpf_common::policy::{
    Address, BLOCK_CELLS, Budget, Control, Counter, Flow, FlowKey, FlowKey4, FragmentKey, Head, Interface, Outcome,
    PORT_TABLES, ROW_WORDS, SLOT_BLOCKS, Seen, Workload,
};
use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
};

const MMAPABLE: u32 = BPF_F_MMAPABLE;
/// Stands for a size that the agent sets.
const SIZED_BY_AGENT: u32 = 2;

// One set of these for each time the agent loads its programs.

#[map]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, MMAPABLE);
/// IPv4 addresses: the upper 16 bits lead to a block of `L2`, 0 for none.
#[map]
pub static L1: Array<[u32; 65536]> = Array::with_max_entries(1, MMAPABLE);
/// The next 8 bits lead to a block of `L3`, 0 for none.
#[map]
pub static L2: Array<[u32; BLOCK_CELLS]> = Array::with_max_entries(SIZED_BY_AGENT, MMAPABLE);
/// The last 8 bits lead to the class, 0 for none; `DENIED` is class 0.
#[map]
pub static L3: Array<[u32; BLOCK_CELLS]> = Array::with_max_entries(SIZED_BY_AGENT, MMAPABLE);
#[map]
pub static ADDRESSES6: HashMap<Address, u32> = HashMap::with_max_entries(SIZED_BY_AGENT, 0);
#[map]
pub static PREFIXES4: LpmTrie<u32, u32> = LpmTrie::with_max_entries(SIZED_BY_AGENT, 0);
#[map]
pub static PREFIXES6: LpmTrie<Address, u32> = LpmTrie::with_max_entries(SIZED_BY_AGENT, 0);
#[map]
pub static PORTS: Array<[u16; 65536]> = Array::with_max_entries(PORT_TABLES, MMAPABLE);
#[map]
pub static SLOTS: Array<[u32; SLOT_BLOCKS]> = Array::with_max_entries(SIZED_BY_AGENT, MMAPABLE);
#[map]
pub static BLOCKS: Array<[u32; BLOCK_CELLS]> = Array::with_max_entries(SIZED_BY_AGENT, MMAPABLE);
#[map]
pub static ROWS: Array<[u64; ROW_WORDS]> = Array::with_max_entries(SIZED_BY_AGENT, MMAPABLE);
#[map]
pub static WORKLOADS: Array<Workload> = Array::with_max_entries(SIZED_BY_AGENT, MMAPABLE);
/// The low 16 bits of an interface's index lead to its cell of `INTERFACES`, 0 for none.
#[map]
pub static INDICES: Array<[u32; 65536]> = Array::with_max_entries(1, MMAPABLE);
/// The same by the whole index, for those whose low 16 bits are those of another one.
#[map]
pub static STRAYS: HashMap<u32, u32> = HashMap::with_max_entries(SIZED_BY_AGENT, 0);
/// A cell does not change while anything leads to it.
#[map]
pub static INTERFACES: Array<Interface> = Array::with_max_entries(SIZED_BY_AGENT, 0);
#[map]
pub static BUDGETS: PerCpuArray<Budget> = PerCpuArray::with_max_entries(2, 0);

/// Memory for `verifier::forget`.
#[map]
pub static SCRATCH: PerCpuArray<[u64; 2]> = PerCpuArray::with_max_entries(1, 0);

// These are pinned and outlive the agent. One whose layout has changed gets a new number in its name.

/// Preallocated: when one is full, new flows are refused and no living one is lost.
#[map]
pub static FLOWS4: HashMap<FlowKey4, Flow> = HashMap::with_max_entries(SIZED_BY_AGENT, 0);
#[map]
pub static FLOWS6: HashMap<FlowKey, Flow> = HashMap::with_max_entries(SIZED_BY_AGENT, 0);
/// Least recently used ones go: a datagram lives for a moment.
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, Head> = LruHashMap::with_max_entries(SIZED_BY_AGENT, 0);
#[map]
pub static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(Outcome::CELLS, 0);
#[map(name = "SEEN_2")]
pub static SEEN: PerCpuArray<Seen> = PerCpuArray::with_max_entries(SIZED_BY_AGENT, 0);
/// Interfaces whose connections are being adopted, and until when (monotonic, ns).
#[map]
pub static ADOPTIONS: HashMap<u32, u64> = HashMap::with_max_entries(SIZED_BY_AGENT, 0);
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4096, 0);
/// Until when (monotonic, ns) denied packets pass.
#[map]
pub static BYPASS: Array<u64> = Array::with_max_entries(1, MMAPABLE);
