//! Who is let in: tokens and certificates that are not good are refused, and say why.
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use axle_tests::{
    eventually,
    fleet::{Fleet, Node, PATIENCE, Settings, scenario},
};

/// Exit code of `axle-agent` for what authentication refuses.
const AUTHENTICATION: Option<i32> = Some(4);

fn token(fleet: &Fleet, cluster: &str) -> anyhow::Result<String> {
    let token = fleet.hub.json(&["token", "create", "--cluster", cluster])?;
    Ok(token["token"].as_str().context("no token")?.to_owned())
}

/// Tries to join and returns the complaint.
fn refused(fleet: &Fleet, node: &Node, cluster: &str, token: &str) -> anyhow::Result<String> {
    let hub = fleet.hub.address();
    let outcome = node.try_run(&["join", "--hub", &hub, "--cluster", cluster, "--token", token])?;
    ensure!(outcome.code == AUTHENTICATION, "join ended with {:?}: {}{}", outcome.code, outcome.out, outcome.err);
    ensure!(!node.state().join("enrollment.json").exists(), "a refused agent left an enrolment behind");
    Ok(outcome.err)
}

#[test]
fn tokens_are_good_once_for_one_cluster_and_not_for_ever() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let (alpha, beta) = (fleet.cluster("alpha", &[])?, fleet.cluster("beta", &[])?);
        let stranger = fleet.place(&beta)?;
        let good = token(fleet, "alpha")?;
        let error = refused(fleet, &stranger, "beta", &good)?;
        ensure!(error.contains("alpha") || error.contains("another cluster"), "it does not say why: {error}");

        let mut node = fleet.place(&alpha)?;
        node.run(&["join", "--hub", &fleet.hub.address(), "--cluster", "alpha", "--token", &good])?;
        node.start()?;
        let error = refused(fleet, &stranger, "alpha", &good)?;
        ensure!(error.contains("used"), "it does not say why: {error}");

        let short = fleet.hub.json(&["token", "create", "--cluster", "beta", "--ttl", "1s"])?;
        let expires = UNIX_EPOCH + Duration::from_millis(short["expiresMs"].as_u64().context("no expiry")?);
        eventually("the token's end", PATIENCE, || Ok(SystemTime::now().duration_since(expires)?))?;
        let error = refused(fleet, &stranger, "beta", short["token"].as_str().context("no token")?)?;
        ensure!(error.contains("expired"), "it does not say why: {error}");

        let made_up = format!("axle1.{}.{}", "A".repeat(43), good.split('.').nth(2).context("three parts")?);
        refused(fleet, &stranger, "beta", &made_up)?;
        let outcome = stranger.try_run(&["join", "--hub", "h:1", "--cluster", "beta", "--token", "nonsense"])?;
        ensure!(outcome.code == Some(2), "a malformed token is bad input: {outcome:?}");
        // Whoever tries learns one text; the hub's operator reads which of the reasons it was.
        let log = std::fs::read_to_string(fleet.hub.log())?;
        for reason in ["it is for another cluster", "it is unknown, or used", "it expired"] {
            ensure!(log.contains(reason), "the hub's log does not say {reason:?}");
        }
        Ok(())
    })
}

#[test]
fn a_hub_with_another_authority_is_not_trusted_and_trusts_nobody() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let alpha = fleet.cluster("alpha", &[])?;
        let mut node = fleet.relay(&alpha)?;
        fleet.settle(1)?;
        let old_token = token(fleet, "alpha")?;
        // Somebody else takes the hub's place, with the same name, cluster and address, but not its key.
        fleet.hub.stop()?;
        std::fs::rename(fleet.hub.data(), fleet.hub.data().with_extension("old"))?;
        std::fs::remove_file(fleet.hub.config())?;
        fleet.hub.start()?;
        fleet.hub.axle(&["cluster", "add", "alpha", "--prefix", "10.1.0.0/16"])?;
        let stranger = fleet.place(&alpha)?;
        refused(fleet, &stranger, "alpha", &old_token)?;
        node.kill()?;
        node.start()?;
        let problem = eventually("the agent to name the problem", PATIENCE, || {
            let status = node.status()?;
            ensure!(status["relay"]["connected"] == false, "it is connected: {status}");
            let problems = status["problems"].as_array().context("no problems")?;
            problems.first().and_then(|problem| problem.as_str().map(str::to_owned)).context("no problem so far")
        })?;
        ensure!(problem.contains("certificate") || problem.contains("trust"), "it does not say why: {problem}");
        let status = fleet.status()?;
        ensure!(status["clusters"][0]["connected"] != true, "the foreign hub took it: {status}");
        Ok(())
    })
}
