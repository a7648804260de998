//! No pod of a chained node starts before its agent says so.
use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use axle_agent::{
    control::{self, Answer, Asker, Reply, Request},
    kubernetes::{
        attachment::{Attachments, Place},
        cni::{Chain, Unprotected, remove},
    },
};
use axle_tests::{
    eventually,
    fabric::Fabric,
    kubernetes::{Cluster, Node},
    scenario,
};
use tokio::sync::watch;

/// As the node sees it.
const SOCKET: &str = "/run/axle/agent.sock";
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn a_pod_waits_for_its_agent() -> anyhow::Result<()> {
    scenario(Fabric::new, Fabric::folder, |fabric| {
        let cluster = Cluster::start(fabric, "oslo", 1, 1)?;
        let node = &cluster.nodes[0];
        node.host.netns.enter(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            runtime.block_on(waits(&cluster, node))
        })?
    })
}

async fn waits(cluster: &Cluster, node: &Node) -> anyhow::Result<()> {
    let root = node.root()?;
    fs::create_dir_all(root.join("run/axle"))?;
    let mut chain = Chain {
        configurations: root.join("etc/cni/net.d"),
        plugins: root.join("opt/cni/bin"),
        program: PathBuf::from(env!("CARGO_BIN_EXE_axle-cni")),
        wait: Duration::from_secs(30),
        unprotected: Unprotected::Refused,
    };
    chain.install(SOCKET.as_ref())?;
    let (asked, mut hears) = watch::channel(None);
    let allow = watch::Sender::new(false);
    let agent = Agent {
        attachments: Attachments::follow(&node.host.cgroup, Duration::from_secs(3600)),
        asked,
        allowed: allow.subscribe(),
    };
    let server = tokio::spawn(control::serve(&root.join("run/axle/agent.sock"), Arc::new(agent))?);

    start(cluster, "waits")?;
    tokio::time::timeout(PATIENCE, hears.wait_for(Option::is_some)).await??;
    let (uid, place) = hears.borrow().clone().context("it was heard")?;
    let pod = cluster.admin().json(&["get", "pod", "waits"])?;
    ensure!(pod["metadata"]["uid"] == *uid, "{uid} is not {pod}");
    ensure!(place.addresses.len() == 2, "{place:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pod = cluster.admin().json(&["get", "pod", "waits"])?;
    ensure!(pod["status"]["phase"] == "Pending" && pod["status"]["podIP"].is_null(), "it did not wait: {pod}");
    allow.send_replace(true);
    is_ready(cluster, "waits")?;
    let pod = cluster.admin().json(&["get", "pod", "waits"])?;
    let addresses = pod["status"]["podIPs"].as_array().into_iter().flatten();
    let addresses: Vec<_> = addresses.filter_map(|address| address["ip"].as_str()?.parse().ok()).collect();
    ensure!(
        place.addresses.len() == addresses.len() && addresses.iter().all(|address| place.addresses.contains(address)),
        "{place:?}: {pod}"
    );

    // The agent is away.
    server.abort();
    chain.wait = Duration::from_secs(1);
    chain.install(SOCKET.as_ref())?;
    start(cluster, "refused")?;
    eventually("the kubelet to tell of it", PATIENCE, || {
        let events = cluster.admin().run(&["get", "events", "--field-selector=involvedObject.name=refused"])?;
        ensure!(events.contains("axle-agent does not protect this pod yet"), "{events}");
        Ok(())
    })?;
    chain.unprotected = Unprotected::Allowed;
    chain.install(SOCKET.as_ref())?;
    start(cluster, "allowed")?;
    is_ready(cluster, "allowed")?;

    // Taken out, it holds nobody up, not even who had to wait.
    ensure!(remove(&chain.configurations, &chain.plugins)? == 1, "it was in one configuration");
    is_ready(cluster, "refused")
}

fn start(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let arguments =
        ["run", name, "--image=test.local/busybox:1", "--restart=Never", "--command", "--", "sleep", "86400"];
    cluster.admin().run(&arguments).map(drop)
}

fn is_ready(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    cluster.admin().run(&["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]).map(drop)
}

/// What of an agent it takes: it says that a pod is protected once it may.
struct Agent {
    attachments: Attachments,
    asked: watch::Sender<Option<(String, Place)>>,
    allowed: watch::Receiver<bool>,
}

impl Agent {
    async fn protect(&self, pod: String, network: i32, asker: Asker) -> anyhow::Result<()> {
        let place = self.attachments.announce(&pod, &asker.file(network)?)?;
        self.asked.send_replace(Some((pod, place.context("no veth leads there")?)));
        self.allowed.clone().wait_for(|allowed| *allowed).await?;
        Ok(())
    }
}

impl Answer for Agent {
    async fn answer(&self, request: Request, asker: Asker) -> Reply {
        let Request::Protect { pod, network } = request else {
            return Reply::Refused { message: format!("{request:?}") };
        };
        match self.protect(pod, network, asker).await {
            Ok(()) => Reply::Protected,
            Err(why) => Reply::Refused { message: format!("{why:#}") },
        }
    }
}
