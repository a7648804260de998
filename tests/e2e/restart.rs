//! Agents and hubs die under traffic: not a packet is lost, no connection breaks, no verdict changes.
use std::time::Duration;

use anyhow::ensure;
use axle_tests::{
    eventually,
    fleet::{Fleet, PATIENCE, Settings, Spec, scenario},
    probe::{Flow, Probe},
};

use crate::{
    documents::{deny_from, peers},
    pair::Pair,
};

/// Traffic through both nodes: datagrams in both directions and families, and an open connection each way.
fn traffic(pair: &Pair) -> anyhow::Result<Vec<Probe>> {
    let flows = [
        pair.client.probe(Flow::Udp, pair.server.v4())?,
        pair.server.probe(Flow::Udp, pair.client.v6())?,
        pair.client.probe(Flow::Tcp, pair.server.v6())?,
        pair.server.probe(Flow::Tcp, pair.client.v4())?,
    ];
    flows.iter().try_for_each(|flow| flow.await_traffic(100, PATIENCE))?;
    Ok(flows.into())
}

/// Ends the traffic; nothing may be missing.
fn check(flows: Vec<Probe>, least: u64) -> anyhow::Result<()> {
    flows.iter().try_for_each(|flow| flow.await_traffic(200, PATIENCE))?;
    flows.into_iter().try_for_each(|flow| flow.finish()?.check_whole(least))
}

#[test]
fn agents_are_killed_and_stopped_under_traffic() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let mut pair = Pair::raise(fleet)?;
        let enemy = pair.first.workload(&fleet.fabric, &Spec::new("enemy", "enemy"))?;
        fleet.hub.apply(&deny_from("no-enemies", "server", peers("app", "enemy")))?;
        enemy.is_cut_from(pair.server.v4())?;
        let flows = traffic(&pair)?;
        let hostile = enemy.probe(Flow::Udp, pair.server.v4())?;
        for kill in [true, false] {
            for node in [&mut pair.second, &mut pair.first] {
                if kill {
                    node.kill()?
                } else {
                    node.stop()?
                }
                flows.iter().try_for_each(|flow| flow.await_traffic(50, PATIENCE))?;
                node.start()?;
                flows.iter().try_for_each(|flow| flow.await_traffic(50, PATIENCE))?;
            }
        }
        fleet.settle(2)?;
        check(flows, 600)?;
        let hostile = hostile.finish()?;
        assert!(hostile.sent > 600 && hostile.received == 0, "the enemy got through: {hostile:?}");
        Ok(())
    })
}

/// The agent dies in the middle of whatever it does with a change, again and again. (That nothing is half applied after
/// each single write is tested beside the data plane.)
#[test]
fn an_agent_is_killed_while_it_changes_the_tables() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let mut pair = Pair::raise(fleet)?;
        let enemy = pair.first.workload(&fleet.fabric, &Spec::new("enemy", "enemy"))?;
        fleet.hub.apply(&deny_from("no-enemies", "server", peers("app", "enemy")))?;
        enemy.is_cut_from(pair.server.v4())?;
        let flows = traffic(&pair)?;
        let hostile = enemy.probe(Flow::Udp, pair.server.v4())?;
        for round in 0..12 {
            // A change that concerns the server's node is on its way there when its agent dies.
            let changing = if round % 2 == 0 { "guest" } else { "visitor" };
            let file = fleet.hub.file("policy.yaml", &deny_from("changing", "server", peers("app", changing)))?;
            let before = written(&pair)?;
            fleet.hub.axle(&["policy", "apply", "-f", &file])?;
            // Every other time at once, while the change is on its way; else with its first writes.
            if round % 4 < 2 {
                eventually("a write to the tables", PATIENCE, || {
                    let now = written(&pair)?;
                    anyhow::ensure!(now > before, "{now} writes so far");
                    Ok(())
                })?;
            }
            pair.second.kill()?;
            pair.second.start()?;
        }
        fleet.settle(2)?;
        check(flows, 600)?;
        let hostile = hostile.finish()?;
        assert!(hostile.sent > 600 && hostile.received == 0, "the enemy got through: {hostile:?}");
        Ok(())
    })
}

