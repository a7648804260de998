//! What a cluster says of itself: its name, the addresses of its pods and services, and what gives pods their network.
use std::net::IpAddr;

use axle_core::model::Name;
use ipnet::IpNet;
use serde_json::Value;

use super::kubectl::{Kubectl, items, text};
use crate::failure::Failure;

/// Networks of pods, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) prefixes: Vec<IpNet>,
    pub(super) by: &'static str,
}

/// The name for a cluster whose context has this name: what is left when the names of users, projects and zones are off.
pub(super) fn name(context: &str) -> Option<Name> {
    let last = context.rsplit(['/', '@', ':']).next()?;
    let last = last.strip_prefix("gke_").and_then(|rest| rest.rsplit('_').next()).unwrap_or(last);
    Name::new(last.to_lowercase().replace(['_', '.'], "-")).ok()
}

/// The nodes' names and addresses.
pub(super) fn nodes(kubectl: &Kubectl) -> Result<Value, Failure> {
    kubectl.json(&["get", "nodes"])
}

/// Every address of a node, and whose it is.
pub(super) fn node_addresses(nodes: &Value) -> Vec<(IpAddr, String)> {
    let of_node = |node: &Value| {
        let name = text(node, "/metadata/name").to_owned();
        let addresses = node["status"]["addresses"].as_array().cloned().unwrap_or_default();
        addresses.into_iter().filter_map(move |one| Some((text(&one, "/address").parse().ok()?, name.clone())))
    };
    items(nodes).iter().flat_map(of_node).collect()
}

/// The region that all nodes are in; empty if there is no such.
pub(super) fn region(nodes: &Value) -> String {
    let label = |node| text(node, "/metadata/labels/topology.kubernetes.io~1region");
    let mut regions: Vec<_> = items(nodes).iter().map(label).collect();
    regions.dedup();
    if let [one] = regions[..] { one.to_owned() } else { String::new() }
}

/// The networks of pods, from who has the widest view of them: what a node that comes later gets must be in them too.
pub(super) fn prefixes(kubectl: &Kubectl, nodes: &Value) -> Result<Option<Found>, Failure> {
    let map = |name: &str| kubectl.json(&["get", "configmap", name, "--namespace", "kube-system"]);
    // Of who may not see it, or has no such kind, nothing is known.
    let found = |by, value: Result<Value, Failure>, read: &dyn Fn(&Value) -> Vec<IpNet>| {
        let prefixes = value.map(|value| read(&value)).unwrap_or_default();
        (!prefixes.is_empty()).then_some(Found { prefixes, by })
    };
    let pools = || kubectl.json(&["get", "ippools.crd.projectcalico.org"]);
    Ok(found("Cilium's configuration", map("cilium-config"), &of_cilium)
        .or_else(|| found("Calico's pools", pools(), &of_calico))
        .or_else(|| found("kubeadm's configuration", map("kubeadm-config"), &|map| setting(map, "podSubnet")))
        .or_else(|| found("kube-proxy's configuration", map("kube-proxy"), &|map| setting(map, "clusterCIDR")))
        .or_else(|| found("the nodes that are there", Ok(nodes.clone()), &of_nodes)))
}

/// The networks of services.
pub(super) fn service_ranges(kubectl: &Kubectl) -> Vec<IpNet> {
    let ranges = kubectl.json(&["get", "servicecidrs.networking.k8s.io"]).unwrap_or_default();
    items(&ranges).iter().flat_map(|range| networks(range["spec"]["cidrs"].as_array())).collect()
}

fn networks(list: Option<&Vec<Value>>) -> Vec<IpNet> {
    list.into_iter().flatten().filter_map(|one| one.as_str()?.parse().ok()).collect()
}

fn listed(text: &str) -> Vec<IpNet> {
    text.split([',', ' ']).filter_map(|one| one.trim_matches(['"', '\'']).parse().ok()).collect()
}

fn of_cilium(map: &Value) -> Vec<IpNet> {
    let data = |key: &str| listed(text(&map["data"], &format!("/{key}")));
    if text(&map["data"], "/ipam").starts_with("cluster-pool") {
        [data("cluster-pool-ipv4-cidr"), data("cluster-pool-ipv6-cidr")].concat()
    } else {
        Vec::new()
    }
}

