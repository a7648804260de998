//! Policies in the words of Kubernetes: from the inventory folder of a cluster, and at the hub.
use std::{thread, time::Duration};

use anyhow::ensure;
use axle_tests::{
    eventually::eventually,
    fleet::{PATIENCE, Settings, scenario},
};
use serde_json::{Value, json};

use crate::{
    documents::{deny_from, peers, policy},
    pair::Pair,
};

/// A NetworkPolicy of the namespace of all workloads: only `app: from` reaches `app: server`.
fn network_policy(from: &str) -> String {
    let pods = |app: &str| json!({"matchLabels": {"app": app}});
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "server", "namespace": "shop", "labels": {"a": "b"}, "resourceVersion": "7"},
        "spec": {"podSelector": pods("server"), "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"podSelector": pods(from)}]}]}, "status": {}})
    .to_string()
}

/// A ClusterNetworkPolicy: nobody sends to `app: server`.
fn cluster_policy(action: &str) -> String {
    let server = json!({"pods": {"podSelector": {"matchLabels": {"app": "server"}}}});
    json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": "guard"},
        "spec": {"tier": "Admin", "priority": 3, "subject": {"namespaces": {}},
            "egress": [{"name": "no", "action": action, "to": [server]}]}})
    .to_string()
}

#[test]
fn policies_of_the_inventory_folder() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        let (from, to) = (&pair.client, pair.server.v4());
        from.reaches(to)?;
        // What the relay finds in its folder is in force on the other node, and the hub shows it as the cluster's.
        pair.first.inventory("policy", &network_policy("other"))?;
        from.is_cut_from(to)?;
        let shown = |names: &[&str]| {
            eventually("the policies of the cluster", PATIENCE, || {
                let policies: Value = serde_json::from_str(&fleet.hub.axle(&["policy", "list", "-o", "json"])?)?;
                let policies = policies.as_array().into_iter().flatten();
                let of_alpha = policies.filter(|policy| policy["cluster"] == "alpha");
                let found: Vec<_> = of_alpha.filter_map(|policy| policy["name"].as_str()).collect();
                ensure!(found == names, "{found:?}");
                Ok(())
            })
        };
        shown(&["server"])?;
        pair.first.inventory("policy", &network_policy("client"))?;
        from.reaches(to)?;
        pair.first.inventory("guard", &cluster_policy("Deny"))?;
        from.is_cut_from(to)?;
        shown(&["guard", "server"])?;
        // While a file cannot be understood, nothing that was known is taken away.
        pair.first.inventory("guard", &cluster_policy("Refuse"))?;
        thread::sleep(Duration::from_secs(1));
        from.is_cut_from(to)?;
        shown(&["guard", "server"])?;
        pair.first.inventory("guard", &cluster_policy("Pass"))?;
        from.reaches(to)?;
        pair.first.forget("policy")?;
        shown(&["guard"])
    })
}

#[test]
fn a_network_policy_at_the_hub_is_about_its_namespace() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        let to = pair.server.v4();
        fleet.hub.apply(&network_policy("other"))?;
        pair.client.is_cut_from(to)?;
        let shown = fleet.hub.axle(&["policy", "show", "shop/server"])?;
        ensure!(shown.contains("tier: Namespace") && shown.contains("namespace: shop"), "{shown}");
        fleet.hub.apply(&shown)?;
        fleet.hub.axle(&["policy", "disable", "shop/server", "--wait"])?;
        pair.client.reaches(to)?;
        fleet.hub.axle(&["policy", "delete", "shop/server", "--wait"])?;
        pair.client.reaches(to)?;
        Ok(())
    })
}

/// The data plane does not learn the addresses of names yet: a node says so of a policy that needs it, takes nothing of its
/// revision, and takes the next one.
#[test]
fn a_policy_by_domain_name_is_refused_by_nodes() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        let rules = json!([{"action": "Accept", "to": [{"domainNames": ["*.example.com"]}]}]);
        let named = policy("names", "client", None, Some(rules));
        let cut = deny_from("cut", "server", peers("app", "client"));
        let file = fleet.hub.file("names.yaml", &format!("{named}\n---\n{cut}"))?;
        let outcome = fleet.hub.try_axle(&["policy", "apply", "-f", &file, "--wait"])?;
        ensure!(outcome.code == Some(6), "apply ended with {:?}: {}{}", outcome.code, outcome.out, outcome.err);
        ensure!(outcome.err.contains("domain-names"), "it does not say why: {}", outcome.err);
        pair.client.reaches(pair.server.v4())?;
        fleet.hub.axle(&["policy", "delete", "names"])?;
        fleet.hub.apply(&deny_from("cut-again", "server", peers("app", "client")))?;
        pair.client.is_cut_from(pair.server.v4())
    })
}
