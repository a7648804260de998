//! Calls from outside to a node's port, which are kube-proxy's: whose address a pod sees, and which peers of policies that is.
use std::process::Command;

use anyhow::bail;
use axle_tests::{
    eventually,
    fleet::{Fleet, PATIENCE, Settings, scenario},
    kubernetes::Cluster,
    process::run,
};

use crate::{
    installed::{install, kubectl},
    pods::server,
};

/// Of the service that hides who calls, and of the one that does not.
const HIDING: u16 = 30080;
const SHOWING: u16 = 30081;

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn a_pod_sees_the_node_that_took_a_call_in_or_who_called() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let oslo = install(fleet, "oslo", 1, 2)?;
        let there = server("server").replace("spec:\n", "spec:\n  nodeName: oslo1\n");
        oslo.admin().apply(&[SERVICES, &there].concat())?;
        kubectl(&oslo, "wait --for=condition=Ready pod/server --timeout=60s")?;
        fleet.settle(2)?;
        for (node, port) in [(0, HIDING), (1, HIDING), (0, SHOWING)] {
            answers(fleet, &oslo, node, port)?;
        }

        oslo.admin().apply(DENY)?;
        is_silent(fleet, &oslo, 1, HIDING)?;
        is_silent(fleet, &oslo, 0, SHOWING)?;
        // The pod's own node took the call in, and a NetworkPolicy cuts no pod off from its own node.
        answers(fleet, &oslo, 0, HIDING)?;

        oslo.admin().apply(&accept("nodes", "nodes: {}"))?;
        answers(fleet, &oslo, 1, HIDING)?;
        is_silent(fleet, &oslo, 0, SHOWING)?;
        let caller = fleet.hub.address();
        let caller = caller.rsplit_once(':').map_or(caller.as_str(), |(address, _)| address);
        oslo.admin().apply(&accept("caller", &format!("networks: [{caller}/32]")))?;
        answers(fleet, &oslo, 0, SHOWING)
    })
}

/// Calls from the hub's machine, which is no node.
fn call(fleet: &Fleet, cluster: &Cluster, node: usize, port: u16) -> anyhow::Result<String> {
    let url = format!("http://{}:{port}/", cluster.nodes[node].host.addresses[0]);
    let mut command = Command::new("busybox");
    command.args(["timeout", "2", "busybox", "wget", "-qO-", &url]);
    fleet.hub.place().put(&mut command)?;
    run(&mut command)
}

fn answers(fleet: &Fleet, cluster: &Cluster, node: usize, port: u16) -> anyhow::Result<()> {
    eventually(&format!("node {node} to answer at {port}"), PATIENCE, || call(fleet, cluster, node, port)).map(drop)
}

fn is_silent(fleet: &Fleet, cluster: &Cluster, node: usize, port: u16) -> anyhow::Result<()> {
    eventually(&format!("node {node} to be silent at {port}"), PATIENCE, || match call(fleet, cluster, node, port) {
        Ok(page) => bail!("it answers {page:?}"),
        Err(_) => Ok(()),
    })
}

fn accept(name: &str, peer: &str) -> String {
    format!(
        "
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {{name: {name}}}
spec:
  tier: Admin
  priority: 10
  subject: {{pods: {{podSelector: {{matchLabels: {{app: server}}}}}}}}
  ingress: [{{name: they, action: Accept, from: [{{{peer}}}]}}]
"
    )
}

const DENY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Ingress]}
";

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: hiding}
spec: {type: NodePort, selector: {app: server}, ports: [{port: 80, targetPort: 8080, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: showing}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {app: server}
  ports: [{port: 80, targetPort: 8080, nodePort: 30081}]
";
