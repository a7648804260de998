//! Clusters that come by `axle cluster join` and go by `axle cluster remove`.
use std::fs;

use anyhow::ensure;
use axle_tests::{
    eventually,
    fleet::{Fleet, PATIENCE, Settings, scenario},
    kubernetes::Cluster,
};
use serde_json::{Value, json};

use crate::{
    installed::{gets, is_cut, kubectl},
    operator::{Operator, bare},
    pods::{server, sleeper},
};

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn clusters_come_and_go_by_one_command_each() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let oslo = bare(fleet, "oslo", 1, 2)?;
        let lima = bare(fleet, "lima", 2, 1)?;
        let eve = oslo.api.user("eve", None)?;
        let operator = Operator::new(fleet, &[("oslo", oslo.admin()), ("lima", lima.admin()), ("eve", &eve)])?;
        refused_before_anything_changes(fleet, &operator)?;
        oslo_joins_and_nothing_changes_the_second_time(fleet, &operator, &oslo)?;
        lima_joins_at_the_third_attempt(fleet, &operator)?;
        goes(fleet, &operator, &oslo, &lima)
    })
}

fn join(context: &str, more: &str) -> String {
    format!("cluster join --context {context} {more}")
}

fn refused_before_anything_changes(fleet: &Fleet, operator: &Operator) -> anyhow::Result<()> {
    operator.ends(fleet, "cluster join", 2, &["which cluster? --context"])?;
    operator.ends(fleet, &join("nowhere", ""), 2, &["error[kube_context]", "nowhere"])?;
    let forbidden = ["error[kube_forbidden]", "cannot list resource \"nodes\""];
    operator.ends(fleet, &join("eve", ""), 4, &forbidden)?;
    let hub = fleet.hub.json(&["cluster", "list"])?;
    ensure!(hub == json!([]), "{hub}");
    Ok(())
}

fn oslo_joins_and_nothing_changes_the_second_time(
    fleet: &Fleet,
    operator: &Operator,
    oslo: &Cluster,
) -> anyhow::Result<()> {
    let joined = operator.json(fleet, &join("oslo", ""))?;
    ensure!(joined["registered"] == true && joined["token"] == true && joined["nodes"] == 2, "{joined}");
    let nodes = oslo.admin().json(&["get", "nodes"])?;
    let own = |node: &Value| node["spec"]["podCIDRs"].as_array().cloned().unwrap_or_default();
    for prefix in nodes["items"].as_array().into_iter().flatten().flat_map(own) {
        ensure!(joined["prefixes"].as_array().is_some_and(|all| all.contains(&prefix)), "{prefix} in {joined}");
    }
    let again = operator.json(fleet, &join("oslo", ""))?;
    let changed = |object: &&Value| object["change"] != "unchanged";
    let changed: Vec<_> = again["objects"].as_array().into_iter().flatten().filter(changed).collect();
    ensure!(again["registered"] == false && again["token"] == false && changed.is_empty(), "{changed:?} of {again}");
    operator.ends(fleet, &join("oslo", ""), 0, &["had joined: nothing was changed; 2 nodes enforce"])
}

/// Each fault is named, and the same command goes on when it is mended.
fn lima_joins_at_the_third_attempt(fleet: &Fleet, operator: &Operator) -> anyhow::Result<()> {
    let prefixes = "--prefix 10.2.0.0/16 --prefix fd00:2::/48";
    let taken = ["error[overlapping_prefix]", "of cluster oslo"];
    operator.ends(fleet, &join("lima", "--prefix 10.1.0.0/24"), 3, &taken)?;
    operator.ends(fleet, &join("lima", "--name oslo"), 3, &["error[other_cluster]", "has no relay"])?;
    let image = format!("{prefixes} --image 127.0.0.1:1/none:1 --timeout 20s");
    operator.ends(
        fleet,
        &join("lima", &image),
        7,
        &["error[timed_out]", "(image 127.0.0.1:1/none:1)", "pod axle-agent-"],
    )?;
    let hub = format!("{prefixes} --hub 10.255.0.250:7443 --timeout 30s");
    operator.ends(fleet, &join("lima", &hub), 7, &["error[timed_out]", "can pods there reach 10.255.0.250:7443?"])?;
    let joined = operator.json(fleet, &join("lima", prefixes))?;
    ensure!(joined["registered"] == false && joined["nodes"] == 1, "{joined}");
    // Both ways, both families, with each of the relays that oslo has on nodes of their own.
    let probes = joined["check"]["probes"].as_array().map_or(&[][..], Vec::as_slice);
    ensure!(probes.len() >= 4 && probes.iter().all(|probe| probe["state"] == "passes"), "{joined}");
    operator.ends(fleet, "cluster check --context oslo --with lima", 0, &["passes"])
}

