//! Whole agents with a whole hub in one process, each test in a network namespace and with a BPF file system of its own.
//! They need root.
#[expect(clippy::unwrap_used, reason = "helpers that fail the test")]
mod kubernetes;
#[expect(clippy::unwrap_used, reason = "helpers that fail the test")]
mod names;
#[expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers that fail the test")]
mod stage;

use axle_agent::app::App;
use axle_core::{model::Kind, state::Command};

use stage::{Stage, on_stage};

/// One machine with both roles, from nothing to enforcement, and over a restart without a full copy.
#[test]
fn an_agent_enforces_and_resumes() {
    on_stage(async |stage: &mut Stage| {
        stage.hub_starts().await;
        stage.join_hub("n1").await;
        stage.write("n1", "w.yaml", &Stage::workload("w1", "10.1.0.1"));
        let one = stage.run("n1").await;
        stage.until("the first state is in force", || stage.holds_head(&one)).await;
        stage.until("the workload is at the hub", || stage.count(Kind::Endpoint) == 1).await;
        stage.until("it is attached", || one.status().node.unwrap().workloads[0].enforced).await;
        let policy = stage.policy("p");
        stage.command(Command::PutPolicies { policies: vec![policy] }).await;
        stage.until("the policy is in force", || stage.holds_head(&one)).await;
        let before = one.status().node.unwrap();
        drop(one);

        let one = stage.run("n1").await;
        stage.until("the sessions are back", || stage.holds_head(&one) && stage.connected(&one)).await;
        let after = one.status();
        assert_eq!((after.relay.unwrap().resyncs, after.node.as_ref().unwrap().resyncs), (0, 0), "resumed by position");
        assert_eq!(after.node.unwrap().digest, before.digest, "the same in force");
    });
}

/// With the hub away a node joins, starts workloads and is seen by the others; when the hub is back it learns of it.
#[test]
fn a_cluster_goes_on_without_its_hub() {
    on_stage(async |stage: &mut Stage| {
        stage.hub_starts().await;
        stage.join_hub("n1").await;
        let one = stage.run("n1").await;
        stage.until("the first state is in force", || stage.holds_head(&one)).await;
        stage.hub_stops().await;
        stage.join_relay("n2", &one).await;
        stage.write("n2", "w.yaml", &Stage::workload("w2", "10.1.0.2"));
        let two = stage.run("n2").await;
        stage.until("the new node enforces", || two.status().node.unwrap().workloads.iter().any(|w| w.enforced)).await;
        let known = || one.status().relay.unwrap().nodes.iter().any(|node| node.name == "n2" && node.connected);
        stage.until("the relay knows it", known).await;
        assert!(!one.status().relay.unwrap().connected);
        stage.hub_starts().await;
        stage.until("the hub has the workload", || stage.count(Kind::Endpoint) == 1).await;
        assert_eq!(one.status().relay.unwrap().resyncs, 1, "the one at the beginning");
    });
}

/// A node removed at the hub goes from its cluster with its workloads and stays out.
#[test]
fn a_removed_node_stays_out() {
    on_stage(async |stage: &mut Stage| {
        stage.hub_starts().await;
        stage.join_hub("n1").await;
        let one = stage.run("n1").await;
        stage.until("the first state is in force", || stage.holds_head(&one)).await;
        stage.join_relay("n2", &one).await;
        stage.write("n2", "w.yaml", &Stage::workload("w2", "10.1.0.2"));
        let two = stage.run("n2").await;
        stage.until("the hub has it", || stage.count(Kind::Endpoint) == 1 && stage.count(Kind::Node) == 2).await;
        stage.command(Command::RemoveNode { cluster: stage.cluster(), node: "n2".parse().unwrap() }).await;
        let gone = || one.status().relay.unwrap().nodes.iter().all(|node| node.name != "n2");
        stage.until("the relay let it go", gone).await;
        stage.until("its session ended", || !two.status().node.unwrap().connected).await;
        assert_eq!((stage.count(Kind::Endpoint), stage.count(Kind::Node)), (0, 1));
    });
}

/// Damaged files are set aside, and what they held is taken again: the agent's own part too, which is never gone for those
/// above.
#[test]
fn a_damaged_log_is_taken_anew() {
    on_stage(async |stage: &mut Stage| {
        stage.hub_starts().await;
        stage.join_hub("n1").await;
        stage.write("n1", "w.yaml", &Stage::workload("w1", "10.1.0.1"));
        let one = stage.run("n1").await;
        stage.join_relay("n2", &one).await;
        stage.write("n2", "w.yaml", &Stage::workload("w2", "10.1.0.2"));
        let two = stage.run("n2").await;
        stage
            .until("the workloads are at the hub", || stage.holds_head(&one) && stage.count(Kind::Endpoint) == 2)
            .await;
        let uids = stage.uids(Kind::Endpoint);
        drop((one, two));
        for log in ["relay", "node"] {
            std::fs::write(stage.state("n1").join(log).join("state"), b"rubbish").unwrap();
        }
        // Half of its inventory cannot be read, and the other node does not come again.
        stage.write("n1", "w.yaml", "kind: [");
        let one = stage.run("n1").await;
        stage.until("all is in force again", || stage.holds_head(&one) && stage.connected(&one)).await;
        assert!(stage.state("n1").join("relay/state.bad").exists());
        stage.write("n1", "w.yaml", &Stage::workload("w1", "10.1.0.1"));
        stage.write("n1", "x.yaml", &Stage::workload("w3", "10.1.0.3"));
        stage.until("a third workload", || stage.count(Kind::Endpoint) == 3).await;
        let now = stage.uids(Kind::Endpoint);
        assert!(uids.iter().all(|uid| now.contains(uid)), "those of before are the same incarnations");
    });
}

/// A relay that lost its log while the hub is away has no policies to serve: its nodes keep what they have.
#[test]
fn a_relay_without_a_copy_of_the_hubs_log_serves_nobody() {
    on_stage(async |stage: &mut Stage| {
        stage.hub_starts().await;
        stage.join_hub("n1").await;
        let one = stage.run("n1").await;
        stage.join_relay("n2", &one).await;
        stage.write("n2", "w.yaml", &Stage::workload("w2", "10.1.0.2"));
        let policy = stage.policy("p");
        stage.command(Command::PutPolicies { policies: vec![policy] }).await;
        let two = stage.run("n2").await;
        let workload = || stage.count(Kind::Endpoint) == 1;
        stage.until("all is in force", || workload() && stage.holds_head(&one) && stage.holds_head(&two)).await;
        let digests = || [&one, &two].map(|agent| agent.status().node.unwrap().digest);
        let before = digests();
        stage.hub_stops().await;
        drop((one, two));
        for file in ["state", "entries"] {
            std::fs::remove_file(stage.state("n1").join("relay").join(file)).unwrap();
        }
        let (one, two) = (stage.run("n1").await, stage.run("n2").await);
        let digests = || [&one, &two].map(|agent| agent.status().node.unwrap().digest);
        let told = |agent: &App| agent.status().problems.iter().any(|problem| problem.contains("no copy of the hub"));
        stage.until("both nodes are told why", || told(&one) && told(&two)).await;
        stage.until("what was in force is again", || digests() == before).await;
        stage.hub_starts().await;
        stage.until("all are back", || stage.holds_head(&one) && stage.holds_head(&two)).await;
        assert_eq!((digests(), stage.count(Kind::Endpoint)), (before, 1));
    });
}
