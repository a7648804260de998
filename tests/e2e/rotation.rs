//! The root of all certificates is exchanged under live sessions and traffic, with the hub killed between the steps and a
//! relay and a node away all the time.
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axle_tests::{
    eventually,
    fleet::{Fleet, PATIENCE, Settings, scenario},
    probe::Flow,
};

use crate::{
    documents::{deny_from, peers},
    pair::Pair,
};

const LIFETIME: &str = "10s";
const GRACE: &str = "40s";
/// A step takes a lifetime, the last one a lifetime and the grace; a busy machine gets more.
const STEP: Duration = Duration::from_secs(150);

fn stage(fleet: &Fleet) -> anyhow::Result<String> {
    let view = fleet.hub.json(&["ca", "status"])?;
    Ok(view["stage"].as_str().context("no stage")?.to_owned())
}

fn reaches(fleet: &Fleet, wanted: &str) -> anyhow::Result<()> {
    eventually(&format!("the rotation to be {wanted}"), STEP, || {
        let stage = stage(fleet)?;
        ensure!(stage == wanted, "it is {stage}");
        Ok(())
    })
}

#[test]
fn a_rotation_loses_nobody() -> anyhow::Result<()> {
    let settings = ["--certificate-lifetime", LIFETIME, "--renewal-grace", GRACE].map(str::to_owned);
    scenario(Settings { hub: settings.to_vec(), agent: settings.to_vec() }, |fleet| {
        let mut pair = Pair::raise(fleet)?;
        let beta = fleet.cluster("beta", &[])?;
        let mut absent = fleet.relay(&beta)?;
        fleet.settle(3)?;
        let flow = pair.client.probe(Flow::Tcp, pair.server.v4())?;
        let former = fleet.hub.json(&["ca", "status"])?["roots"][0]["fingerprint"].clone();

        absent.kill()?;
        pair.second.kill()?;
        fleet.hub.axle(&["ca", "rotate"])?;
        fleet.hub.kill()?;
        fleet.hub.start()?;
        reaches(fleet, "overlap")?;
        fleet.hub.kill()?;
        fleet.hub.start()?;
        // Whoever was away comes back while the old root is trusted, and the cluster's node by way of its relay.
        pair.second.start()?;
        absent.start()?;
        fleet.settle(3)?;
        reaches(fleet, "steady")?;
        let view = fleet.hub.json(&["ca", "status"])?;
        ensure!(view["roots"][0]["fingerprint"] != former, "the root is the one of before: {view}");

        // Nothing hangs from the old root any more, and everything still speaks to everything.
        for node in [&mut pair.first, &mut absent] {
            node.kill()?;
            node.start()?;
        }
        fleet.settle(3)?;
        fleet.hub.apply(&deny_from("cut", "client", peers("app", "server")))?;
        pair.server.is_cut_from(pair.client.v4())?;
        flow.await_traffic(100, PATIENCE)?;
        flow.finish()?.check_whole(1000)?;
        let audit = fleet.hub.json(&["audit", "list", "--limit", "200"])?;
        let steps: Vec<_> = audit
            .as_array()
            .context("no audit trail")?
            .iter()
            .filter_map(|entry| entry["action"].as_str().filter(|action| action.starts_with("ca ")))
            .map(|action| action.split([' ', ':']).nth(1).unwrap_or_default())
            .collect();
        ensure!(steps == ["retire", "activate", "prepare"], "the audit trail says {steps:?}");
        Ok(())
    })
}
