//! One relay leads after the other, and nodes go on.
use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use axle_agent::{app::App, status::Status};
use axle_core::{model::Kind, state::Command};
use axle_tests::process::tail;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::{
    super::stage::{Stage, on_stage},
    Cluster, NAMESPACE, PATIENCE,
    agents::{joined, relay_status},
    probed,
};

/// More than the time of a lease and all that it takes to see that it is over.
const LEASE: Duration = Duration::from_secs(20);

/// Waits until a relay's status is so.
async fn relay_is(stage: &Stage, pod: &str, what: &str, so: impl Fn(&Status) -> bool) -> Status {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = relay_status(stage, pod).await;
        match status {
            Some(status) if so(&status) => return status,
            other => assert!(Instant::now() < deadline, "{pod}: {what}: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn has(status: &Status, problem: &str) -> bool {
    status.problems.iter().any(|sentence| sentence.contains(problem))
}

/// It waits, and has all that the leader has.
async fn stands_by(stage: &Stage, pod: &str) {
    let so = |status: &Status| has(status, "stands by") && !has(status, "no fresh copy");
    relay_is(stage, pod, "it stands by with a copy", so).await;
}

/// How often the node took everything anew, and whose log it follows.
fn followed(node: &App) -> (u64, u32) {
    let node = node.status().node.unwrap();
    (node.resyncs, node.received.unwrap().term())
}

async fn put(stage: &Stage, policy: &str) {
    stage.command(Command::PutPolicies { policies: vec![stage.policy(policy)] }).await;
}

/// What a relay says whose asker names this address.
async fn told(pod: &str, from: &str) -> String {
    let mut stream = TcpStream::connect(probed(pod)).await.unwrap();
    stream.write_all(format!("{{\"from\":\"{from}\",\"back\":true}}\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Whether it leads or stands by. Nobody is at either address.
#[test]
fn relays_ask_back_at_addresses_of_the_fleet_alone() {
    on_stage(async |stage: &mut Stage| {
        let (cluster, _relay, _, _node) = joined(stage).await;
        let _second = cluster.relay(stage, "relay-b", None);
        stands_by(stage, "relay-b").await;
        for pod in ["relay-a", "relay-b"] {
            let (inside, outside) = (told(pod, "10.1.0.9").await, told(pod, "10.9.0.9").await);
            assert!(inside.contains("failed") && !inside.contains("outside"), "{pod}: {inside}");
            assert!(outside.contains("outside"), "{pod}: {outside}");
        }
    });
}

/// The API server away for longer than a lease; then the leader dies.
#[test]
fn who_leads_goes_on_without_the_api_server_and_who_follows_goes_on_with_its_log() {
    on_stage(async |stage: &mut Stage| {
        let (mut cluster, relay, _, node) = joined(stage).await;
        cluster.pod("shop", "w1", "default");
        cluster.runs("w1", "10.1.0.1");
        let stage = &*stage;
        let known = || stage.count(Kind::Endpoint) == 1 && stage.holds_head(&node);
        stage.until("the pod is known", known).await;
        let _second = cluster.relay(stage, "relay-b", None);
        stands_by(stage, "relay-b").await;
        let before = followed(&node);
        assert_eq!(before, (1, 1));

        cluster.server.kill().unwrap();
        relay_is(stage, "relay-a", "it says so", |status| has(status, "leads until another one does")).await;
        tokio::time::sleep(LEASE).await;
        put(stage, "p").await;
        stage.until("a change of the hub arrives", || stage.holds_head(&node)).await;
        cluster.server.resume().unwrap();
        let well = |status: &Status| !has(status, "leads until") && !has(status, "cannot be asked");
        relay_is(stage, "relay-a", "all is well", well).await;
        tokio::time::sleep(LEASE).await;
        assert_eq!(followed(&node), before, "nobody else led");
        stands_by(stage, "relay-b").await;

        relay.kill().unwrap();
        let digest = node.status().node.unwrap().digest;
        stage.until("the next one leads", || followed(&node).1 == 2 && node.status().node.unwrap().connected).await;
        put(stage, "q").await;
        stage.until("its changes arrive", || stage.holds_head(&node)).await;
        assert_eq!(followed(&node), (1, 2), "as deltas alone");
        let status = relay_is(stage, "relay-b", "the node is there", |status| {
            status.relay.as_ref().is_some_and(|relay| relay.connected && relay.nodes.iter().all(|node| node.connected))
        })
        .await;
        let sent = status.relay.unwrap().sent.unwrap();
        assert_eq!(sent.term(), 2, "the hub has taken in the log as far as that");
        assert_ne!(node.status().node.unwrap().digest, digest, "q is in force");
        assert_eq!((stage.deletes(Kind::Endpoint).await, stage.deletes(Kind::Node).await), (0, 0), "nobody was gone");
        assert_eq!(stage.deletes(Kind::Namespace).await, 0);
    });
}

/// A way to the API server that can be cut.
struct Way {
    kubeconfig: std::path::PathBuf,
    carries: JoinHandle<()>,
}

impl Way {
    async fn to(cluster: &Cluster, stage: &Stage) -> Self {
        let server: SocketAddr = cluster.server.url().trim_start_matches("https://").parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = format!("https://{}", listener.local_addr().unwrap());
        let text = fs::read_to_string(cluster.kubeconfig("axle-relay")).unwrap();
        let kubeconfig = stage.state("way.kubeconfig");
        fs::write(&kubeconfig, text.replace(&cluster.server.url(), &here)).unwrap();
        let carries = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                connections.spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(server).await {
                        let _ = copy_bidirectional(&mut from, &mut to).await;
                    }
                });
            }
        });
        Self { kubeconfig, carries }
    }
}

