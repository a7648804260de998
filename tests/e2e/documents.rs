//! The documents that the tests apply. JSON is YAML.
use serde_json::{Value, json};

/// A document with its kind and metadata.
pub(crate) fn document(kind: &str, metadata: Value, spec: Value) -> Value {
    json!({"apiVersion": "axle.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

/// The workloads with this label, of the policy's own clusters.
pub(crate) fn pods(key: &str, value: &str) -> Value {
    json!({"pods": {"podSelector": {"matchLabels": {key: value}}}})
}

/// The same as a peer, of all clusters.
pub(crate) fn peers(key: &str, value: &str) -> Value {
    json!({"clusters": {}, "pods": {"podSelector": {"matchLabels": {key: value}}}})
}

/// An Admin policy about the workloads `app`, with rules as the document has them.
pub(crate) fn policy(name: &str, app: &str, ingress: Option<Value>, egress: Option<Value>) -> String {
    let mut spec = json!({"tier": "Admin", "priority": 10, "subject": pods("app", app)});
    for (direction, rules) in [("ingress", ingress), ("egress", egress)] {
        if let Some(rules) = rules {
            spec[direction] = rules;
        }
    }
    document("MeshNetworkPolicy", json!({"name": name}), spec).to_string()
}

/// Denies the workloads `app` what comes from `from`.
pub(crate) fn deny_from(name: &str, app: &str, from: Value) -> String {
    policy(name, app, Some(json!([{"action": "Deny", "from": [from]}])), None)
}

/// Lets only `from` reach the workloads `app`, of all workloads.
pub(crate) fn only_from(name: &str, app: &str, from: Value) -> String {
    let everybody = json!({"clusters": {}, "namespaces": {}});
    let rules = json!([{"action": "Accept", "from": [from]}, {"action": "Deny", "from": [everybody]}]);
    policy(name, app, Some(rules), None)
}

/// The service `web` of the namespace `shop`, and its export: the answers are the name of a file and its text.
pub(crate) fn exported_service() -> [(&'static str, String); 2] {
    let ports = json!([{"name": "http", "port": 80}, {"name": "echo", "port": 7, "protocol": "UDP"}]);
    let name = json!({"name": "web", "namespace": "shop"});
    [
        ("service", document("Service", name.clone(), json!({"selector": {"app": "web"}, "ports": ports})).to_string()),
        ("export", document("ServiceExport", name, json!({})).to_string()),
    ]
}
