//! `MeshNetworkPolicy`: the shape of ClusterNetworkPolicy (`policy.networking.k8s.io/v1alpha2`), with cluster selectors
//! on subject and peers, more kinds of peers in both directions, ICMP types, audit, and the tier of NetworkPolicy too. Every
//! policy of the model can be written so.
//!
//! Absent is not empty: without `clusters` a selector is about the policy's own clusters, with `clusters: {}` about all;
//! an absent `protocols` is every protocol, an empty one is refused.
use super::{
    Violation,
    reader::{At, Faults, Map},
    rules::{Form, directions},
    selectors::{clusters, one_of, workloads},
};
use crate::model::{Enforcement, Policy, Subject, Tier};

/// The lowest priority.
pub(crate) const MAX_PRIORITY: u16 = 1000;

pub(super) fn read(map: &Map<'_>, faults: &mut Faults) -> Option<Policy> {
    let metadata = map.required("metadata", faults).and_then(|at| {
        let metadata = at.map(faults)?;
        let name = metadata.required("name", faults).and_then(|at| at.name(faults));
        let namespace_at = metadata.optional("namespace");
        let namespace = namespace_at.as_ref().map_or(Some(None), |at| at.name(faults).map(Some));
        metadata.finish(faults);
        Some((name?, namespace?, namespace_at))
    });
    let spec = map.required("spec", faults).and_then(|at| at.map(faults));
    map.finish(faults);
    let spec = spec?;
    let tiers = [("Admin", Tier::Admin), ("Namespace", Tier::Namespace), ("Baseline", Tier::Baseline)];
    let tier = spec.required("tier", faults).and_then(|at| at.choice(&tiers, faults));
    let of_namespace = tier == Some(Tier::Namespace);
    let priority = if of_namespace { Some(0) } else { priority(&spec, faults) };
    let subject = spec.required("subject", faults).and_then(|at| subject(&at, faults));
    let rules = directions(&spec, if of_namespace { Form::Namespace } else { Form::Mesh }, faults);
    let modes = [("Enforce", Enforcement::Enforce), ("Audit", Enforcement::Audit)];
    let enforcement = spec.optional("enforcement").map_or(Some(Enforcement::Enforce), |at| at.choice(&modes, faults));
    let disabled = spec.optional("disabled").map_or(Some(false), |at| at.bool(faults));
    let mut text = |key| spec.optional(key).map_or(Some(""), |at| at.text(faults));
    let (description, owner) = (text("description"), text("owner"));
    spec.finish(faults);
    if spec.present(&["ingress", "egress"]).is_empty() {
        let violation = spec.at.violation("neither ingress nor egress", "rules for at least one direction");
        faults.add(Violation { code: "missing-field", fix: "add ingress or egress".into(), ..violation });
    }
    let (name, namespace, namespace_at) = metadata?;
    if let Some(at) = namespace_at.filter(|_| tier.is_some() && !of_namespace) {
        at.invalid("no namespace in the tiers Admin and Baseline", "select namespaces in the subject instead", faults);
    }
    let (ingress, egress) = rules?;
    Some(Policy {
        name,
        namespace,
        tier: tier?,
        priority: priority?,
        subject: subject?,
        ingress,
        egress,
        enforcement: enforcement?,
        disabled: disabled?,
        description: description?.to_owned(),
        owner: owner?.to_owned(),
    })
}

pub(super) fn priority(spec: &Map<'_>, faults: &mut Faults) -> Option<u16> {
    spec.required("priority", faults).and_then(|at| at.integer(0..=MAX_PRIORITY, faults))
}

fn subject(at: &At<'_>, faults: &mut Faults) -> Option<Subject> {
    let map = at.map(faults)?;
    let clusters = clusters(&map, faults);
    let found = one_of(&map, &["namespaces", "pods"], faults);
    let workloads = workloads(&map, faults);
    map.finish(faults);
    found?;
    let (namespaces, pods) = workloads??;
    Some(Subject { clusters: clusters?, namespaces, pods })
}
