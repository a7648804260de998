//! ServiceExport of the Multi-Cluster Services API: the wish, and what is said of it.
//!
//! Source: KEP-1645, conditions `Valid`, `Ready` and `Conflict` with their reasons.
use std::collections::BTreeSet;

use axle_core::{
    manifest::{Document, Export},
    model::{Name, ServiceConflict, ServiceImport, Uid},
};

use super::{
    conditions::{Said, said},
    crd::{ServiceExport, ServiceExportSpec, Truth},
    raw::Raw,
    watch::{Held, complaint, is_known},
};
use crate::inventory::Inventory;

/// The wish that an object is. As old as the object, since the oldest export wins conflicts.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn wish(object: &Raw<ServiceExport>) -> Result<Export, String> {
    let meta = &object.metadata;
    let title = || {
        let [namespace, name] = [&meta.namespace, &meta.name].map(|part| part.clone().unwrap_or_default());
        format!("ServiceExport {namespace}/{name}")
    };
    let name = |part: &Option<String>| {
        Name::new(part.clone().unwrap_or_default()).map_err(|error| format!("{}: {error}", title()))
    };
    let spec = object.spec.clone().map(serde_json::from_value::<ServiceExportSpec>).transpose();
    let spec = spec.map_err(|error| format!("{}: {error}", title()))?.unwrap_or_default();
    let created = meta.creation_timestamp.as_ref().map(|time| time.0.as_millisecond());
    Ok(Export {
        created_ms: created.and_then(|created| u64::try_from(created).ok()),
        labels: spec.exported_labels.unwrap_or_default(),
        annotations: spec.exported_annotations.unwrap_or_default(),
        ..Export::new(name(&meta.namespace)?, name(&meta.name)?)
    })
}

/// The exports of the API server as a part of the inventory. Where the kind is not installed there are none.
pub(super) fn inventory(held: &Held<Raw<ServiceExport>>) -> Inventory {
    let mut inventory = Inventory { complete: is_known(held), listed: is_known(held), ..Inventory::default() };
    for object in held.objects.values() {
        match wish(object) {
            Ok(wish) => inventory.documents.push(Document::ServiceExport(wish)),
            Err(problem) => {
                inventory.complete = false;
                inventory.problems.push(problem);
            }
        }
    }
    inventory.problems.extend(complaint(held));
    inventory
}

/// Why the log has no export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// There is no Service of its name.
    NoService,
    /// The Service is of the type ExternalName, which has no backends.
    ExternalName,
    /// The Service is there: it is taken soon.
    Pending,
}

/// What is said of an export that is in the log, or why it is not, and of which the hub made `import`. `own` is this cluster.
#[must_use]
pub fn conditions(missing: Option<Missing>, import: Option<&ServiceImport>, own: Uid) -> [Said; 3] {
    let valid = match missing {
        Some(Missing::NoService) => {
            let message = "there is no Service of the same namespace and name: nothing is exported";
            said("Valid", Truth::False, "NoService", message.into())
        }
        Some(Missing::ExternalName) => {
            let message = "a Service of the type ExternalName has no backends to offer: nothing is exported";
            said("Valid", Truth::False, "InvalidServiceType", message.into())
        }
        Some(Missing::Pending) | None => said("Valid", Truth::True, "Valid", String::new()),
    };
    let import = import.filter(|import| missing.is_none() && import.clusters.contains(&own));
    let ready = match (import, missing) {
        (Some(_), _) => said("Ready", Truth::True, "Exported", String::new()),
        (None, None) => said("Ready", Truth::False, "Pending", "the hub does not have it yet".into()),
        (None, Some(_)) => said("Ready", Truth::False, "Pending", "nothing is exported yet".into()),
    };
    let mine: Vec<&ServiceConflict> = import
        .map_or_else(Vec::new, |import| import.conflicts.iter().filter(|conflict| conflict.cluster == own).collect());
    let conflict = if mine.is_empty() {
        said("Conflict", Truth::False, "NoConflicts", String::new())
    } else {
        let reasons: BTreeSet<&str> = mine.iter().map(|conflict| conflict.reason.as_str()).collect();
        let messages: Vec<&str> = mine.iter().map(|conflict| conflict.message.as_str()).collect();
        let reasons = reasons.into_iter().collect::<Vec<_>>().join(",");
        said("Conflict", Truth::True, &reasons, messages.join("; "))
    };
    [valid, ready, conflict]
}

#[cfg(test)]
mod tests;
