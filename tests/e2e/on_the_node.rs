//! What one can do and see on a node itself, without any hub; and an inventory that cannot be read.
use anyhow::{Context as _, ensure};
use axle_tests::{
    eventually,
    fleet::{Node, PATIENCE, Settings, scenario},
};

use crate::{
    documents::{deny_from, peers},
    pair::Pair,
};

#[test]
fn bypass_and_cleanup() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let mut pair = Pair::raise(fleet)?;
        fleet.hub.apply(&deny_from("cut", "server", peers("app", "client")))?;
        pair.client.is_cut_from(pair.server.v4())?;
        fleet.hub.kill()?;

        pair.second.run(&["bypass", "--for", "10m"])?;
        pair.client.reaches(pair.server.v4())?;
        pair.second.run(&["bypass", "--off"])?;
        pair.client.is_cut_from(pair.server.v4())?;
        // It ends by itself, too.
        pair.second.run(&["bypass", "--for", "1s"])?;
        pair.client.is_cut_from(pair.server.v4())?;

        let outcome = pair.second.try_run(&["cleanup"])?;
        ensure!(
            outcome.code == Some(3),
            "cleanup beside a living agent ended with {:?}: {}",
            outcome.code,
            outcome.err
        );
        pair.client.is_cut_from(pair.server.v4())?;
        // Stopping leaves the policy in force, cleaning up removes it with every pin.
        pair.second.stop()?;
        pair.client.is_cut_from(pair.server.v4())?;
        pair.second.run(&["cleanup"])?;
        pair.client.reaches(pair.server.v4())?;
        ensure!(!holds_pins(&pair.second)?, "pins are left in {}", pair.second.pins().display());
        // And back.
        pair.second.start()?;
        pair.client.is_cut_from(pair.server.v4())
    })
}

fn holds_pins(node: &Node) -> anyhow::Result<bool> {
    for folder in ["maps", "links"] {
        let folder = node.pins().join(folder);
        if folder.exists() && std::fs::read_dir(folder)?.next().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[test]
fn an_unreadable_inventory_is_reported_and_changes_nothing() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        fleet.hub.apply(&deny_from("cut", "server", peers("app", "client")))?;
        pair.client.is_cut_from(pair.server.v4())?;
        let problem = |wanted: &str| {
            eventually(&format!("a problem that names {wanted}"), PATIENCE, || {
                let status = pair.second.status()?;
                let problems = status["problems"].as_array().context("no problems")?;
                let named = problems.iter().any(|problem| problem.as_str().is_some_and(|text| text.contains(wanted)));
                ensure!(named, "the problems are {problems:?}");
                Ok(())
            })
        };
        // A faulty file keeps what the file said before.
        pair.second.inventory(&pair.server.file(), "kind: Workload\nspec: [")?;
        problem(&format!("{}.yaml", pair.server.file()))?;
        pair.client.is_cut_from(pair.server.v4())?;
        pair.second.tell(&pair.server)?;
        // A missing folder is not an empty one.
        let folder = pair.second.state().with_file_name("inventory");
        let aside = folder.with_extension("aside");
        std::fs::rename(&folder, &aside)?;
        problem("inventory")?;
        pair.client.is_cut_from(pair.server.v4())?;
        ensure!(
            pair.second.status()?["node"]["workloads"].as_array().is_some_and(|all| all.len() == 1),
            "it was forgotten"
        );
        std::fs::rename(&aside, &folder)?;
        eventually("no problem any more", PATIENCE, || {
            let status = pair.second.status()?;
            ensure!(status["problems"].as_array().is_none_or(Vec::is_empty), "still {}", status["problems"]);
            Ok(())
        })?;
        // Readable and empty is empty.
        pair.second.forget(&pair.server.file())?;
        fleet.settle_with(2, 1)
    })
}
