//! Pods are found where they are attached.
use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, ensure};
use axle_agent::kubernetes::attachment::{Attachments, Places, all_pods, places};
use axle_tests::{
    fabric::Fabric,
    kubernetes::{Cluster, Node},
    scenario,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn pods_are_found_at_their_interface_as_they_come_and_go() -> anyhow::Result<()> {
    scenario(Fabric::new, Fabric::folder, |fabric| {
        let cluster = Cluster::start(fabric, "oslo", 1, 1)?;
        let node = &cluster.nodes[0];
        node.host.netns.enter(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(come_and_go(&cluster, node))
        })?
    })
}

async fn come_and_go(cluster: &Cluster, node: &Node) -> anyhow::Result<()> {
    // Everything comes by notification.
    let mut followed = Attachments::follow(&node.host.cgroup, Duration::from_secs(3600)).places();
    cluster.admin().apply(PODS)?;
    cluster.admin().run(&["rollout", "status", "deployment/two", "--timeout=60s"])?;
    cluster.admin().run(&["wait", "--for=condition=Ready", "pod/on-the-node", "--timeout=60s"])?;

    let pods = all_pods(&node.host.cgroup).context("there is no cgroup of pods")?;
    let found = places(&pods)?;
    let listed = cluster.admin().json(&["get", "pods", "--all-namespaces"])?;
    let listed = listed["items"].as_array().context("a list has items")?;
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let mut wanted = BTreeSet::new();
    for pod in listed {
        let text = |part: &str| pod["metadata"][part].as_str().unwrap_or_default();
        if pod["spec"]["hostNetwork"] == true {
            ensure!(!found.contains_key(&uid(pod)), "what is on the node's network has no interface: {found:?}");
            continue;
        }
        wanted.insert(uid(pod));
        // CoreDNS has no shell.
        if text("namespace") == "default" {
            let arguments = ["exec", text("name"), "--", "cat", "/sys/class/net/eth0/iflink"];
            let other_end: u32 = cluster.admin().run(&arguments)?.trim().parse()?;
            let place = found.get(&uid(pod)).with_context(|| format!("{} is not in {found:?}", text("name")))?;
            ensure!(index(&place.interface)? == other_end, "{place:?} is not the other end, which is {other_end}");
            let addresses = pod["status"]["podIPs"].as_array().into_iter().flatten();
            let addresses: BTreeSet<_> = addresses.filter_map(|address| address["ip"].as_str()?.parse().ok()).collect();
            ensure!(
                addresses.len() == 2 && place.addresses.iter().copied().collect::<BTreeSet<_>>() == addresses,
                "{place:?}, wanted {addresses:?}"
            );
        }
    }
    ensure!(found.keys().cloned().collect::<BTreeSet<_>>() == wanted, "{found:?}, wanted {wanted:?}");
    until(&mut followed, |places| *places == found).await?;

    // Another pod takes the place of each.
    cluster.admin().run(&["delete", "pods", "--selector=app=two", "--wait=false"])?;
    until(&mut followed, |places| {
        places.len() == wanted.len() && places.keys().filter(|uid| !wanted.contains(*uid)).count() == 2
    })
    .await
}

async fn until(
    followed: &mut tokio::sync::watch::Receiver<std::sync::Arc<Places>>,
    wanted: impl Fn(&Places) -> bool,
) -> anyhow::Result<()> {
    let seen = tokio::time::timeout(PATIENCE, followed.wait_for(|places| wanted(places))).await.is_ok();
    ensure!(seen, "at last there was {:?}", followed.borrow());
    Ok(())
}

/// Of an interface of this thread's network namespace.
fn index(interface: &str) -> anyhow::Result<u32> {
    Ok(nix::net::if_::if_nametoindex(interface)?)
}

const PODS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: two}
spec:
  replicas: 2
  selector: {matchLabels: {app: two}}
  template:
    metadata: {labels: {app: two}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: a, image: "test.local/busybox:1", command: [sh, -c, "cut -d' ' -f1 /proc/uptime; sleep 86400"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: on-the-node}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers: [{name: a, image: "test.local/busybox:1", command: [sleep, "86400"]}]
"#;
