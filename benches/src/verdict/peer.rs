//! The same programs with other lookups, from `spoke-ebpf/src/bench`.
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axle_ebpf_common::policy::{Address, Control, Interface, OWN_ADDRESSES, Seen, Workload};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, LpmTrie, Map, MapError, PerCpuHashMap, PerCpuValues, lpm_trie::Key},
    programs::{SchedClassifier, TestRun as _, TestRunOptions},
    util::nr_cpus,
};

use super::{
    Judge,
    world::{ACCEPTED, ENDPOINTS, FIRST, FLOWS, LOCAL, OWN, SLOT, class},
};

static HASH: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/axle-bench-hash"));
static NONE: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/axle-bench-none"));
static LPM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/axle-bench-lpm"));

const JUDGE: &str = "axle_ingress";

/// Index of the loopback interface, at which the kernel runs programs.
const LOOPBACK: u32 = 1;
/// What a program returns for a packet that is dropped.
const TCX_DROP: u32 = 2;

pub(super) struct Peer {
    object: Ebpf,
    program: &'static str,
    /// The empty program accepts everything.
    judges: bool,
}

/// A program that does nothing.
pub(super) fn empty() -> anyhow::Result<Peer> {
    Ok(Peer { object: load(NONE, "axle_empty")?, program: "axle_empty", judges: false })
}

/// The path without its lookups.
pub(super) fn none() -> anyhow::Result<Peer> {
    let mut object = load(NONE, JUDGE)?;
    fill(&mut object)?;
    Ok(Peer { object, program: JUDGE, judges: true })
}

/// Addresses and policy in hash maps.
pub(super) fn hash() -> anyhow::Result<Peer> {
    let mut object = load(HASH, JUDGE)?;
    fill(&mut object)?;
    fill_policy(&mut object)?;
    let mut addresses: HashMap<_, u32, u32> = take(&mut object, "ADDRESSES")?;
    for endpoint in 0..ENDPOINTS {
        addresses.insert(&(FIRST + endpoint).to_be(), &class(endpoint), 0)?;
    }
    Ok(Peer { object, program: JUDGE, judges: true })
}

/// Addresses in a trie, policy in a hash map.
pub(super) fn lpm() -> anyhow::Result<Peer> {
    let mut object = load(LPM, JUDGE)?;
    fill(&mut object)?;
    fill_policy(&mut object)?;
    let mut addresses: LpmTrie<_, u32, u32> = take(&mut object, "ADDRESSES")?;
    for endpoint in 0..ENDPOINTS {
        addresses.insert(&Key::new(32, (FIRST + endpoint).to_be()), &class(endpoint), 0)?;
    }
    Ok(Peer { object, program: JUDGE, judges: true })
}

/// Loads an object and one of its programs, which holds the maps that are taken out afterwards.
fn load(bytes: &[u8], program: &str) -> anyhow::Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    // A name that an object does not have is passed over.
    loader.map_max_entries("ADDRESSES", ENDPOINTS).map_max_entries("FLOWS", FLOWS);
    let mut object = loader.load(bytes)?;
    find(&mut object, program)?.load()?;
    Ok(object)
}

/// What all but the lookups needs.
fn fill(object: &mut Ebpf) -> anyhow::Result<()> {
    let mut control: Array<_, Control> = take(object, "CONTROL")?;
    control.set(0, &Control { generation: 0, share: FLOWS, denied_events: 134, flow_events: 134 }, 0)?;
    let mut interfaces: HashMap<_, u32, Interface> = take(object, "INTERFACES")?;
    let mut own = [Address::default(); OWN_ADDRESSES];
    own[0] = Address::mapped(u32::from_ne_bytes(OWN));
    interfaces.insert(&LOOPBACK, &Interface { local: LOCAL, padding: 0, own }, 0)?;
    let mut seen: PerCpuHashMap<_, u32, Seen> = take(object, "SEEN")?;
    let cpus = nr_cpus().map_err(|(_, error)| error)?.get() as usize;
    seen.insert(&LOOPBACK, PerCpuValues::try_from(vec![Seen::default(); cpus])?, 0)?;
    let mut workloads: Array<_, Workload> = take(object, "WORKLOADS")?;
    workloads.set(LOCAL, &Workload { slots: [[SLOT, 0]; 2], flows: 0 }, 0)?;
    Ok(())
}

/// A policy entry for each class: the first of the three lookups finds it.
fn fill_policy(object: &mut Ebpf) -> anyhow::Result<()> {
    let mut policy: HashMap<_, [u32; 4], u32> = take(object, "POLICY")?;
    for endpoint in 0..ENDPOINTS {
        // Slot, class, port table (TCP is 0), number.
        policy.insert(&[SLOT, class(endpoint), 0, u32::from(ACCEPTED)], &1, 0)?;
    }
    Ok(())
}

/// Takes a map; the programs keep it.
fn take<M: TryFrom<Map, Error = MapError>>(object: &mut Ebpf, name: &str) -> anyhow::Result<M> {
    let map = object.take_map(name).with_context(|| format!("the object has no map {name}"))?;
    Ok(M::try_from(map)?)
}

fn find<'o>(object: &'o mut Ebpf, program: &str) -> anyhow::Result<&'o mut SchedClassifier> {
    let program = object.program_mut(program).with_context(|| format!("the object has no program {program}"))?;
    Ok(program.try_into()?)
}

impl Judge for Peer {
    fn judge(&mut self, packet: &[u8], repeat: u32, accepts: bool) -> anyhow::Result<Duration> {
        let options = TestRunOptions { data_in: Some(packet), repeat, ..TestRunOptions::default() };
        let run = find(&mut self.object, self.program)?.test_run(options)?;
        let accepted = run.return_value != TCX_DROP;
        ensure!(accepted == (accepts || !self.judges), "{} says {accepted}, wanted {accepts}", self.program);
        Ok(run.duration)
    }
}
