//! From a node of Kubernetes to what the machine is.
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;

use crate::inventory::Machine;

/// Takes away what nobody here needs.
pub(super) fn trim(node: &mut Node) {
    node.metadata.annotations = None;
    if let Some(status) = &mut node.status {
        status.images = None;
        status.conditions = None;
    }
}

/// Its labels, and the addresses at which others reach it; names are left out.
#[must_use]
pub(super) fn machine(node: &Node) -> Machine {
    let said = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let reached = said.filter(|address| matches!(address.type_.as_str(), "InternalIP" | "ExternalIP"));
    let addresses = reached.filter_map(|address| address.address.parse().ok()).collect();
    Machine { labels: node.labels().clone(), addresses }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_addresses() {
        let mut node: Node = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "n1", "labels": {"zone": "a"}},
            "status": {"addresses": [
                {"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "192.0.2.1"},
                {"type": "InternalIP", "address": "2001:db8::1"}, {"type": "ExternalIP", "address": "198.51.100.1"}
            ], "images": [{"names": ["i"]}]}
        }))
        .unwrap();
        trim(&mut node);
        let machine = machine(&node);
        assert_eq!(machine.labels["zone"], "a");
        let wanted: Vec<std::net::IpAddr> =
            ["192.0.2.1", "2001:db8::1", "198.51.100.1"].map(|text| text.parse().unwrap()).into();
        assert_eq!(machine.addresses, wanted);
    }
}
