//! P9: the memory that a node's agent needs for workloads of other clusters.
//!
//! A whole fleet: a hub, and the shipped agent as the relay and as a node of one cluster, in a network namespace of its own.
//! Another cluster's endpoints come to the hub as that one's relay would send them. A hundred policies of the fleet select by
//! labels, some of them the node's own ten workloads. What counts is what the node's process has of its own in memory
//! (`RssAnon` of /proc/PID/status, after a pause), and what that grows by.
mod fleet;

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, anyhow};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{Bench, Row};
use fleet::Fleet;

/// See the module.
pub const BENCH: Bench = Bench { id: "P9", about: "memory of a node's agent by endpoints of other clusters", run };

const SIZES: [u32; 2] = [10_000, 100_000];
/// For what is given back late.
const PAUSE: Duration = Duration::from_secs(3);

fn run() -> anyhow::Result<Vec<Row>> {
    // The namespaces of a thread, and of those that it starts.
    thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).context("namespaces of its own; root is needed")?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let rows = runtime.block_on(measure());
        runtime.shutdown_background();
        rows
    })
    .join()
    .map_err(|_| anyhow!("it panicked"))?
}

async fn measure() -> anyhow::Result<Vec<Row>> {
    let mut fleet = Fleet::start().await?;
    let none = own_memory(fleet.node()).await?;
    let mut rows = vec![Row::new("P9", "a node's agent, no endpoints of other clusters", "MiB", mebibytes(none))];
    for size in SIZES {
        fleet.grow(size).await?;
        let now = own_memory(fleet.node()).await?;
        rows.push(Row::new(
            "P9",
            format!("a node's agent, {size} endpoints of another cluster"),
            "MiB",
            mebibytes(now),
        ));
        let each = now.saturating_sub(none) as f64 / f64::from(size);
        rows.push(Row::new("P9", format!("for each of {size} (Cilium's published: 5,000 to 10,500)"), "bytes", each));
    }
    Ok(rows)
}

async fn own_memory(pid: u32) -> anyhow::Result<u64> {
    tokio::time::sleep(PAUSE).await;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes << 10)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