/// How many writes the server's node has carried out.
fn written(pair: &Pair) -> anyhow::Result<f64> {
    Ok(axle_tests::http::metric(&pair.second.metrics()?, "axle_agent_map_writes_total", &[]))
}

#[test]
fn the_hub_dies_under_traffic_and_relays_resume() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let mut pair = Pair::raise(fleet)?;
        fleet.hub.apply(&deny_from("no-enemies", "server", peers("app", "enemy")))?;
        let flows = traffic(&pair)?;
        fleet.hub.kill()?;
        let enemy = pair.first.workload(&fleet.fabric, &Spec::new("enemy", "enemy"))?;
        let friend = pair.first.workload(&fleet.fabric, &Spec::new("friend", "friend"))?;
        // The policy of one node knows a new workload of the other, and an agent restarts, all without the hub.
        friend.reaches(pair.server.v4())?;
        enemy.is_cut_from(pair.server.v4())?;
        pair.second.kill()?;
        pair.second.start()?;
        friend.reaches(pair.server.v6())?;
        enemy.is_cut_from(pair.server.v6())?;
        // Both agents at once: the node starts from its own disk, without even a relay at first.
        pair.first.kill()?;
        pair.second.kill()?;
        pair.second.start()?;
        enemy.is_cut_from(pair.server.v4())?;
        pair.first.start()?;
        friend.reaches(pair.server.v4())?;

        fleet.hub.start()?;
        resumed(fleet)?;
        fleet.settle_with(2, 4)?;
        check(flows, 600)
    })
}

/// Waits until the relay has a session again, got by revision and not by a full sync.
fn resumed(fleet: &Fleet) -> anyhow::Result<()> {
    eventually("the relay to resume", PATIENCE, || {
        let status = fleet.status()?;
        let cluster = &status["clusters"][0];
        anyhow::ensure!(cluster["connected"] == true, "not connected: {cluster}");
        anyhow::ensure!(cluster["resumes"].as_u64() >= Some(1), "not resumed: {cluster}");
        assert_eq!(cluster["resyncs"].as_u64().unwrap_or(0), 0, "it was sent everything anew");
        Ok(())
    })
}

/// What the system holds of a file, in pages. Source: `include/uapi/linux/mman.h`.
#[repr(C)]
#[derive(Default)]
struct CacheStat {
    cached: u64,
    dirty: u64,
    in_writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// The system call `cachestat`, which the libc crate does not have.
const CACHESTAT: libc::c_long = 451;

fn unsynced_pages(path: &std::path::Path) -> anyhow::Result<u64> {
    use std::os::fd::AsRawFd as _;
    let file = std::fs::File::open(path)?;
    let (whole, mut stat) = ([0_u64; 2], CacheStat::default());
    // SAFETY: both structures outlive the call.
    let done = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), &raw const whole, &raw mut stat, 0) };
    ensure!(done == 0, "cachestat: {}", std::io::Error::last_os_error());
    Ok(stat.dirty + stat.in_writeback)
}

/// The system itself would take half a minute.
#[test]
fn what_agents_take_is_on_disk_soon() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        fleet.hub.apply(&deny_from("cut", "server", peers("app", "client")))?;
        for log in [pair.first.state().join("relay/entries"), pair.second.state().join("node/entries")] {
            ensure!(std::fs::metadata(&log)?.len() > 0, "{} is empty", log.display());
            eventually(&format!("{} to be synced", log.display()), Duration::from_secs(10), || {
                let pages = unsynced_pages(&log)?;
                ensure!(pages == 0, "{pages} pages are not on disk");
                Ok(())
            })?;
        }
        Ok(())
    })
}
