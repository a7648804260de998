//! Two installations that take themselves for one cluster.
use std::time::{Duration, Instant};

use axle_tests::process::tail;

use super::{
    super::stage::{Stage, on_stage},
    Cluster, PATIENCE,
    agents::{joined, relay_status},
};

/// The second needs a token of its own, and who makes one puts the second in the place of the first; then both are flagged.
#[test]
fn a_second_installation_of_one_name_is_refused_or_flagged() {
    on_stage(async |stage: &mut Stage| {
        let (_cluster, _relay, _, node) = joined(stage).await;
        let stage = &*stage;
        stage.until("the first enforces", || stage.holds_head(&node)).await;
        let mut other = Cluster::start();
        other.relays = "127.0.0.1:7445";
        let token = stage.token().await;
        let _second = other.relay(stage, "relay-x", Some(&token));
        let (began, mut leads) = (Instant::now(), false);
        while !leads && began.elapsed() < PATIENCE {
            let status = relay_status(stage, "relay-x").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            leads = status.and_then(|status| status.relay).is_some_and(|relay| relay.connected);
        }
        assert!(leads, "it has a token of its own");
        stage.until("people are told", || stage.problem().contains("give it a cluster of its own")).await;
        let status = relay_status(stage, "relay-a").await.unwrap();
        let told = status.problems.join("\n");
        assert!(told.contains("no session with the hub") && !status.relay.unwrap().connected, "{told}");

        // A token is good once.
        let mut third = Cluster::start();
        third.relays = "127.0.0.1:7446";
        let mut refused = third.relay(stage, "relay-y", Some(&token));
        let began = Instant::now();
        while refused.check_alive().is_ok() {
            assert!(began.elapsed() < PATIENCE, "it is not refused: {}", tail(refused.log(), 10));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let said = tail(refused.log(), 10);
        for wanted in ["this cluster cannot join", "unknown, used, expired", "axle token create"] {
            assert!(said.contains(wanted), "{wanted} in {said}");
        }
    });
}
