//! `policy.networking.k8s.io/v1alpha2` ClusterNetworkPolicy, standard and experimental fields, with the limits of its schema.
//!
//! A peer of a kind that this version does not know does not make the document faulty: it fails closed, as the
//! specification has it ([`Peer::Unknown`](crate::model::Peer::Unknown)). Any other unknown field is a fault.
use super::{
    kubernetes::metadata,
    policy::priority,
    reader::{At, Faults, Map},
    rules::{Form, directions},
    selectors::{one_of, workloads},
};
use crate::model::{ClusterSelector, Enforcement, Policy, Subject, Tier};

pub(super) fn read(map: &Map<'_>, faults: &mut Faults) -> Option<Policy> {
    let name = metadata(map, false, faults).map(|(_, name)| name);
    let spec = map.required("spec", faults).and_then(|at| at.map(faults));
    map.finish(faults);
    let spec = spec?;
    let tiers = [("Admin", Tier::Admin), ("Baseline", Tier::Baseline)];
    let tier = spec.required("tier", faults).and_then(|at| at.choice(&tiers, faults));
    let priority = priority(&spec, faults);
    let subject = spec.required("subject", faults).and_then(|at| subject(&at, faults));
    let rules = directions(&spec, Form::Cluster, faults);
    spec.finish(faults);
    let (ingress, egress) = rules?;
    Some(Policy {
        name: name?,
        namespace: None,
        tier: tier?,
        priority: priority?,
        subject: subject?,
        ingress,
        egress,
        enforcement: Enforcement::Enforce,
        disabled: false,
        description: String::new(),
        owner: String::new(),
    })
}

fn subject(at: &At<'_>, faults: &mut Faults) -> Option<Subject> {
    let map = at.map(faults)?;
    let found = one_of(&map, &["namespaces", "pods"], faults);
    let workloads = workloads(&map, faults);
    map.finish(faults);
    found?;
    let (namespaces, pods) = workloads??;
    Some(Subject { clusters: ClusterSelector::Own, namespaces, pods })
}