fn goes(fleet: &Fleet, operator: &Operator, oslo: &Cluster, lima: &Cluster) -> anyhow::Result<()> {
    oslo.admin().apply(&sleeper("client"))?;
    lima.admin().apply(&server("server"))?;
    lima.admin().apply(EXPORT)?;
    for cluster in [oslo, lima] {
        cluster.admin().run(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"])?;
    }
    let vip = eventually("an address of the service", PATIENCE, || {
        let services = fleet.hub.json(&["service", "list"])?;
        let vip = services[0]["vips"]
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|vip| vip.as_str().filter(|vip| vip.contains('.')));
        vip.map(ToOwned::to_owned).ok_or_else(|| anyhow::anyhow!("{services}"))
    })?;
    let service = format!("{vip}:8080");
    gets(oslo, "client", &service)?;

    // Drained nobody of another cluster is led there any more, and it can stay after all.
    operator.ends(fleet, "cluster drain lima", 0, &["cluster lima is drained"])?;
    ensure!(gets_at_once(oslo, &service).is_err(), "it is still led there");
    operator.ends(fleet, "cluster drain lima --undo", 0, &["cluster lima stays"])?;
    gets(oslo, "client", &service)?;

    // What is in force ends with the agents, and only there.
    fleet.hub.apply(NOBODY)?;
    let near = format!("{}:8080", crate::installed::address(lima, "server")?);
    is_cut(oslo, "client", &near)?;
    operator.ends(fleet, "cluster remove lima --context oslo", 3, &["error[other_cluster]"])?;
    let words = ["no other cluster leads anybody to lima", "enforcement has ended", "cluster lima is removed"];
    operator.ends(fleet, "cluster remove lima --context lima --timeout 2m", 0, &words)?;
    gets(oslo, "client", &near)?;
    let chain = fs::read_to_string(lima.nodes[0].root()?.join("etc/cni/net.d/10-pods.conflist"))?;
    ensure!(!chain.contains("axle-cni"), "{chain}");
    let left = kubectl(lima, "get all,secrets,configmaps,leases -n axle-system -o name")?;
    ensure!(!left.contains("axle"), "{left}");
    let audit = fleet.hub.axle(&["audit", "list"])?;
    let (removed, drained) = (audit.find("cluster remove lima"), audit.find("cluster drain lima"));
    // The newest first.
    ensure!(removed.is_some() && drained > removed, "{audit}");
    // And back, as another incarnation.
    let joined = operator.json(fleet, &join("lima", "--prefix 10.2.0.0/16 --prefix fd00:2::/48"))?;
    ensure!(joined["registered"] == true && joined["token"] == true && joined["nodes"] == 1, "{joined}");
    eventually("what was in force is so again", PATIENCE, || is_cut(oslo, "client", &near))?;
    // Of one that is gone nobody is asked.
    operator.ends(fleet, "cluster remove lima --force", 0, &["cluster lima is removed"])
}

fn gets_at_once(cluster: &Cluster, server: &str) -> anyhow::Result<String> {
    cluster.admin().run(&["exec", "client", "--", "timeout", "2", "wget", "-qO-", &format!("http://{server}/")])
}

const EXPORT: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: server}, ports: [{port: 8080}]}
---
apiVersion: multicluster.x-k8s.io/v1beta1
kind: ServiceExport
metadata: {name: web}
";

const NOBODY: &str = "
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {name: nobody}
spec:
  tier: Admin
  priority: 10
  subject: {pods: {podSelector: {matchLabels: {app: server}}}}
  ingress:
  - {name: nobody, action: Deny, from: [{clusters: {}, namespaces: {}}]}
";
