//! The hub on PostgreSQL, its database gone and back; and a hub that comes back from a backup.
use std::{fs, process::Command};

use anyhow::ensure;
use axle_tests::{
    eventually,
    fleet::{Fleet, Outcome, PATIENCE, Settings, scenario},
    postgres::Postgres,
};

use crate::{
    documents::{deny_from, peers},
    pair::Pair,
};

/// Exit code of `axle` for a hub that cannot do its work now.
const UNAVAILABLE: Option<i32> = Some(5);

#[test]
fn postgres_dies_and_comes_back() -> anyhow::Result<()> {
    let mut postgres = Postgres::start()?;
    let hub = vec!["--database".to_owned(), postgres.database()?];
    scenario(Settings { hub, ..Settings::default() }, |fleet| {
        let pair = Pair::raise(fleet)?;
        fleet.hub.apply(&deny_from("cut", "server", peers("app", "client")))?;
        pair.client.is_cut_from(pair.server.v4())?;

        postgres.kill()?;
        let file = fleet.hub.file("later.yaml", &deny_from("later", "client", peers("app", "server")))?;
        let outcome = fleet.hub.try_axle(&["policy", "apply", "-f", &file])?;
        ensure!(outcome.code == UNAVAILABLE, "apply ended with {:?}: {}{}", outcome.code, outcome.out, outcome.err);
        pair.client.is_cut_from(pair.server.v4())?;
        pair.server.reaches(pair.client.v4())?;
        eventually("the log to name the database", PATIENCE, || {
            let log = fs::read_to_string(fleet.hub.log())?;
            ensure!(log.contains("the database is away") && log.contains("of the Postgres in"), "{log}");
            Ok(())
        })?;

        postgres.resume()?;
        eventually("the hub to write again", PATIENCE, || fleet.hub.axle(&["policy", "apply", "-f", &file, "--wait"]))?;
        pair.server.is_cut_from(pair.client.v4())?;

        // All of it is in the database: a new process knows it.
        fleet.hub.kill()?;
        fleet.hub.start()?;
        fleet.settle_with(2, 2)?;
        assert_eq!(names(fleet)?, ["cut", "later"]);
        Ok(())
    })
}

#[test]
fn a_restored_hub_is_what_it_was_and_the_fleet_follows() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        fleet.hub.apply(&deny_from("kept", "server", peers("app", "client")))?;
        let backup = fleet.fabric.folder().join("backup");
        maintain(fleet, &["backup".as_ref(), backup.as_os_str()])?;
        fleet.hub.apply(&deny_from("lost", "client", peers("app", "server")))?;
        pair.server.is_cut_from(pair.client.v4())?;

        fleet.hub.stop()?;
        fs::rename(fleet.hub.data(), fleet.hub.data().with_extension("old"))?;
        maintain(fleet, &["restore".as_ref(), backup.as_os_str()])?;
        fleet.hub.start()?;
        fleet.settle_with(2, 2)?;
        assert_eq!(names(fleet)?, ["kept"]);
        pair.server.reaches(pair.client.v4())?;
        pair.client.is_cut_from(pair.server.v4())
    })
}

/// Runs an offline command of `axle-hub`.
fn maintain(fleet: &Fleet, arguments: &[&std::ffi::OsStr]) -> anyhow::Result<()> {
    let mut command: Command = fleet.hub.command("axle-hub");
    command.args(arguments).arg("--data-dir").arg(fleet.hub.data());
    let outcome = Outcome::of(&mut command)?;
    ensure!(outcome.code == Some(0), "axle-hub {arguments:?} ended with {:?}: {}", outcome.code, outcome.err);
    Ok(())
}

fn names(fleet: &Fleet) -> anyhow::Result<Vec<String>> {
    let policies = fleet.hub.json(&["policy", "list"])?;
    let names = policies.as_array().into_iter().flatten().filter_map(|policy| policy["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}
