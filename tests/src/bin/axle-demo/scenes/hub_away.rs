//! The hub dies: nothing changes for the workloads, and a cluster goes on by itself.
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use axle_tests::{
    eventually,
    fleet::{PATIENCE, Spec},
    probe::Flow,
};

use crate::{
    stage::{Stage, shown},
    world::World,
};

pub(crate) fn hub_away(stage: &mut Stage, world: &mut World) -> anyhow::Result<()> {
    stage.scene("The hub is killed, an agent restarts, a new workload starts; then the hub comes back")?;
    world.fleet.hub.kill()?;
    stage.proof("the hub is killed (SIGKILL)")?;
    while_away(stage, world)?;
    back(stage, world)
}

fn while_away(stage: &Stage, world: &mut World) -> anyhow::Result<()> {
    let [oslo, milan, ..] = &mut world.clusters[..] else { bail!("there are three clusters") };
    milan.scraper.is_cut_from(oslo.webs[0].v4())?;
    milan.shop.reaches(oslo.webs[0].v4())?;
    stage.proof("policy stays in force: milan's scraper is blocked, milan's shop passes")?;

    // The probes enter and leave the node whose agent restarts.
    let inward = milan.shop.probe(Flow::Tcp, oslo.webs[1].v4())?;
    let outward = oslo.scraper.probe(Flow::Udp, milan.scraper.v6())?;
    inward.await_traffic(100, PATIENCE)?;
    outward.await_traffic(100, PATIENCE)?;
    oslo.nodes[1].kill()?;
    let start = Instant::now();
    oslo.nodes[1].start()?;
    let took = start.elapsed();
    inward.await_traffic(200, PATIENCE)?;
    outward.await_traffic(200, PATIENCE)?;
    let (inward, outward) = (inward.finish()?, outward.finish()?);
    inward.check_whole(300).context("into the node whose agent restarted")?;
    outward.check_whole(300).context("out of the node whose agent restarted")?;
    stage.proof(&format!(
        "oslo's n2: agent killed and started again without the hub ({}); {} packets in and {} out, none lost",
        shown(took),
        inward.sent,
        outward.sent
    ))?;

    let fabric = &world.fleet.fabric;
    let start = Instant::now();
    let late = oslo.nodes[1].workload(fabric, &Spec::new("late-shop", "shop"))?;
    late.reaches(oslo.webs[0].v4())?;
    let took = start.elapsed();
    let rogue = oslo.nodes[1].workload(fabric, &Spec::new("late-scraper", "scraper"))?;
    rogue.is_cut_from(oslo.webs[0].v4())?;
    stage.proof(&format!(
        "a new shop on oslo's n2 is let in by the policy of n1's web server after {}; a new scraper is not",
        shown(took)
    ))?;
    for workload in [late, rogue] {
        oslo.nodes[1].forget(&workload.file())?;
        workload.remove()?;
    }
    Ok(())
}

fn back(stage: &Stage, world: &mut World) -> anyhow::Result<()> {
    world.fleet.hub.start()?;
    let clusters = world.clusters.len() as u64;
    eventually("every relay to resume", PATIENCE, || {
        let resumes = sum(world, "resumes")?;
        if resumes >= clusters { Ok(()) } else { bail!("{resumes} have resumed") }
    })?;
    world.fleet.settle(world.nodes())?;
    stage.command("axle status")?;
    stage.output(&world.axle(&["status"])?)?;
    // The hub counts from its start.
    let (resumes, resyncs) = (sum(world, "resumes")?, sum(world, "resyncs")?);
    ensure!(resyncs == 0, "{resyncs} relays were sent everything anew");
    stage.proof(&format!("the hub is back: {resumes} relays resumed by revision, {resyncs} full syncs"))?;
    Ok(())
}

/// A count of `axle status`, over all clusters.
fn sum(world: &World, field: &str) -> anyhow::Result<u64> {
    let status = world.fleet.status()?;
    let clusters = status["clusters"].as_array().context("no clusters in the status")?;
    // A count of nothing may be left out of the JSON.
    Ok(clusters.iter().map(|cluster| cluster[field].as_u64().unwrap_or(0)).sum())
}
