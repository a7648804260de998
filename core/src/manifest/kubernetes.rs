//! What every object of Kubernetes has around its specification.
use super::{
    Violation,
    reader::{At, Faults, Map},
};
use crate::model::Name;

/// What a server or a tool writes there and policy does not look at.
const ALSO: [&str; 13] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// The namespace, if the kind has one, and the name. Also takes note of `status`.
pub(super) fn metadata(map: &Map<'_>, in_namespace: bool, faults: &mut Faults) -> Option<(Option<Name>, Name)> {
    map.optional("status");
    let metadata = map.required("metadata", faults)?.map(faults)?;
    let name = metadata.required("name", faults).and_then(|at| at.name(faults));
    let namespace = match metadata.optional("namespace") {
        Some(at) if in_namespace => at.name(faults).map(Some),
        Some(at) => {
            let fix = "remove it, and select namespaces in the subject";
            at.invalid("no namespace: this kind is about the whole cluster", fix, faults);
            None
        }
        None if in_namespace => {
            let violation = metadata.at.violation("no such field", "the field namespace");
            let fix = "add namespace: what kubectl would take from its context, a file must say";
            faults.add(Violation { code: "missing-field", fix: fix.into(), ..violation });
            None
        }
        None => Some(None),
    };
    ALSO.iter().for_each(|key| drop(metadata.optional(key)));
    metadata.finish(faults);
    Some((namespace?, name?))
}

/// The documents of a `List`, as `kubectl get -o yaml` prints them, or the document itself.
pub(super) fn items<'n>(at: &At<'n>, faults: &mut Faults) -> Vec<At<'n>> {
    let is_list = |map: &Map<'n>| {
        map.optional("kind").and_then(|at| at.text(&mut Faults::default())).is_some_and(|kind| kind == "List")
    };
    let Some(map) = at.map(&mut Faults::default()).filter(is_list) else { return vec![at.clone()] };
    map.required("apiVersion", faults).and_then(|at| at.choice(&[("v1", ())], faults));
    map.optional("metadata");
    let items = map.required("items", faults).and_then(|at| at.list(faults)).unwrap_or_default();
    map.finish(faults);
    items
}
