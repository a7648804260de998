//! P10: what the packet path costs a packet, the shipped programs beside the same programs with their lookups in hash
//! maps and in a longest-prefix trie, all run by the kernel (`BPF_PROG_TEST_RUN`), net of a program that does nothing.
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

/// Without root's rights, or if the kernel refuses the programs, it fails.
fn run() -> anyhow::Result<Vec<Row>> {
    // A thread of its own: its namespaces go with it.
    thread::spawn(measure).join().map_err(|_| anyhow!("the measuring thread panicked"))?
}

fn measure() -> anyhow::Result<Vec<Row>> {
    let world = World::enter().context("namespaces and a BPF file system of its own")?;
    let mut sides: [(&str, Box<dyn Judge>); 4] = [
        ("an empty program", Box::new(peer::empty()?)),
        ("ours", Box::new(world::Ours::new(&world)?)),
        ("hash maps", Box::new(peer::hash()?)),
        ("LPM trie and hash map", Box::new(peer::lpm()?)),
    ];
    let mut rows = Vec::new();
    let established = world::packet(7, world::ACCEPTED, false);
    let denied = world::packet(7, world::DENIED, true);
    for (_, side) in &mut sides {
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

/// Measures all sides in turns; a row for each peer.
fn compare(
    name: &str,
    sides: &mut [(&str, Box<dyn Judge>); 4],
    mut time: impl FnMut(&mut dyn Judge) -> anyhow::Result<f64>,
) -> anyhow::Result<Vec<Row>> {
    let mut best = [f64::INFINITY; 4];
    for _ in 0..ROUNDS {
        for ((_, side), best) in sides.iter_mut().zip(&mut best) {
            *best = best.min(time(side.as_mut())?);
        }
    }
    let [empty, ours, hash, lpm] = best;
    let row = |peer: f64, peer_name: &str| {
        Row::new("P10", name, "ns, net", ours - empty).against(peer_name, peer - empty, Better::Lower)
    };
    Ok(vec![row(hash, sides[2].0), row(lpm, sides[3].0)])
}
