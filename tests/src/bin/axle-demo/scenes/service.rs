//! A global service: one address everywhere, answered from nearby.
use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context as _, bail, ensure};
use axle_tests::{
    eventually,
    fleet::{PATIENCE, Spec, Workload},
};

use crate::{stage::Stage, world::World};

/// How many requests make a picture.
const REQUESTS: usize = 20;

pub(crate) fn nearest_backend(stage: &mut Stage, world: &mut World) -> anyhow::Result<()> {
    stage.scene("A global service, answered from the own cluster, then from another")?;
    eventually("all backends of the service", PATIENCE, || {
        let ready = world.service()?["readyBackends"].clone();
        if ready == 6 { Ok(()) } else { bail!("{ready} of 6 are ready") }
    })?;
    world.fleet.settle(world.nodes())?;
    stage.command("axle service list")?;
    stage.output(&world.axle(&["service", "list"])?)?;
    let vips: Vec<IpAddr> = serde_json::from_value(world.service()?["vips"].clone())?;
    ensure!(vips.len() == 2, "the service has the addresses {vips:?}, wanted one per family");

    let oslo = &world.clusters[0];
    for vip in &vips {
        let answers = ask(&oslo.shop, *vip)?;
        ensure!(answers.keys().all(|answer| answer.starts_with("oslo-")), "not all answers are from oslo: {answers:?}");
        stage.proof(&format!("{REQUESTS} requests from oslo/shop to {vip}: {}", shown(&answers)))?;
    }

    stage.note("now both of oslo's backends go")?;
    let oslo = &mut world.clusters[0];
    for (web, node) in oslo.webs.drain(..).zip(&oslo.nodes) {
        node.forget(&web.file())?;
        web.remove()?;
    }
    let oslo = &world.clusters[0];
    for vip in &vips {
        let first = oslo.shop.reaches(*vip)?;
        ensure!(!first.starts_with("oslo-"), "{first} answered, and it is gone");
        let answers = ask(&oslo.shop, *vip)?;
        stage.proof(&format!("{REQUESTS} requests to the same {vip}: {}", shown(&answers)))?;
    }

    stage.note("and they come back")?;
    for (index, name) in ["web-1", "web-2"].into_iter().enumerate() {
        let web = world.clusters[0].nodes[index].workload(&world.fleet.fabric, &Spec::new(name, "web"))?;
        world.clusters[0].webs.push(web);
    }
    let oslo = &world.clusters[0];
    eventually("oslo to answer itself again", PATIENCE, || {
        let answer = oslo.shop.get(vips[0])?;
        if answer.starts_with("oslo-") { Ok(()) } else { bail!("{answer} answered") }
    })?;
    stage.proof("oslo's requests are answered in oslo again")?;
    Ok(())
}

/// Who answered how often.
fn ask(client: &Workload, to: IpAddr) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut answers = BTreeMap::new();
    for number in 1..=REQUESTS {
        let answer = client.get(to).with_context(|| format!("request {number} of {REQUESTS} to {to}"))?;
        *answers.entry(answer).or_default() += 1;
    }
    Ok(answers)
}

fn shown(answers: &BTreeMap<String, usize>) -> String {
    answers.iter().map(|(who, count)| format!("{count} by {who}")).collect::<Vec<_>>().join(", ")
}
