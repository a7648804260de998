//! P3: what it costs the hub to send every change to a thousand spokes.
//!
//! Both servers run the shipped acceptor (mutual TLS) on one thread each, in one process, with the same updates for the
//! same thousand connections of the same client, which compares every byte that comes. Ours is the shipped view and
//! session; the peer clones and encodes each update for each stream, as a tonic service is usually written. What counts is
//! the CPU time of the server's thread, so that neither the client nor other work on the machine is in the number.
mod peer;
mod server;
mod spokes;
mod updates;

use std::time::Duration;

use anyhow::Context;

use crate::{Bench, Better, Row};
use server::{Server, Service};
use spokes::Spokes;

/// See the module.
pub const BENCH: Bench = Bench { id: "P3", about: "distribution to 1,000 streams over mTLS", run };

const STREAMS: usize = 1_000;
/// Pairs of runs, of ours and of the peer in turn; the median of the ratios counts.
const ROUNDS: usize = 5;

/// Updates in one burst, and bursts in one round. Large ones: spokes that catch up, or a busy fleet. Small ones: how much
/// of the gain is left when little gathers.
const LOADS: [(usize, usize); 2] = [(1_000, 3), (10, 60)];

fn run() -> anyhow::Result<Vec<Row>> {
    enough_descriptors()?;
    let mesh = server::Mesh::new()?;
    let ours = Server::start(&mesh, Service::Ours)?;
    let peer = Server::start(&mesh, Service::Peer)?;
    let our_spokes = Spokes::connect(&mesh, &ours, STREAMS)?;
    let peer_spokes = Spokes::connect(&mesh, &peer, STREAMS)?;
    // Once, not measured: pages, buffers and windows are there.
    ours.deliver(&our_spokes, 100, 2)?;
    peer.deliver(&peer_spokes, 100, 2)?;
    let mut rows = Vec::new();
    for (burst, bursts) in LOADS {
        let deliveries = u32::try_from(burst * bursts * STREAMS).map_or(f64::INFINITY, f64::from);
        let rate = |cpu: Duration| deliveries / cpu.as_secs_f64();
        let mut pairs = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            pairs.push((
                rate(ours.deliver(&our_spokes, burst, bursts)?),
                rate(peer.deliver(&peer_spokes, burst, bursts)?),
            ));
        }
        pairs.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
        let (value, peer_value) = pairs[pairs.len() / 2];
        let name = format!("updates delivered per CPU second, {STREAMS} mTLS streams, bursts of {burst}");
        rows.push(Row::new("P3", name, "updates/s", value).against(
            "tonic + prost per stream",
            peer_value,
            Better::Higher,
        ));
    }
    Ok(rows)
}

/// Two servers and their clients in one process.
fn enough_descriptors() -> anyhow::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let wanted = 4 * STREAMS as u64 + 512;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)?;
        anyhow::ensure!(hard >= wanted, "{hard} files may be open, {wanted} are needed: raise `ulimit -Hn`");
    }
    Ok(())
}

/// CPU time of the calling thread so far.
fn thread_cpu() -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").context("/proc/thread-self/schedstat")?;
    let nanos = text.split_whitespace().next().context("an empty schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}