/// It learns from the one that takes over. Whoever stood by when the leader stopped goes on with its log, as does the next.
#[test]
fn a_leader_that_is_cut_off_leads_no_more_once_another_one_does() {
    on_stage(async |stage: &mut Stage| {
        let (cluster, relay, _, node) = joined(stage).await;
        let stage = &*stage;
        stage.until("the node enforces", || stage.holds_head(&node)).await;
        let way = Way::to(&cluster, stage).await;
        let mut second = cluster.relay_in(stage, NAMESPACE, &way.kubeconfig, "relay-b", None);
        stands_by(stage, "relay-b").await;
        relay.stop(PATIENCE).unwrap();
        let follows = |term| followed(&node) == (1, term) && node.status().node.unwrap().connected;
        stage.until("relay-b leads", || follows(2)).await;
        let _third = cluster.relay(stage, "relay-a", None);
        stands_by(stage, "relay-a").await;

        way.carries.abort();
        let deadline = Instant::now() + PATIENCE;
        while second.check_alive().is_ok() {
            assert!(Instant::now() < deadline, "relay-b still leads");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let said = tail(second.log(), 40);
        assert!(said.contains("another replica leads, by its own word, as leader 3"), "{said}");
        stage.until("the node goes on with relay-a", || follows(3)).await;
        put(stage, "p").await;
        stage.until("a change arrives", || stage.holds_head(&node)).await;
    });
}

/// A relay that lost its log has the hub's part of it at once, and the cluster's when the API server has said all.
#[test]
fn a_relay_that_does_not_know_its_cluster_yet_serves_nobody_who_knows_more() {
    on_stage(async |stage: &mut Stage| {
        let (cluster, relay, _, node) = joined(stage).await;
        let stage = &*stage;
        let follows = |resyncs, term| followed(&node) == (resyncs, term) && node.status().node.unwrap().connected;
        stage.until("the node enforces", || stage.holds_head(&node) && follows(1, 1)).await;
        relay.kill().unwrap();
        fs::remove_dir_all(stage.state("relay-a")).unwrap();
        cluster.kubectl("delete clusterrolebinding axle-relay");
        let _relay = cluster.relay(stage, "relay-a", None);
        let told =
            || node.status().problems.iter().any(|why| why.contains("does not know yet all that its cluster has"));
        stage.until("the node is told why it waits", told).await;
        let status =
            relay_is(stage, "relay-a", "it says so", |status| has(status, "does not let this agent list")).await;
        assert!(status.relay.unwrap().received.is_some(), "it has the hub's log");
        assert_eq!(followed(&node), (1, 1), "the node keeps what it has");
        cluster.permit();
        stage.until("the node takes everything anew", || follows(2, 2)).await;
    });
}

/// Lease and Secret are of a time at which the term was lower than what hub and nodes have heard since.
#[test]
fn a_cluster_of_a_backup_has_a_leader_again() {
    on_stage(async |stage: &mut Stage| {
        let (cluster, relay, _, node) = joined(stage).await;
        let stage = &*stage;
        let follows = |term| followed(&node).1 == term && node.status().node.unwrap().connected;
        stage.until("relay-a leads", || stage.holds_head(&node) && follows(1)).await;
        let backup = cluster.kubectl("get secret axle-relay -n axle-system -o jsonpath={.data.leader}");
        relay.stop(PATIENCE).unwrap();
        for term in 2..=5 {
            let relay = cluster.relay(stage, "relay-a", None);
            stage.until("it leads again", || follows(term)).await;
            let sent = |status: &Status| status.relay.as_ref()?.sent.map(|at| at.term());
            relay_is(stage, "relay-a", "the hub has heard it", |status| sent(status) == Some(term)).await;
            relay.stop(PATIENCE).unwrap();
        }
        let leader = format!(r#"{{"data":{{"leader":"{backup}"}}}}"#);
        let patch = ["patch", "secret", "axle-relay", "-n", NAMESPACE, "--type=merge", "-p", &leader];
        cluster.server.admin().run(&patch).unwrap();
        cluster.kubectl("delete lease axle-relay -n axle-system");

        let mut refused = cluster.relay(stage, "relay-b", None);
        let deadline = Instant::now() + PATIENCE;
        while refused.check_alive().is_ok() {
            assert!(Instant::now() < deadline, "relay-b leads as leader 2");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let said = tail(refused.log(), 40);
        assert!(said.contains("superseded: leader 5 "), "{said}");
        let _relay = cluster.relay(stage, "relay-b", None);
        stage.until("the next one is above all that there was", || follows(6)).await;
        put(stage, "p").await;
        stage.until("a change arrives", || stage.holds_head(&node)).await;
    });
}
