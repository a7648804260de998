//! The ways between the pods of two clusters: cut by a policy, missing, and with source addresses that are rewritten.
use std::process::Command;

use anyhow::{Context as _, ensure};
use axle_tests::{
    eventually,
    fleet::{Fleet, PATIENCE, Settings, scenario},
    kubernetes::Cluster,
    process::{Place, run},
};
use serde_json::Value;

use crate::{
    installed::{address, gets, is_cut},
    operator::{Operator, bare},
    pods::{server, sleeper},
};

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn ways_that_are_missing_or_rewrite_are_told_and_nodes_are_no_peers_of_labels() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let oslo = bare(fleet, "oslo", 1, 1)?;
        let lima = bare(fleet, "lima", 2, 1)?;
        let operator = Operator::new(fleet, &[("oslo", oslo.admin()), ("lima", lima.admin())])?;
        for (name, number) in [("oslo", 1), ("lima", 2)] {
            let prefixes = format!("--prefix 10.{number}.0.0/16 --prefix fd00:{number}::/48");
            operator.json(fleet, &format!("cluster join --context {name} {prefixes}"))?;
        }
        a_denial_is_no_missing_route(fleet, &operator)?;
        a_missing_route(fleet, &operator, &oslo)?;
        a_node_that_masquerades(fleet, &operator, &oslo, &lima)
    })
}

/// The states of probes from one cluster, with their details.
fn states(fleet: &Fleet, operator: &Operator, context: &str, from: &str) -> anyhow::Result<Vec<(String, String)>> {
    let outcome = operator.tries(fleet, &format!("cluster check --context {context} -o json"))?;
    let report: Value = serde_json::from_str(&outcome.out).with_context(|| outcome.err.clone())?;
    let probes = report["probes"].as_array().context("no probes")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = probes.iter().filter(|probe| text(&probe["from"]).starts_with(from));
    let found: Vec<_> = of.map(|probe| (text(&probe["state"]), text(&probe["detail"]))).collect();
    ensure!(!found.is_empty(), "{report}");
    let is_well = probes.iter().all(|probe| probe["state"] == "passes");
    ensure!(outcome.code == Some(if is_well { 0 } else { 3 }), "{:?}: {report}", outcome.code);
    Ok(found)
}

fn all_are(found: &[(String, String)], state: &str, detail: &str) -> anyhow::Result<()> {
    let is_it = |(its, said): &(String, String)| its == state && said.contains(detail);
    ensure!(found.iter().all(is_it), "wanted {state} with {detail:?}: {found:?}");
    Ok(())
}

fn a_denial_is_no_missing_route(fleet: &Fleet, operator: &Operator) -> anyhow::Result<()> {
    fleet.hub.apply(CUT)?;
    all_are(&states(fleet, operator, "oslo", "oslo/")?, "denied", "cut nobody")?;
    fleet.hub.axle(&["policy", "delete", "cut"])?;
    eventually("the way to be free again", PATIENCE, || {
        all_are(&states(fleet, operator, "oslo", "oslo/")?, "passes", "")
    })
}

fn a_missing_route(fleet: &Fleet, operator: &Operator, oslo: &Cluster) -> anyhow::Result<()> {
    let node = &oslo.nodes[0].host.netns;
    node.ip("route add blackhole 10.2.0.0/16\nroute add blackhole fd00:2::/48\n")?;
    all_are(&states(fleet, operator, "oslo", "oslo/")?, "silent", "the way there or back is missing")?;
    all_are(&states(fleet, operator, "oslo", "lima/")?, "unknown", "")?;
    operator.ends(
        fleet,
        "cluster check --context oslo",
        3,
        &["NO ROUTE", "must lead 10.2.0.0/16, fd00:2::/48 to the nodes of lima"],
    )?;
    node.ip("route del blackhole 10.2.0.0/16\nroute del blackhole fd00:2::/48\n")?;
    all_are(&states(fleet, operator, "oslo", "oslo/")?, "passes", "")
}

fn a_node_that_masquerades(fleet: &Fleet, operator: &Operator, oslo: &Cluster, lima: &Cluster) -> anyhow::Result<()> {
    oslo.admin().apply(&server("server"))?;
    lima.admin().apply(&sleeper("client"))?;
    for cluster in [oslo, lima] {
        cluster.admin().run(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"])?;
    }
    let node = &lima.nodes[0].host;
    let there = format!("{}:8080", address(oslo, "server")?);
    fleet.hub.apply(CLIENTS)?;
    gets(lima, "client", &there)?;

    for (family, pods, others) in [("ip", "10.2.0.0/16", "10.1.0.0/16"), ("ip6", "fd00:2::/48", "fd00:1::/48")] {
        nft(lima, &format!("add table {family} masquerades"))?;
        nft(lima, &format!("add chain {family} masquerades out {{ type nat hook postrouting priority 100; }}"))?;
        nft(
            lima,
            &format!("add rule {family} masquerades out {family} saddr {pods} {family} daddr {others} masquerade"),
        )?;
    }
    // The pod has the label, and what arrives has its node's address.
    is_cut(lima, "client", &there)?;
    let own = format!("arrives as {}, node lima1", node.addresses[0]);
    let found = states(fleet, operator, "lima", "lima/")?;
    ensure!(found.iter().any(|(_, detail)| detail.contains(&own)), "{own} in {found:?}");
    all_are(&found, "rewritten", "node lima1")?;
    all_are(&states(fleet, operator, "lima", "oslo/")?, "passes", "")?;
    // From the other end it is seen as well.
    all_are(&states(fleet, operator, "oslo", "lima/")?, "rewritten", "")?;
    operator.ends(
        fleet,
        "cluster check --context lima",
        3,
        &["REWRITTEN", "must not masquerade what goes to 10.1.0.0/16, fd00:1::/48"],
    )?;

    // Who means nodes says so.
    fleet.hub.apply(NODES)?;
    gets(lima, "client", &there)
}

fn nft(cluster: &Cluster, line: &str) -> anyhow::Result<()> {
    let place = Place { netns: Some(cluster.nodes[0].host.netns.path()), cgroup: None };
    let mut nft = Command::new("nft");
    place.put(nft.arg(line))?;
    run(&mut nft).map(drop)
}

const CUT: &str = "
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {name: cut}
spec:
  tier: Admin
  priority: 10
  subject: {clusters: {names: [lima]}, pods: {podSelector: {matchLabels: {app.kubernetes.io/name: axle-relay}}}}
  ingress:
  - {name: nobody, action: Deny, from: [{clusters: {names: [oslo]}, namespaces: {}}]}
";

const CLIENTS: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: clients, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]
";

const NODES: &str = "
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {name: nodes}
spec:
  tier: Admin
  priority: 10
  subject: {pods: {podSelector: {matchLabels: {app: server}}}}
  ingress:
  - {name: nodes, action: Accept, from: [{clusters: {}, nodes: {}}]}
";