fn of_calico(pools: &Value) -> Vec<IpNet> {
    let enabled = items(pools).iter().filter(|pool| pool["spec"]["disabled"] != true);
    enabled.filter_map(|pool| text(pool, "/spec/cidr").parse().ok()).collect()
}

fn of_nodes(nodes: &Value) -> Vec<IpNet> {
    let mut all: Vec<_> = items(nodes).iter().flat_map(|node| networks(node["spec"]["podCIDRs"].as_array())).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A setting of a YAML text in a ConfigMap, a list with commas.
fn setting(map: &Value, key: &str) -> Vec<IpNet> {
    let texts = map["data"].as_object().into_iter().flat_map(|data| data.values()).filter_map(Value::as_str);
    let lines = texts.flat_map(str::lines);
    let value = |line: &str| line.trim().strip_prefix(key)?.strip_prefix(':').map(|value| listed(value.trim()));
    lines.filter_map(value).find(|networks| !networks.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn names_come_from_contexts() {
        for (context, wanted) in [
            ("oslo", Some("oslo")),
            ("kind-Oslo", Some("kind-oslo")),
            ("kubernetes-admin@oslo", Some("oslo")),
            ("arn:aws:eks:eu-north-1:123456789012:cluster/oslo", Some("oslo")),
            ("gke_project_europe-north1_oslo", Some("oslo")),
            ("default/api-oslo-example:6443/admin", Some("admin")),
            ("a.b_c", Some("a-b-c")),
            ("ø", None),
        ] {
            assert_eq!(name(context).as_ref().map(Name::as_str), wanted, "{context}");
        }
    }

    #[test]
    fn networks_are_read_from_who_knows_them() {
        let kubeadm = json!({"data": {"ClusterConfiguration": "networking:\n  dnsDomain: a\n  podSubnet: 10.1.0.0/16,fd00:1::/48\n"}});
        assert_eq!(setting(&kubeadm, "podSubnet"), parsed(&["10.1.0.0/16", "fd00:1::/48"]));
        let proxy = json!({"data": {"config.conf": "clusterCIDR: \"\"\n", "more": "clusterCIDR: \"10.2.0.0/16\"\n"}});
        assert_eq!(setting(&proxy, "clusterCIDR"), parsed(&["10.2.0.0/16"]));
        assert_eq!(setting(&Value::Null, "clusterCIDR"), []);
        let mut cilium = json!({"data": {"ipam": "cluster-pool", "cluster-pool-ipv4-cidr": "10.3.0.0/16 10.4.0.0/16"}});
        assert_eq!(of_cilium(&cilium), parsed(&["10.3.0.0/16", "10.4.0.0/16"]));
        cilium["data"]["ipam"] = "kubernetes".into();
        assert_eq!(of_cilium(&cilium), [], "then the nodes' networks are the pods'");
        let pools =
            json!({"items": [{"spec": {"cidr": "10.5.0.0/16"}}, {"spec": {"cidr": "10.6.0.0/16", "disabled": true}}]});
        assert_eq!(of_calico(&pools), parsed(&["10.5.0.0/16"]));
        let nodes = json!({"items": [{"spec": {"podCIDRs": ["10.7.1.0/24"]}}, {"spec": {"podCIDRs": ["10.7.0.0/24"]}}, {"spec": {}}]});
        assert_eq!(of_nodes(&nodes), parsed(&["10.7.0.0/24", "10.7.1.0/24"]));
    }

    #[test]
    fn a_region_is_that_of_all_nodes() {
        let node = |region: &str| json!({"metadata": {"labels": {"topology.kubernetes.io/region": region}}});
        assert_eq!(region(&json!({"items": [node("north"), node("north")]})), "north");
        assert_eq!(region(&json!({"items": [node("north"), node("south")]})), "");
        let nodes = json!({"items": [{"metadata": {"name": "n1"}, "status": {"addresses": [
            {"type": "InternalIP", "address": "192.0.2.1"}, {"type": "Hostname", "address": "n1"}]}}]});
        assert_eq!(node_addresses(&nodes), [("192.0.2.1".parse().unwrap(), "n1".to_owned())]);
    }
}
