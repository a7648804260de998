//! Axle in whole clusters: agents as pods, a hub beside them, real pods under policy.
use std::fs;

use anyhow::ensure;
use axle_tests::{
    eventually,
    fleet::{PATIENCE, Settings, scenario},
};

use crate::installed::{address, gets, install, is_cut};

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
        let server = format!("{}:8080", address(&lima, "server")?);
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
        let near = format!("{}:8080", address(&oslo, "server")?);
        gets(&oslo, "client", &near)?;
        is_cut(&oslo, "stranger", &near)?;
        Ok(())
    })
}

pub(crate) const PODS: &str = r#"
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
    command: [sh, -c, "timeout 3 wget -qO- http://@SERVER@/; echo tried; exec sleep 86400"]
"#;

pub(crate) const POLICY: &str = r#"
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
