//! The same programs with other lookups, from `spoke-ebpf/src/bench`.
use anyhow::Context as _;
use axle_ebpf_common::policy::{Address, Control, Interface, OWN_ADDRESSES, Workload};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, LpmTrie, MapData, lpm_trie::Key},
    programs::{ProgramFd, SchedClassifier},
};

use super::{
    side::{Judge, find, take},
    world::{CLASS, ENDPOINTS, FIRST, FLOWS, LOCAL, OWN, SLOT, class, ports},
};

static HASH: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/axle-bench-hash"));
static NONE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/axle-bench-none"));
static LPM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/axle-bench-lpm"));

const EMPTY: &str = "axle_empty";
const JUDGE: &str = "axle_ingress";

/// Index of the loopback interface, at which the kernel runs programs, and its cell.
const LOOPBACK: u32 = 1;

pub(super) struct Peer {
    object: Ebpf,
    program: &'static str,
    tables: Option<Tables>,
}

/// What policy is looked up in.
struct Tables {
    addresses: Addresses,
    /// By slot, class, and port table (16 bits, TCP is 0) with number.
    policy: HashMap<MapData, [u32; 3], u32>,
    rules: u32,
}

enum Addresses {
    Hash(HashMap<MapData, u32, u32>),
    Trie(LpmTrie<MapData, u32, u32>),
}

impl Addresses {
    fn insert(&mut self, address: u32, class: u32) -> anyhow::Result<()> {
        match self {
            Self::Hash(map) => map.insert(&address.to_be(), &class, 0)?,
            Self::Trie(map) => map.insert(&Key::new(32, address.to_be()), &class, 0)?,
        }
        Ok(())
    }
}

/// A program that does nothing.
pub(super) fn empty() -> anyhow::Result<Peer> {
    Ok(Peer { object: load(NONE, EMPTY)?, program: EMPTY, tables: None })
}

/// The path without its lookups.
pub(super) fn none() -> anyhow::Result<Peer> {
    let mut object = load(NONE, JUDGE)?;
    fill(&mut object)?;
    Ok(Peer { object, program: JUDGE, tables: None })
}

/// Addresses and policy in hash maps.
pub(super) fn hash(rules: u32) -> anyhow::Result<Peer> {
    let mut object = load(HASH, JUDGE)?;
    let addresses = Addresses::Hash(take(&mut object, "ADDRESSES")?);
    with_tables(object, addresses, rules)
}

/// Addresses in a trie, policy in a hash map.
pub(super) fn lpm(rules: u32) -> anyhow::Result<Peer> {
    let mut object = load(LPM, JUDGE)?;
    let addresses = Addresses::Trie(take(&mut object, "ADDRESSES")?);
    with_tables(object, addresses, rules)
}

fn with_tables(mut object: Ebpf, mut addresses: Addresses, rules: u32) -> anyhow::Result<Peer> {
    fill(&mut object)?;
    addresses.insert(u32::from_be_bytes(OWN), 1)?;
    let policy = take(&mut object, "POLICY")?;
    let mut peer = Peer { object, program: JUDGE, tables: Some(Tables { addresses, policy, rules: 0 }) };
    peer.set_rules(rules)?;
    Ok(peer)
}

/// Loads an object and one of its programs, which holds the maps that are taken out afterwards.
fn load(bytes: &[u8], program: &str) -> anyhow::Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    // A name that an object does not have is passed over.
    loader.map_max_entries("ADDRESSES", ENDPOINTS + 1).map_max_entries("FLOWS4", FLOWS);
    let mut object = loader.load(bytes)?;
    find(&mut object, program)?.load()?;
    Ok(object)
}

/// What all but the lookups needs.
fn fill(object: &mut Ebpf) -> anyhow::Result<()> {
    let mut control: Array<_, Control> = take(object, "CONTROL")?;
    control.set(0, &Control { generation: 0, share: FLOWS, denied_events: 134, flow_events: 134 }, 0)?;
    let mut own = [Address::default(); OWN_ADDRESSES];
    own[0] = Address::mapped(u32::from_ne_bytes(OWN));
    let mut interfaces: Array<_, Interface> = take(object, "INTERFACES")?;
    interfaces.set(LOOPBACK, &Interface { index: LOOPBACK, local: LOCAL, seen: 1, padding: 0, own }, 0)?;
    let mut indices: Array<_, Indices> = take(object, "INDICES")?;
    let mut cells = Indices([0; 65_536]);
    cells.0[LOOPBACK as usize] = LOOPBACK;
    indices.set(0, &cells, 0)?;
    let mut workloads: Array<_, Workload> = take(object, "WORKLOADS")?;
    workloads.set(LOCAL, &Workload { slots: [[SLOT, 0]; 2], flows: 0 }, 0)?;
    Ok(())
}

/// The one value of `INDICES`.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Indices([u32; 65_536]);

// SAFETY: integers: every bit pattern is a value.
unsafe impl aya::Pod for Indices {}

impl Judge for Peer {
    fn set_rules(&mut self, rules: u32) -> anyhow::Result<()> {
        let Some(tables) = &mut self.tables else { return Ok(()) };
        let keys = |class: u32| ports(class).map(|port| [SLOT, class, u32::from(port) << 16]);
        let (before, after) = (CLASS + tables.rules, CLASS + rules);
        for key in (after..before).flat_map(keys) {
            tables.policy.remove(&key)?;
        }
        for key in (before..after).flat_map(keys) {
            tables.policy.insert(&key, &1, 0)?;
        }
        for endpoint in 0..ENDPOINTS {
            tables.addresses.insert(FIRST + endpoint, class(endpoint, rules))?;
        }
        tables.rules = rules;
        Ok(())
    }

    fn program(&self) -> anyhow::Result<&ProgramFd> {
        let program = self.object.program(self.program).context("it was loaded")?;
        let program: &SchedClassifier = program.try_into()?;
        Ok(program.fd()?)
    }

    fn judges(&self) -> bool {
        self.program != EMPTY
    }
}
