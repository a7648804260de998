//! How much a pod sends before it is judged, and what it costs to wait: many pods that send as soon as they start, with the
//! agent in the node's CNI chain, beside it, and away.
use std::{
    env, fs,
    io::{self, Write as _},
};

use anyhow::{Context as _, ensure};
use axle_tests::{
    eventually,
    fleet::{Fleet, PATIENCE, Settings, scenario},
    kubernetes::Cluster,
};
use serde_json::Value;

use crate::{
    installed::{address, agents, gets, install},
    pods::server,
};

const TRIES: usize = 4;

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn who_sends_at_once_is_judged_from_the_first_packet() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let oslo = install(fleet, "oslo", 1, 2)?;
        oslo.admin().apply(&server("server"))?;
        oslo.admin().run(&["wait", "--for=condition=Ready", "pod/server", "--timeout=60s"])?;
        fleet.settle(2)?;
        let server = format!("{}:8080", address(&oslo, "server")?);
        gets(&oslo, "server", &server)?;
        fleet.hub.apply(POLICY)?;

        let chained = round(fleet, &oslo, "chained", &server)?;
        ensure!(chained == 0, "{chained} tries got through although each pod waited for its agent");

        unchain(fleet, &oslo)?;
        // The kernel tells of a pod's first process, and its containers start a little later: that nearly always does.
        round(fleet, &oslo, "unchained", &server)?;

        let agents = ["delete", "daemonset/axle-agent", "--namespace=axle-system", "--cascade=foreground"];
        oslo.admin().run(&agents)?;
        let bare = round(fleet, &oslo, "bare", &server)?;
        ensure!(bare == pods() * TRIES, "{bare} tries got through without an agent, which should be all");
        Ok(())
    })
}

/// How many start at once; more make better figures.
fn pods() -> usize {
    env::var("AXLE_BENCH_PODS").ok().and_then(|pods| pods.parse().ok()).unwrap_or(10)
}

/// How many tries of all pods got through; and says it, with the time that pods took to start.
fn round(fleet: &Fleet, oslo: &Cluster, name: &str, server: &str) -> anyhow::Result<usize> {
    let eager = EAGER.replace("@NAME@", name).replace("@SERVER@", server).replace("@PODS@", &pods().to_string());
    oslo.admin().apply(&eager)?;
    let selector = format!("--selector=app={name}");
    let said = eventually("all pods to have tried", PATIENCE, || {
        let said = oslo.admin().run(&["logs", &selector, "--tail=-1", "--max-log-requests=200"])?;
        ensure!(said.matches("done").count() == pods(), "{said}");
        Ok(said)
    })?;
    oslo.admin().run(&["delete", "deployment", name, "--cascade=foreground"])?;

    let mut starts = Vec::new();
    for node in &oslo.nodes {
        let log = fs::read_to_string(fleet.fabric.folder().join("oslo").join(format!("{}.log", node.host.name)))?;
        let observed = log.lines().filter(|line| line.contains(&format!("pod=\"default/{name}-")));
        let time = |line: &str| line.split("podStartE2EDuration=\"").nth(1)?.split_once("s\"")?.0.parse::<f64>().ok();
        starts.extend(observed.filter_map(time));
    }
    starts.sort_by(f64::total_cmp);
    ensure!(!starts.is_empty(), "the kubelets saw none start");
    let part = |percent: usize| starts[(starts.len() * percent / 100).min(starts.len() - 1)];
    let through = said.matches("through").count();
    let all = pods() * TRIES;
    writeln!(
        io::stderr(),
        "{name}: {through} of {all} tries got through; {} starts took p50 {:.2} s, p99 {:.2} s, on a machine with load {}",
        starts.len(),
        part(50),
        part(99),
        fs::read_to_string("/proc/loadavg")?.split(' ').next().unwrap_or_default(),
    )?;
    Ok(through)
}

/// The agents no longer keep the chain, and it is as it was.
fn unchain(fleet: &Fleet, oslo: &Cluster) -> anyhow::Result<()> {
    agents(oslo, &fleet.hub.address(), "oslo", &["--set", "cni.enabled=false", "--wait"])?;
    fleet.settle(2)?;
    for node in &oslo.nodes {
        let file = node.root()?.join("etc/cni/net.d/10-pods.conflist");
        let mut chain: Value = serde_json::from_str(&fs::read_to_string(&file)?)?;
        let plugins = chain["plugins"].as_array_mut().context("a chain has plugins")?;
        plugins.retain(|plugin| plugin["type"] != "axle-cni");
        fs::write(&file, chain.to_string())?;
    }
    Ok(())
}

const EAGER: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: "@NAME@"}
spec:
  replicas: @PODS@
  selector: {matchLabels: {app: "@NAME@"}}
  template:
    metadata: {labels: {app: "@NAME@", eager: "yes"}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: a
        image: test.local/busybox:1
        command:
        - sh
        - -c
        - |
          for try in 1 2 3 4; do timeout 1 wget -qO- http://@SERVER@/ && echo through; done
          echo done
          exec sleep 86400
"#;

const POLICY: &str = r#"
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {name: eager}
spec:
  tier: Admin
  priority: 10
  subject: {pods: {podSelector: {matchLabels: {eager: "yes"}}}}
  egress:
  - name: nowhere
    action: Deny
    to: [{namespaces: {}}]
"#;
