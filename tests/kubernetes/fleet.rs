//! Axle in whole clusters: agents as pods, a hub beside them, real pods under policy.
use std::{fs, path::Path};

use anyhow::{Context as _, bail, ensure};
use axle_tests::{
    binaries, cgroup, eventually,
    fleet::{Fleet, PATIENCE, Settings, scenario},
    kubernetes::{Cluster, Image},
};

const INSTALLATION: &str = include_str!("installation.yaml");

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn a_policy_of_the_hub_decides_between_pods_of_two_clusters() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let oslo = install(fleet, "oslo", 1, 2)?;
        let lima = install(fleet, "lima", 2, 1)?;
        for cluster in [&oslo, &lima] {
            cluster.admin().apply(PODS)?;
            cluster.admin().run(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"])?;
        }
        // All nodes hold the hub's head, and every pod is enforced.
        fleet.settle(3)?;
        let server = address(&lima, "server")?;
        for client in ["client", "stranger"] {
            gets(&oslo, client, &server)?;
        }

        fleet.hub.apply(POLICY)?;
        gets(&oslo, "client", &server)?;
        gets(&lima, "client", &server)?;
        for cluster in [&oslo, &lima] {
            is_cut(cluster, "stranger", &server)?;
        }

        // From its first packet on: it starts only once it is protected.
        for node in &oslo.nodes {
            let chain = fs::read_to_string(node.root()?.join("etc/cni/net.d/10-pods.conflist"))?;
            ensure!(chain.contains("axle-cni"), "{}: {chain}", node.host.name);
        }
        oslo.admin().apply(&EAGER.replace("@SERVER@", &server))?;
        let said = eventually("the eager pod to have tried", PATIENCE, || {
            let said = oslo.admin().run(&["logs", "eager"])?;
            ensure!(said.contains("tried"), "{said:?}");
            Ok(said)
        })?;
        ensure!(!said.contains("page"), "it got through before it was judged: {said:?}");

        // Who starts while the hub is away is known, and judged all the same.
        fleet.hub.kill()?;
        oslo.admin().run(&["delete", "pod", "client", "stranger", "--now"])?;
        oslo.admin().apply(PODS)?;
        oslo.admin().run(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"])?;
        let near = address(&oslo, "server")?;
        gets(&oslo, "client", &near)?;
        is_cut(&oslo, "stranger", &near)?;
        Ok(())
    })
}

/// A cluster with Axle in it, registered and joined.
fn install(fleet: &mut Fleet, name: &str, number: u8, nodes: usize) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::start(&mut fleet.fabric, name, number, nodes)?;
    let mut image = Image::new("test.local/axle-agent:1", &["/axle-agent"]);
    for program in ["axle-agent", "axle-cni"] {
        image = image.program(&binaries()?.join(program), &format!("/{program}"))?;
    }
    cluster.load(&image)?;
    fleet.cluster(name, &[])?;
    let token = fleet.hub.json(&["token", "create", "--cluster", name])?;
    let token = token["token"].as_str().context("`axle token create -o json` shows no token")?;
    let crds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/axle-agent/crds");
    for file in fs::read_dir(crds)? {
        cluster.admin().apply(&fs::read_to_string(file?.path())?)?;
    }
    let documents =
        INSTALLATION.replace("@HUB@", &fleet.hub.address()).replace("@CLUSTER@", name).replace("@TOKEN@", token);
    cluster.admin().apply(&documents.replace("@CGROUP@", &cgroup::root()?.to_string_lossy()))?;
    Ok(cluster)
}

fn address(cluster: &Cluster, pod: &str) -> anyhow::Result<String> {
    cluster.admin().run(&["get", "pod", pod, "--output=jsonpath={.status.podIP}"])
}

fn gets(cluster: &Cluster, pod: &str, server: &str) -> anyhow::Result<()> {
    eventually(&format!("{pod} to get the page of {server}"), PATIENCE, || get(cluster, pod, server)).map(drop)
}

fn is_cut(cluster: &Cluster, pod: &str, server: &str) -> anyhow::Result<()> {
    match get(cluster, pod, server) {
        // Ended by `timeout`, so nothing came back: a fault of kubectl or wget has another code.
        Err(why) if why.to_string().contains("exit code 143") => Ok(()),
        got => bail!("{pod} and {server}, wanted silence: {got:?}"),
    }
}

/// A packet that is denied vanishes, so that there is nothing but waiting.
fn get(cluster: &Cluster, pod: &str, server: &str) -> anyhow::Result<String> {
    let url = format!("http://{server}:8080/");
    cluster.admin().run(&["exec", pod, "--", "timeout", "2", "wget", "-qO-", &url])
}

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: a
    image: test.local/busybox:1
    command: [sh, -c, "echo page > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
---
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: a, image: "test.local/busybox:1", command: [sleep, "86400"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, labels: {app: stranger}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: a, image: "test.local/busybox:1", command: [sleep, "86400"]}]
"#;

const EAGER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: eager, labels: {app: stranger}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: a
    image: test.local/busybox:1
    command: [sh, -c, "timeout 3 wget -qO- http://@SERVER@:8080/; echo tried; exec sleep 86400"]
"#;

const POLICY: &str = r#"
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {name: server-callers}
spec:
  tier: Admin
  priority: 10
  subject: {pods: {podSelector: {matchLabels: {app: server}}}}
  ingress:
  - name: clients
    action: Accept
    from: [{clusters: {}, pods: {podSelector: {matchLabels: {app: client}}}}]
  - name: nobody-else
    action: Deny
    from: [{clusters: {}, namespaces: {}}]
"#;
