//! Which clusters and which workloads, as subjects and peers say it.
use super::{
    Violation,
    labels::{label_value, selector, selector_fields},
    reader::{At, Faults, Map},
};
use crate::model::{ClusterSelector, LabelSelector, Operator, REGION_LABEL, Requirement};

/// Exactly one of these fields, or a violation.
pub(super) fn one_of(map: &Map<'_>, keys: &[&'static str], faults: &mut Faults) -> Option<&'static str> {
    match map.present(keys)[..] {
        [one] => Some(one),
        [] => {
            let violation = map.at.violation("none of them", format!("one of {}", keys.join(", ")));
            let fix = "say which; `namespaces: {}` is every workload".into();
            faults.add(Violation { code: "missing-field", fix, ..violation });
            None
        }
        ref several => {
            let violation = map.at.violation(several.join(" and "), format!("exactly one of {}", keys.join(", ")));
            faults.add(Violation { fix: "use one, or write two items".into(), ..violation });
            None
        }
    }
}

/// The selectors of `namespaces` or of `pods`: outer `None` where neither is there, inner where they are faulty.
pub(super) fn workloads(map: &Map<'_>, faults: &mut Faults) -> Option<Option<(LabelSelector, LabelSelector)>> {
    let namespaces = map.optional("namespaces").map(|at| Some((selector(&at, faults)?, LabelSelector::default())));
    let pods = map.optional("pods").map(|at| {
        let map = at.map(faults)?;
        let namespaces = or_all(map.optional("namespaceSelector"), faults);
        let pods = map.required("podSelector", faults).and_then(|at| selector(&at, faults));
        map.finish(faults);
        Some((namespaces?, pods?))
    });
    namespaces.or(pods)
}

/// `clusters`: absent is the policy's own; `names`, `regions` or a label selector say which; empty is all.
pub(super) fn clusters(map: &Map<'_>, faults: &mut Faults) -> Option<ClusterSelector> {
    let Some(at) = map.optional("clusters") else { return Some(ClusterSelector::Own) };
    let inner = at.map(faults)?;
    let names = inner.optional("names").map(|at| {
        let items = at.some_list("name the clusters, or write `clusters: {}` for all", faults)?;
        items.iter().map(|item| item.name(faults)).collect::<Option<Vec<_>>>()
    });
    let regions = inner.optional("regions").map(|at| {
        let items = at.some_list("name the regions, or write `clusters: {}` for all", faults)?;
        items.iter().map(|item| label_value(item, faults)).collect::<Option<Vec<_>>>()
    });
    let labels = selector_fields(&inner, faults);
    inner.finish(faults);
    match names {
        Some(names) => {
            if inner.entries().count() > 1 {
                at.invalid("names, or labels and regions", "a name says all: use two items", faults);
                return None;
            }
            names.map(ClusterSelector::Names)
        }
        None => {
            let mut labels = labels?;
            if let Some(regions) = regions {
                let operator = Operator::In(regions?);
                labels.match_expressions.push(Requirement { key: REGION_LABEL.into(), operator });
            }
            let all = labels == LabelSelector::default();
            Some(if all { ClusterSelector::Any } else { ClusterSelector::Labels(labels) })
        }
    }
}

/// The workloads of one namespace, by the label that every namespace has.
pub(super) fn in_namespace(name: &str) -> LabelSelector {
    let labels = [(super::NAMESPACE_NAME_LABEL.to_owned(), name.to_owned())];
    LabelSelector { match_labels: labels.into(), match_expressions: Vec::new() }
}

/// What `at` holds, or the default where it is absent.
pub(super) fn or_all(at: Option<At<'_>>, faults: &mut Faults) -> Option<LabelSelector> {
    at.map_or(Some(LabelSelector::default()), |at| selector(&at, faults))
}
