//! The documents that people write: strict YAML in, the model out, and back.
//!
//! Every document has an `apiVersion` and a `kind`: ours are of `axle.dev/v1alpha1`, and the policies of Kubernetes are
//! understood as they are. Nothing is guessed: an unknown field, a missing one
//! or a wrong value is a [`Violation`] that says what, where, what was wanted and how to mend it, and all violations of
//! a text are reported at once.
mod blocks;
pub mod cilium;
mod cluster;
mod cluster_network_policy;
mod inventory;
mod kubernetes;
mod labels;
mod network_policy;
mod policy;
mod policy_test;
mod ports;
mod print;
mod reader;
mod rules;
mod selectors;
mod services;
mod tree;
mod violation;

pub use cilium::import_cilium;
pub use cluster::ClusterDocument;
pub use inventory::{Incarnation, NAMESPACE_NAME_LABEL, Workload};
pub use labels::{is_key as is_label_key, is_value as is_label_value};
pub use print::print_policy;
pub use reader::suggest;
pub use services::{Export, Service};
pub use violation::Violation;

use crate::model::{EndpointSlice, Namespace, Policy, PolicyTest};
use reader::{At, Faults};
use tree::Node;

/// The API group and version of our own documents.
pub const API_VERSION: &str = "axle.dev/v1alpha1";

/// One document, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// A policy of one of [`Document::POLICIES`]. Whose it is (the fleet's or a cluster's) follows from the door it came
    /// through, not from its text.
    Policy(Policy),
    /// `PolicyTest`.
    PolicyTest(PolicyTest),
    /// `Namespace`, with the label `kubernetes.io/metadata.name` added.
    Namespace(Namespace),
    /// `Workload`.
    Workload(Workload),
    /// `Service`.
    Service(Service),
    /// `ServiceExport`.
    ServiceExport(Export),
    /// `EndpointSlice`: from Kubernetes alone, never from a text.
    EndpointSlice(EndpointSlice),
    /// `Cluster`: for who has no hub to ask; an agent passes over it.
    Cluster(ClusterDocument),
}

impl Document {
    /// The kinds of policy, in their own words.
    pub const POLICIES: [&str; 3] = ["MeshNetworkPolicy", "NetworkPolicy", "ClusterNetworkPolicy"];
    /// Every kind, and the API that it is of.
    const KINDS: [(&str, &str); 9] = [
        ("MeshNetworkPolicy", API_VERSION),
        ("NetworkPolicy", "networking.k8s.io/v1"),
        ("ClusterNetworkPolicy", "policy.networking.k8s.io/v1alpha2"),
        ("Namespace", API_VERSION),
        ("Workload", API_VERSION),
        ("Service", API_VERSION),
        ("ServiceExport", API_VERSION),
        ("PolicyTest", API_VERSION),
        ("Cluster", API_VERSION),
    ];

    /// The document's kind, as it is written; a policy's of whichever kind is `Policy`, since all share their names.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Policy(_) => "Policy",
            Self::PolicyTest(_) => "PolicyTest",
            Self::Namespace(_) => "Namespace",
            Self::Workload(_) => "Workload",
            Self::Service(_) => "Service",
            Self::ServiceExport(_) => "ServiceExport",
            Self::EndpointSlice(_) => "EndpointSlice",
            Self::Cluster(_) => "Cluster",
        }
    }
}

/// Reads every document of a YAML text. A text without any document gives an empty list.
///
/// # Errors
/// All violations, in the order of the text; a text that is no YAML has one.
pub fn parse(text: &str) -> Result<Vec<Document>, Vec<Violation>> {
    with_nodes(text, read)
}

/// Whoever is to be told what is wrong is told where, so what is not understood as JSON is read as the YAML that it is.
fn with_nodes<T>(text: &str, read: impl Fn(&[Node]) -> Result<T, Vec<Violation>>) -> Result<T, Vec<Violation>> {
    match tree::json(text).map(|node| read(&[node])) {
        Some(Ok(value)) => Ok(value),
        _ => read(&tree::parse(text)?),
    }
}

fn read(nodes: &[Node]) -> Result<Vec<Document>, Vec<Violation>> {
    let mut faults = Faults::default();
    let items: Vec<At<'_>> = nodes.iter().flat_map(|node| kubernetes::items(&At::root(node), &mut faults)).collect();
    let documents: Vec<Document> = items.iter().filter_map(|at| document(at, &mut faults)).collect();
    faults.none_or(documents)
}

/// What is applied together: policies, and tests of them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Applied {
    /// The policies.
    pub policies: Vec<Policy>,
    /// The tests.
    pub tests: Vec<PolicyTest>,
}

/// Reads a text that holds policies and nothing else, at least one.
///
/// # Errors
/// As [`parse_applied`]; a test is a violation too.
pub fn parse_policies(text: &str) -> Result<Vec<Policy>, Vec<Violation>> {
    Ok(with_nodes(text, |nodes| read_applied(nodes, false))?.policies)
}

/// Reads a text that holds policies and tests of policies and nothing else, at least one.
///
/// # Errors
/// As [`parse`]; a document of another kind and a text without documents are violations too.
pub fn parse_applied(text: &str) -> Result<Applied, Vec<Violation>> {
    with_nodes(text, |nodes| read_applied(nodes, true))
}

fn read_applied(nodes: &[Node], with_tests: bool) -> Result<Applied, Vec<Violation>> {
    let mut faults = Faults::default();
    if nodes.is_empty() {
        faults.add(Violation {
            code: "missing-document",
            line: 1,
            column: 1,
            field: String::new(),
            got: "a text without documents".into(),
            want: "at least one policy".into(),
            fix: "check that the right file was given".into(),
        });
    }
    let mut applied = Applied::default();
    let items: Vec<At<'_>> = nodes.iter().flat_map(|node| kubernetes::items(&At::root(node), &mut faults)).collect();
    for at in items {
        match document(&at, &mut faults) {
            Some(Document::Policy(policy)) => applied.policies.push(policy),
            Some(Document::PolicyTest(test)) if with_tests => applied.tests.push(test),
            Some(other) => faults.add(Violation {
                code: "unknown-kind",
                fix: format!("put {} documents into the inventory of an agent", other.kind()),
                ..at.violation(other.kind(), format!("kind {}", Document::POLICIES.join(" or ")))
            }),
            None => {}
        }
    }
    faults.none_or(applied)
}

fn document(at: &At<'_>, faults: &mut Faults) -> Option<Document> {
    let map = at.map(faults)?;
    let version_at = map.required("apiVersion", faults);
    let kinds = Document::KINDS.map(|kind| (kind.0, kind));
    let (kind, of) = map.required("kind", faults).and_then(|at| at.choice(&kinds, faults))?;
    let version = version_at.and_then(|at| at.choice(&[(of, ())], faults));
    let document = match kind {
        "MeshNetworkPolicy" => policy::read(&map, faults).map(Document::Policy),
        "NetworkPolicy" => network_policy::read(&map, faults).map(Document::Policy),
        "ClusterNetworkPolicy" => cluster_network_policy::read(&map, faults).map(Document::Policy),
        "PolicyTest" => policy_test::read(&map, faults).map(Document::PolicyTest),
        "Namespace" => inventory::namespace(&map, faults).map(Document::Namespace),
        "Workload" => inventory::workload(&map, faults).map(Document::Workload),
        "Cluster" => cluster::read(&map, faults).map(Document::Cluster),
        "Service" => services::service(&map, faults).map(Document::Service),
        _ => services::export(&map, faults).map(Document::ServiceExport),
    };
    version.and(document)
}

#[cfg(test)]
mod tests;
