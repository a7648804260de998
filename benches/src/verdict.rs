//! P10: what the packet path costs a packet, the shipped program beside the same program with its lookups in hash maps and
//! in a longest-prefix trie, all run by the kernel (`BPF_PROG_TEST_RUN`). *The whole path* is net of a program that does
//! nothing; *its lookups alone* are net of the same path without lookups.
//!
//! The peers do what the field's data planes do for a packet: both addresses are looked up (in a hash map, or in a trie),
//! then the policy map is probed with the class and without it, and a third time if neither is there. Parsing, tracked
//! flows and counters are the shipped ones, so the whole path says how much of a packet's cost the tables are.
mod peer;
mod rules;
mod side;
mod world;

use std::{
    io::{self, Write as _},
    thread,
};

use anyhow::anyhow;
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};

use crate::{Bench, Better, Row};
use side::Side;
use world::{ENDPOINTS, World};

/// The measure.
pub const BENCH: Bench =
    Bench { id: "P10", about: "a packet's verdict, beside hash maps and a longest-prefix trie", run };

/// How often each side is measured, in turns.
const ROUNDS: usize = 11;
/// How many packets each time.
const PACKETS: u32 = ENDPOINTS;
/// Rules of the workload.
const RULES: u32 = 5_000;

/// A case of packets.
struct Case {
    name: &'static str,
    port: u16,
    /// From how many endpoints, in turn.
    endpoints: u32,
    accepts: bool,
}

const CASES: [Case; 3] = [
    Case { name: "a packet of one flow", port: world::ACCEPTED, endpoints: 1, accepts: true },
    Case { name: "a denied packet", port: world::DENIED, endpoints: 1, accepts: false },
    Case { name: "a packet of each of 131,072 flows", port: world::ACCEPTED, endpoints: ENDPOINTS, accepts: true },
];

/// Without root's rights, or if the kernel refuses the programs, it fails.
fn run() -> anyhow::Result<Vec<Row>> {
    // A thread of its own: its namespaces go with it.
    thread::spawn(measure).join().map_err(|_| anyhow!("the measuring thread panicked"))?
}

fn measure() -> anyhow::Result<Vec<Row>> {
    let mut cpu = CpuSet::new();
    cpu.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::from_raw(0), &cpu)?;
    let world = World::enter()?;
    // In this order below: nothing, the path without lookups, ours, with hash maps, with a trie.
    let mut sides = [
        Side::new(peer::empty()?)?,
        Side::new(peer::none()?)?,
        Side::new(world::Ours::new(&world, RULES)?)?,
        Side::new(peer::hash(RULES)?)?,
        Side::new(peer::lpm(RULES)?)?,
    ];
    open_flows(&mut sides)?;
    let mut rows = Vec::new();
    for case in &CASES {
        rows.extend(compare(case.name, &rounds(&mut sides, case, ROUNDS)?)?);
    }
    let [empty, _, ours, hash, _] = sides;
    rows.extend(rules::measure([empty, ours, hash])?);
    Ok(rows)
}

/// Begins a flow of each endpoint.
fn open_flows(sides: &mut [Side]) -> anyhow::Result<()> {
    let opening = world::packet(world::ACCEPTED, true);
    sides.iter_mut().try_for_each(|side| side.judge(&opening, ENDPOINTS, ENDPOINTS, true).map(drop))
}

/// The ns that one packet takes, `rounds` times for each side, the sides in turns.
fn rounds<const SIDES: usize>(
    sides: &mut [Side; SIDES],
    case: &Case,
    rounds: usize,
) -> anyhow::Result<[Vec<f64>; SIDES]> {
    let packet = world::packet(case.port, false);
    let mut times = std::array::from_fn(|_| Vec::new());
    for _ in 0..rounds {
        for (side, times) in sides.iter_mut().zip(&mut times) {
            let time = side.judge(&packet, case.endpoints, PACKETS, case.accepts)?;
            times.push(time.as_nanos() as f64);
        }
    }
    Ok(times)
}

/// Two rows for each peer: the whole path, and its lookups alone. How far apart the rounds were goes to standard error.
fn compare(name: &str, [empty, none, ours, hash, lpm]: &[Vec<f64>; 5]) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, base) in [("the whole path", empty), ("its lookups alone", none)] {
        let [ours, hash, lpm] = [ours, hash, lpm].map(|gross| Spread::new(gross, base));
        let log = |who, spread: &Spread| writeln!(io::stderr(), "P10: {name}, {what}, {who}: {spread}");
        log("ours", &ours)?;
        for (peer_name, peer) in [("hash maps", hash), ("LPM trie and hash map", lpm)] {
            log(peer_name, &peer)?;
            let row = Row::new("P10", format!("{name}, {what}"), "ns", ours.median);
            rows.push(row.against(peer_name, peer.median, Better::Lower));
        }
    }
    Ok(rows)
}

/// What a side takes net of another, over the rounds.
struct Spread {
    lower: f64,
    median: f64,
    upper: f64,
}

impl Spread {
    fn new(gross: &[f64], base: &[f64]) -> Self {
        // Below the clock's step nothing is measured.
        let mut net: Vec<f64> = gross.iter().zip(base).map(|(gross, base)| (gross - base).max(1.0)).collect();
        net.sort_by(f64::total_cmp);
        let at = |quarter: usize| net.get(net.len() * quarter / 4).copied().unwrap_or(f64::NAN);
        Self { lower: at(1), median: at(2), upper: at(3) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ns, half of the rounds between {} and {}", self.median, self.lower, self.upper)
    }
}
