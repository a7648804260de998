//! Axle in whole clusters: agents as pods, a hub beside them, real pods under policy.
use std::fs;

use anyhow::ensure;
use axle_tests::{
    eventually,
    fleet::{PATIENCE, Settings, scenario},
};

use crate::{
    installed::{address, gets, install, is_cut},
    pods::{pod, server, sleeper},
};

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn a_policy_of_the_hub_decides_between_pods_of_two_clusters() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let oslo = install(fleet, "oslo", 1, 2)?;
        let lima = install(fleet, "lima", 2, 1)?;
        for cluster in [&oslo, &lima] {
            cluster.admin().apply(&pods())?;
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
        let eager = format!("timeout 3 wget -qO- http://{server}/; echo tried; exec sleep 86400");
        oslo.admin().apply(&pod("eager", &eager).replace("app: eager", "app: stranger"))?;
        let said = eventually("the eager pod to have tried", PATIENCE, || {
            let said = oslo.admin().run(&["logs", "eager"])?;
            ensure!(said.contains("tried"), "{said:?}");
            Ok(said)
        })?;
        ensure!(!said.contains("page"), "it got through before it was judged: {said:?}");

        // Who starts while the hub is away is known, and judged all the same.
        fleet.hub.kill()?;
        oslo.admin().run(&["delete", "pod", "client", "stranger", "--now"])?;
        oslo.admin().apply(&pods())?;
        oslo.admin().run(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"])?;
        let near = format!("{}:8080", address(&oslo, "server")?);
        gets(&oslo, "client", &near)?;
        is_cut(&oslo, "stranger", &near)?;
        Ok(())
    })
}

/// A server and who would ask it.
pub(crate) fn pods() -> String {
    [server("server"), sleeper("client"), sleeper("stranger")].concat()
}

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
