//! The kinds of resource that the agent brings to Kubernetes. `charts/axle-agent/crds` has them as YAML, made from these
//! types.
#![allow(unreachable_pub, reason = "a derived schema has a copy of its type inside a function")]
#![allow(clippy::duplicated_attributes, reason = "several columns are of one type")]

mod condition;
mod fleet;
mod mesh_network_policy;
mod multicluster;
mod selector;

pub use condition::{Condition, PolicyStatus, Truth};
pub use fleet::{Cluster, ClusterSpec, ClusterStatus, FleetPolicy, FleetPolicySpec};
pub use mesh_network_policy::{MeshNetworkPolicy, MeshNetworkPolicySpec};
pub use multicluster::{
    ClientIpConfig, Exporter, ImportType, ImportedPort, Presence, ServiceExport, ServiceExportSpec,
    ServiceExportStatus, ServiceImport, ServiceImportSpec, ServiceImportStatus, SessionAffinityConfig,
};

use kube::CustomResourceExt as _;
use serde_json::{Map, Value, json};

const KEEP_UNKNOWN: &str = "x-kubernetes-preserve-unknown-fields";

/// The definition of every kind, as a document for the API server.
///
/// # Errors
/// None that these types can bring about.
pub fn definitions() -> serde_json::Result<Vec<Value>> {
    Ok(vec![
        definition(&MeshNetworkPolicy::crd(), |spec| {
            each_schema(spec, &keep_unknown);
            each_schema(spec, &one_peer);
        })?,
        definition(&FleetPolicy::crd(), written_whole)?,
        definition(&Cluster::crd(), written_whole)?,
        served_as(&["v1alpha1"], definition(&ServiceExport::crd(), |_| {})?),
        served_as(&["v1alpha1"], definition(&ServiceImport::crd(), |_| {})?),
    ])
}

/// Serves objects by the names of older versions too, which had the same fields.
fn served_as(older: &[&str], mut document: Value) -> Value {
    if let Some(versions) = document["spec"]["versions"].as_array_mut()
        && let Some(stored) = versions.first().cloned()
    {
        versions.extend(older.iter().map(|name| {
            let mut version = stored.clone();
            (version["name"], version["storage"]) = ((*name).into(), false.into());
            version
        }));
    }
    document
}

fn definition(crd: &impl serde::Serialize, finish: fn(&mut Value)) -> serde_json::Result<Value> {
    let mut document = serde_json::to_value(crd)?;
    for version in document["spec"]["versions"].as_array_mut().into_iter().flatten() {
        let schema = &mut version["schema"]["openAPIV3Schema"];
        each_schema(schema, &tidy);
        let spec = &mut schema["properties"]["spec"];
        finish(spec);
        if spec.get("required").is_none()
            && let Some(root) = schema.as_object_mut()
        {
            root.remove("required"); // A specification that may be empty may be absent.
        }
    }
    Ok(document)
}

/// A schema and every one inside it.
fn each_schema(schema: &mut Value, change: &impl Fn(&mut Map<String, Value>)) {
    let Value::Object(map) = schema else { return };
    change(map);
    for inner in ["items", "additionalProperties"] {
        map.get_mut(inner).into_iter().for_each(|schema| each_schema(schema, change));
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(|schema| each_schema(schema, change));
    }
}

/// As Kubernetes wants it: a null is no absent field, widths of integers are their bounds, and what can be anything is
/// said to be.
fn tidy(schema: &mut Map<String, Value>) {
    schema.remove("nullable");
    if schema.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        schema.remove("format");
    }
    for bound in ["minimum", "maximum"] {
        if let Some(number) = schema.get_mut(bound)
            && let Some(whole) = number.as_f64().filter(|number| number.fract() == 0.0)
        {
            *number = (whole as i64).into();
        }
    }
    if !schema.contains_key("type") {
        schema.insert(KEEP_UNKNOWN.into(), true.into());
    }
}

/// A field that the schema does not have is kept, and one that is null, so that the strict reader sees and refuses it. The
/// API server would cut it out instead: a selector with a misspelt field would select everything.
fn keep_unknown(schema: &mut Map<String, Value>) {
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |name: &String| required.as_array().is_some_and(|names| names.iter().any(|one| one == name));
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for (_, property) in properties.iter_mut().filter(|(name, _)| !is_required(name)) {
        property["nullable"] = true.into();
    }
    schema.insert(KEEP_UNKNOWN.into(), true.into());
}

/// Rules in CEL do not see a field whose items can be texts or mappings, and here one is.
fn one_peer(schema: &mut Map<String, Value>) {
    if schema.get("properties").is_some_and(|properties| properties.get("networks").is_some()) {
        let peers = ["namespaces", "pods", "networks", "nodes", "service", "identities", "domainNames"];
        schema.insert("oneOf".into(), peers.map(|peer| json!({ "required": [peer] })).as_slice().into());
        schema.insert("not".into(), json!({"required": ["clusters", "networks"]}));
    }
}

/// One writer writes all of it: what another one adds does not outlast the next time.
fn written_whole(spec: &mut Value) {
    spec["x-kubernetes-map-type"] = "atomic".into();
}

#[cfg(test)]
mod tests;
