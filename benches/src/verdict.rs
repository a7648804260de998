//! P10: what the packet path costs a packet, the shipped programs beside the same programs with their lookups in hash
//! maps and in a longest-prefix trie, all run by the kernel (`BPF_PROG_TEST_RUN`). Once net of a program that does nothing,
//! and once net of the same path without lookups: what the tables alone cost.
mod peer;
mod world;

use std::{thread, time::Duration};

use anyhow::{Context as _, anyhow};

use crate::{Bench, Better, Row};
use world::{ENDPOINTS, World};

/// The measure.
pub const BENCH: Bench =
    Bench { id: "P10", about: "a packet's verdict, beside hash maps and a longest-prefix trie", run };

/// How often each is measured, in turns.
const ROUNDS: usize = 5;
/// How often a program judges one packet in a row.
const REPEAT: u32 = 300_000;

/// Something that judges packets.
trait Judge {
    /// How long one run takes, on average over `repeat`; `accepts` is the verdict that has to come out.
    fn judge(&mut self, packet: &[u8], repeat: u32, accepts: bool) -> anyhow::Result<Duration>;
}

/// An empty program, the path without lookups, ours, with hash maps, with a trie.
type Sides = [Box<dyn Judge>; 5];

/// Without root's rights, or if the kernel refuses the programs, it fails.
fn run() -> anyhow::Result<Vec<Row>> {
    // A thread of its own: its namespaces go with it.
    thread::spawn(measure).join().map_err(|_| anyhow!("the measuring thread panicked"))?
}

fn measure() -> anyhow::Result<Vec<Row>> {
    let world = World::enter().context("namespaces and a BPF file system of its own")?;
    let mut sides: Sides = [
        Box::new(peer::empty()?),
        Box::new(peer::none()?),
        Box::new(world::Ours::new(&world)?),
        Box::new(peer::hash()?),
        Box::new(peer::lpm()?),
    ];
    let mut rows = Vec::new();
    let established = world::packet(7, world::ACCEPTED, false);
    let denied = world::packet(7, world::DENIED, true);
    for side in &mut sides {
        for endpoint in 0..ENDPOINTS {
            side.judge(&world::packet(endpoint, world::ACCEPTED, true), 1, true)?;
        }
    }
    rows.extend(compare("a packet of one flow", &mut sides, |side| hot(side, &established, true))?);
    rows.extend(compare("a denied packet", &mut sides, |side| hot(side, &denied, false))?);
    rows.extend(compare("a packet of each of 131,072 flows in turn", &mut sides, scattered)?);
    Ok(rows)
}

/// The time of one run in ns, the same packet again and again.
fn hot(side: &mut dyn Judge, packet: &[u8], accepts: bool) -> anyhow::Result<f64> {
    side.judge(packet, REPEAT / 10, accepts)?;
    Ok(side.judge(packet, REPEAT, accepts)?.as_nanos() as f64)
}

/// The mean time of one run in ns, over packets of all endpoints in an order that no cache foresees.
fn scattered(side: &mut dyn Judge) -> anyhow::Result<f64> {
    let mut total = 0;
    for step in 0..ENDPOINTS {
        // An odd multiplier visits each once.
        let endpoint = step.wrapping_mul(0x9e37_79b1) % ENDPOINTS;
        total += side.judge(&world::packet(endpoint, world::ACCEPTED, false), 1, true)?.as_nanos();
    }
    Ok(total as f64 / f64::from(ENDPOINTS))
}

/// Measures all sides in turns; two rows for each peer: the whole path, and its lookups alone.
fn compare(
    name: &str,
    sides: &mut Sides,
    mut time: impl FnMut(&mut dyn Judge) -> anyhow::Result<f64>,
) -> anyhow::Result<Vec<Row>> {
    let mut best = [f64::INFINITY; 5];
    for _ in 0..ROUNDS {
        for (side, best) in sides.iter_mut().zip(&mut best) {
            *best = best.min(time(side.as_mut())?);
        }
    }
    let [empty, none, ours, hash, lpm] = best;
    let mut rows = Vec::new();
    for (what, base) in [("", empty), (": its lookups alone", none)] {
        for (peer_name, peer) in [("hash maps", hash), ("LPM trie and hash map", lpm)] {
            // Below the clock's step nothing is measured.
            let net = |gross: f64| (gross - base).max(1.0);
            let row = Row::new("P10", format!("{name}{what}"), "ns", net(ours));
            rows.push(row.against(peer_name, net(peer), Better::Lower));
        }
    }
    Ok(rows)
}
