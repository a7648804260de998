//! What the hub says, shown to the people of a cluster. Written by the relay alone: whatever else is written there is
//! undone.
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::PolicyStatus;

/// A policy of the fleet. It is changed at the hub: `axle policy apply`.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[kube(
    group = "axle.dev",
    version = "v1alpha1",
    kind = "FleetPolicy",
    plural = "fleetpolicies",
    category = "axle",
    status = "PolicyStatus",
    derive = "PartialEq",
    doc = "A policy of the whole fleet, as the hub has it. Changes are made at the hub; those made here are undone.",
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.policy.tier"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.policy.priority"),
    printcolumn(
        name = "Programmed",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Programmed')].status"
    ),
    printcolumn(name = "Nodes", type_ = "string", json_path = ".status.nodes")
)]
pub struct FleetPolicySpec {
    /// Its uid at the hub.
    pub uid: String,
    /// The namespace in every cluster that it is about, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name at the hub.
    pub name: String,
    /// What a MeshNetworkPolicy that means the same would have as its `spec`. Absent where no such document does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<serde_json::Value>,
}

/// A cluster of the fleet. It is changed at the hub: `axle cluster`. Its labels there are its labels here.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[kube(
    group = "axle.dev",
    version = "v1alpha1",
    kind = "Cluster",
    plural = "clusters",
    category = "axle",
    status = "ClusterStatus",
    derive = "PartialEq",
    doc = "A cluster of the fleet, as the hub has it. Changes are made at the hub; those made here are undone.",
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Here", type_ = "boolean", json_path = ".status.here"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.nodes")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Its uid at the hub.
    pub uid: String,
    /// Where it is; may be empty.
    pub region: String,
    /// The address ranges of its workloads.
    pub prefixes: Vec<String>,
    /// What happens to a flow that no policy decides.
    pub default_action: String,
}

/// What is known of a cluster here.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
pub struct ClusterStatus {
    /// Whether it is this one.
    pub here: bool,
    /// How many nodes it has.
    pub nodes: u32,
}
