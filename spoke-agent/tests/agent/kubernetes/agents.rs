//! Whole agents, from joining to what they lost.
use std::{
    fs,
    time::{Duration, Instant},
};

use axle_agent::{
    app::{App, Settings},
    control::{Reply, Request, ask},
    status::Status,
};
use axle_core::model::Kind;
use axle_tests::process::Process;

use super::{
    super::stage::{Stage, ip, on_stage},
    Cluster, NAMESPACE, PATIENCE,
};

fn problems(app: &App) -> String {
    app.status().problems.join("\n")
}

pub(super) async fn relay_status(stage: &Stage, pod: &str) -> Option<Status> {
    let Ok(Reply::Status(status)) = ask(&stage.state(pod).join("agent.sock"), &Request::Status).await else {
        return None;
    };
    Some(*status)
}

/// A cluster with our pods, of which one relay and the node's agent run.
pub(super) async fn joined(stage: &mut Stage) -> (Cluster, Process, Settings, App) {
    // In the place of kube-proxy.
    ip("addr add 10.96.0.77/32 dev lo");
    stage.hub_starts().await;
    let cluster = Cluster::start();
    for (pod, account) in [("relay-a", "axle-relay"), ("relay-b", "axle-relay"), ("agent-n1", "axle-agent")] {
        cluster.pod(NAMESPACE, pod, account);
    }
    fs::write(stage.state("token"), cluster.token("axle-agent", "agent-n1", "axle.dev/relay")).unwrap();
    stage.add_cluster().await;
    let relay = cluster.relay(stage, "relay-a", Some(&stage.token().await));
    let settings = cluster.agent(stage);
    let node = stage.start(settings.clone()).await;
    (cluster, relay, settings, node)
}

/// From an empty cluster to its workloads at the hub; a pod's next incarnation; the API server away; another replica leads.
#[test]
fn a_cluster_joins_and_its_pods_are_known() {
    on_stage(async |stage: &mut Stage| {
        let (mut cluster, relay, settings, node) = joined(stage).await;
        cluster.pod("shop", "w1", "default");
        cluster.runs("w1", "10.1.0.1");
        let stage = &*stage;
        let has = |uid: &str| stage.uids(Kind::Endpoint).iter().map(ToString::to_string).eq([uid]);
        let uid = cluster.uid("w1");
        stage.until("the hub has the pod", || has(&uid)).await;
        stage.until("the node enforces", || stage.holds_head(&node)).await;
        assert!(node.status().node.unwrap().workloads[0].reason.contains("which interface"), "nobody says it here");
        assert!(stage.count(Kind::Namespace) >= 2, "namespaces come with their labels");

        // A pod of the same name is another one.
        cluster.gone("w1");
        stage.until("it is gone", || stage.count(Kind::Endpoint) == 0).await;
        cluster.pod("shop", "w1", "default");
        cluster.runs("w1", "10.1.0.1");
        let uid = cluster.uid("w1");
        stage.until("the hub has the next one", || has(&uid)).await;

        // The API server goes away. Whoever starts meanwhile starts with what is known.
        cluster.server.kill().unwrap();
        stage.until("the node says so", || problems(&node).contains("pods")).await;
        drop(node);
        let node = stage.start(settings).await;
        stage.until("it is back", || node.status().node.unwrap().connected).await;
        stage.until("it says what is missing", || problems(&node).contains("cannot be asked to list pods")).await;
        assert!(has(&uid));
        cluster.server.resume().unwrap();
        stage.until("all is well", || !problems(&node).contains("API server")).await;
        assert!(has(&uid));

        // Another replica waits, and leads as soon as the first is told to stop.
        let _second = cluster.relay(stage, "relay-b", None);
        let (began, mut waits) = (Instant::now(), false);
        while !waits && began.elapsed() < PATIENCE {
            let status = relay_status(stage, "relay-b").await;
            waits =
                status.is_some_and(|status| status.problems.join("\n").contains("stands by: relay-a holds the lease"));
        }
        assert!(waits, "the second stands by, and says so");
        relay.stop(PATIENCE).unwrap();
        stage.until("the node has lost it", || !node.status().node.unwrap().connected).await;
        let began = Instant::now();
        stage.until("the next one lets it in", || node.status().node.unwrap().connected).await;
        assert!(began.elapsed() < Duration::from_secs(10), "the lease was given up, the node's key is known");
        let (began, mut well) = (Instant::now(), false);
        while !well && began.elapsed() < PATIENCE {
            let relay = relay_status(stage, "relay-b").await.and_then(|status| status.relay);
            well = relay.is_some_and(|relay| relay.connected && relay.nodes.iter().all(|node| node.connected));
        }
        assert!(well && has(&uid), "and the hub has what it had");
        let leaders = || cluster.kubectl("get pods -n axle-system -l axle.dev/relay=leader -o name");
        stage.until("the Service leads there", || leaders().trim() == "pod/relay-b").await;

        // The machine is taken out of the cluster.
        cluster.gone("w1");
        cluster.kubectl("delete pod agent-n1 -n axle-system --force --grace-period=0");
        cluster.kubectl("delete node n1");
        stage.until("the hub has no node", || stage.count(Kind::Node) == 0).await;
    });
}

/// Whoever lost something has it again, and nobody has to do anything for that.
#[test]
fn what_was_lost_is_had_again() {
    on_stage(async |stage: &mut Stage| {
        let (cluster, relay, settings, node) = joined(stage).await;
        let stage = &*stage;
        let connected = |node: &App| node.status().node.unwrap().connected;
        stage.until("the node is in", || connected(&node) && stage.count(Kind::Node) == 1).await;

        // A leader that is killed says nothing: the next one waits for the end of its lease.
        let next = cluster.relay(stage, "relay-b", None);
        relay.kill().unwrap();
        stage.until("the leader is lost", || !connected(&node)).await;
        stage.until("the next one leads", || connected(&node)).await;

        // The keys of nodes are gone, and so is the relay's disk.
        next.kill().unwrap();
        cluster.kubectl(r#"patch secret axle-relay -n axle-system --type=merge -p {"data":{"nodes":null}}"#);
        fs::remove_dir_all(stage.state("relay-b")).unwrap();
        stage.until("the relay is lost", || !connected(&node)).await;
        let known = stage.uids(Kind::Node);
        let _relay = cluster.relay(stage, "relay-b", None);
        stage.until("the node has joined anew", || connected(&node)).await;
        // Nor is it gone in between, which would be told to everybody.
        let deletes = stage.deletes(Kind::Node).await;
        assert_eq!((deletes, stage.uids(Kind::Node)), (0, known));

        // The node's disk is gone.
        drop(node);
        fs::remove_dir_all(stage.state("n1")).unwrap();
        let node = stage.start(settings).await;
        stage.until("the node is in again", || connected(&node)).await;
    });
}
