//! Objects as JSON, for operators who read the database with SQL. Never read back.
use axle_core::model::{Resource, ServicePort};
use serde_json::{Value, json};

pub(super) fn of(resource: &Resource) -> Value {
    let texts = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>();
    match resource {
        Resource::Fleet(fleet) => json!({
            "vip4": fleet.vip4, "vip6": fleet.vip6, "excludedLabelKeys": fleet.excluded_label_keys,
        }),
        Resource::Cluster(cluster) => json!({
            "name": cluster.name, "region": cluster.region, "labels": cluster.labels, "prefixes": cluster.prefixes,
            "defaultAction": format!("{:?}", cluster.default_action),
        }),
        Resource::Node(node) => json!({ "name": node.name, "labels": node.labels, "addresses": node.addresses }),
        Resource::Namespace(namespace) => json!({ "name": namespace.name, "labels": namespace.labels }),
        Resource::Endpoint(endpoint) => json!({
            "namespace": endpoint.namespace, "name": endpoint.name, "node": endpoint.node,
            "serviceAccount": endpoint.service_account, "labels": endpoint.labels, "addresses": endpoint.addresses,
            "startedMs": endpoint.started_ms, "ready": endpoint.ready,
            "namedPorts": endpoint.named_ports.iter()
                .map(|port| json!({ "name": port.name, "protocol": format!("{:?}", port.protocol), "port": port.port }))
                .collect::<Vec<_>>(),
        }),
        Resource::ServiceExport(export) => json!({
            "namespace": export.namespace, "name": export.name, "createdMs": export.created_ms,
            "selector": export.selector, "ports": export.ports.iter().map(service_port).collect::<Vec<_>>(),
            "affinity": format!("{:?}", export.affinity), "weight": export.weight,
        }),
        Resource::ServiceImport(import) => json!({
            "namespace": import.namespace, "name": import.name, "vips": import.vips,
            "ports": import.ports.iter().map(service_port).collect::<Vec<_>>(),
            "clusters": texts(&mut import.clusters.iter().map(ToString::to_string)),
            "conflicts": import.conflicts.iter()
                .map(|conflict| json!({
                    "cluster": conflict.cluster.to_string(), "reason": conflict.reason, "message": conflict.message,
                }))
                .collect::<Vec<_>>(),
        }),
        Resource::Policy(policy) => json!({
            "name": policy.name, "namespace": policy.namespace, "tier": format!("{:?}", policy.tier),
            "priority": policy.priority, "enforcement": format!("{:?}", policy.enforcement),
            "disabled": policy.disabled, "description": policy.description, "owner": policy.owner,
            "ingressRules": policy.ingress.as_ref().map(Vec::len), "egressRules": policy.egress.as_ref().map(Vec::len),
        }),
        // Of these the hub takes none.
        Resource::Service(_) | Resource::EndpointSlice(_) => Value::Null,
        Resource::PolicyTest(test) => json!({
            "name": test.name, "description": test.description, "assertions": test.assertions.len(),
        }),
    }
}

fn service_port(port: &ServicePort) -> Value {
    let target = match &port.target {
        axle_core::model::PortTarget::Number(number) => json!(number),
        axle_core::model::PortTarget::Name(name) => json!(name),
    };
    json!({ "name": port.name, "protocol": format!("{:?}", port.protocol), "port": port.port, "target": target })
}
