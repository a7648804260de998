//! The documents that people write: strict YAML in, the model out, and back.
//!
//! Every document has `apiVersion: axle.dev/v1alpha1` and a `kind`. Nothing is guessed: an unknown field, a missing one
//! or a wrong value is a [`Violation`] that says what, where, what was wanted and how to mend it, and all violations of
//! a text are reported at once.
mod inventory;
mod labels;
mod policy;
mod print;
mod reader;
mod tree;
mod violation;

pub use inventory::{Export, NAMESPACE_NAME_LABEL, Service, Workload};
pub use print::print_policy;
pub use reader::suggest;
pub use violation::Violation;

use crate::model::{Namespace, Policy};
use reader::{At, Faults};

/// The API group and version of every document.
pub const API_VERSION: &str = "axle.dev/v1alpha1";

/// One document, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// `MeshNetworkPolicy`: a policy of the Admin or Baseline tier. Whose it is (the fleet's or a cluster's) follows
    /// from the door it came through, not from its text.
    MeshNetworkPolicy(Policy),
    /// `Namespace`, with the label `kubernetes.io/metadata.name` added.
    Namespace(Namespace),
    /// `Workload`.
    Workload(Workload),
    /// `Service`.
    Service(Service),
    /// `ServiceExport`.
    ServiceExport(Export),
}

impl Document {
    const KINDS: [&str; 5] = ["MeshNetworkPolicy", "Namespace", "Workload", "Service", "ServiceExport"];

    /// The document's kind, as it is written.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::MeshNetworkPolicy(_) => "MeshNetworkPolicy",
            Self::Namespace(_) => "Namespace",
            Self::Workload(_) => "Workload",
            Self::Service(_) => "Service",
            Self::ServiceExport(_) => "ServiceExport",
        }
    }
}

/// Reads every document of a YAML text. A text without any document gives an empty list.
///
/// # Errors
/// All violations, in the order of the text; a text that is no YAML has one.
pub fn parse(text: &str) -> Result<Vec<Document>, Vec<Violation>> {
    let nodes = tree::parse(text)?;
    let mut faults = Faults::default();
    let documents: Vec<Document> = nodes.iter().filter_map(|node| document(&At::root(node), &mut faults)).collect();
    faults.none_or(documents)
}

/// Reads a text that holds policies and nothing else, at least one.
///
/// # Errors
/// As [`parse`]; a document of another kind and a text without documents are violations too.
pub fn parse_policies(text: &str) -> Result<Vec<Policy>, Vec<Violation>> {
    let nodes = tree::parse(text)?;
    let mut faults = Faults::default();
    if nodes.is_empty() {
        faults.add(Violation {
            code: "missing-document",
            line: 1,
            column: 1,
            field: String::new(),
            got: "a text without documents".into(),
            want: "at least one MeshNetworkPolicy".into(),
            fix: "check that the right file was given".into(),
        });
    }
    let mut policies = Vec::new();
    for node in &nodes {
        let at = At::root(node);
        match document(&at, &mut faults) {
            Some(Document::MeshNetworkPolicy(policy)) => policies.push(policy),
            Some(other) => faults.add(Violation {
                code: "unknown-kind",
                fix: format!("put {} documents into the inventory of an agent", other.kind()),
                ..at.violation(other.kind(), "kind MeshNetworkPolicy")
            }),
            None => {}
        }
    }
    faults.none_or(policies)
}

fn document(at: &At<'_>, faults: &mut Faults) -> Option<Document> {
    let map = at.map(faults)?;
    let version = map.required("apiVersion", faults).and_then(|at| at.choice(&[(API_VERSION, ())], faults));
    let kinds = Document::KINDS.map(|kind| (kind, kind));
    let kind = map.required("kind", faults).and_then(|at| at.choice(&kinds, faults))?;
    let document = match kind {
        "MeshNetworkPolicy" => policy::read(&map, faults).map(Document::MeshNetworkPolicy),
        "Namespace" => inventory::namespace(&map, faults).map(Document::Namespace),
        "Workload" => inventory::workload(&map, faults).map(Document::Workload),
        "Service" => inventory::service(&map, faults).map(Document::Service),
        _ => inventory::export(&map, faults).map(Document::ServiceExport),
    };
    version.and(document)
}

#[cfg(test)]
mod tests;
