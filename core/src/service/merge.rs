//! Exports of one namespaced name merge into one import.
//!
//! Source: MCS-API (KEP-1645): the oldest export wins, ports are a union by name and by (protocol, number), and traffic
//! for a port goes only to clusters that offer it.
use std::collections::BTreeMap;

use crate::model::{Name, ServiceConflict, ServiceExport, ServicePort, Traits, Uid};

/// The reasons of conflicts, as MCS-API names them.
pub mod conflict {
    /// Ports, or what is spoken there.
    pub const PORT: &str = "PortConflict";
    /// One has an address, another is headless.
    pub const TYPE: &str = "TypeConflict";
    /// Whether a client comes back to its backend.
    pub const SESSION_AFFINITY: &str = "SessionAffinityConflict";
    /// For how long it does.
    pub const SESSION_AFFINITY_CONFIG: &str = "SessionAffinityConfigConflict";
    /// Exported annotations.
    pub const ANNOTATIONS: &str = "AnnotationsConflict";
    /// Exported labels.
    pub const LABELS: &str = "LabelsConflict";
    /// `internalTrafficPolicy`.
    pub const INTERNAL_TRAFFIC_POLICY: &str = "InternalTrafficPolicyConflict";
    /// `trafficDistribution`.
    pub const TRAFFIC_DISTRIBUTION: &str = "TrafficDistributionConflict";
    /// Families of addresses.
    pub const IP_FAMILY: &str = "IPFamilyConflict";
}

/// One cluster's export.
#[derive(Debug, Clone, Copy)]
pub struct Exported<'e> {
    /// The cluster's uid.
    pub cluster: Uid,
    /// The cluster's name: decides between exports of equal age.
    pub cluster_name: &'e Name,
    /// The export.
    pub export: &'e ServiceExport,
}

/// What an import takes from its exports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merged {
    /// The union of the ports, the oldest export's first.
    pub ports: Vec<ServicePort>,
    /// The exporting clusters, oldest export first.
    pub clusters: Vec<Uid>,
    /// Where exports differ, in the same order: each that differs from the older ones, and the oldest, which wins. A
    /// cluster has each reason once.
    pub conflicts: Vec<ServiceConflict>,
    /// The oldest export's.
    pub traits: Traits,
}

/// Merges the exports of one service, given in any order.
#[must_use]
pub fn merge(exports: &[Exported<'_>]) -> Merged {
    let mut exports = exports.to_vec();
    exports.sort_by_key(|one| (one.export.created_ms, one.cluster_name, one.cluster));
    let Some((oldest, younger)) = exports.split_first() else { return Merged::default() };
    let mut merged = Merged { traits: oldest.export.traits.clone(), ..Merged::default() };
    merged.clusters.extend(exports.iter().map(|one| one.cluster));
    let mut at_the_oldest: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let mut at_the_others = Vec::new();
    ports(&mut merged.ports, oldest.export, true);
    for one in younger {
        let ports = ports(&mut merged.ports, one.export, false).map(|message| (conflict::PORT, message));
        for (reason, message) in ports.into_iter().chain(traits(&merged.traits, &one.export.traits)) {
            at_the_oldest.entry(reason).or_default().push(format!("{}: {message}", one.cluster_name));
            at_the_others.push(ServiceConflict { cluster: one.cluster, reason: reason.to_owned(), message });
        }
    }
    let wins = |(reason, others): (&str, Vec<String>)| ServiceConflict {
        cluster: oldest.cluster,
        reason: reason.to_owned(),
        message: format!("this export is the oldest and wins; {}", others.join("; ")),
    };
    merged.conflicts = at_the_oldest.into_iter().map(wins).chain(at_the_others).collect();
    merged
}

/// Adds an export's ports to those of the older ones, and says how they differ.
fn ports(merged: &mut Vec<ServicePort>, export: &ServiceExport, first: bool) -> Option<String> {
    let mut differences = Vec::new();
    let missing = merged.iter().filter(|port| !offers(export, port)).count();
    for port in &export.ports {
        let taken = merged.iter().find(|other| other.name == port.name || number(other) == number(port));
        match taken {
            Some(same) if same.name == port.name && number(same) == number(port) => {
                if same.app_protocol != port.app_protocol {
                    let (wanted, got) = (&same.app_protocol, &port.app_protocol);
                    differences.push(format!("port {} speaks {got:?}, in an older export {wanted:?}", show(port)));
                }
            }
            Some(other) => differences.push(format!("port {} is {} in an older export", show(port), show(other))),
            None => {
                if !first {
                    differences.push(format!("port {} is in no older export", show(port)));
                }
                merged.push(port.clone());
            }
        }
    }
    if differences.is_empty() && missing > 0 {
        differences.push(format!("{missing} of the older exports' ports are not offered here"));
    }
    (!differences.is_empty()).then(|| differences.join("; "))
}

/// How an export differs from the oldest in what one of them decides for all.
fn traits(oldest: &Traits, own: &Traits) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut differ = |reason, differs: bool, what: &str| {
        if differs {
            found.push((reason, format!("{what} differs from the oldest export's")));
        }
    };
    differ(conflict::TYPE, oldest.headless != own.headless, "the type (with an address or headless)");
    let both = (oldest.traffic.sticky_s, own.traffic.sticky_s);
    let sticky = matches!(both, (Some(_), None) | (None, Some(_)));
    differ(conflict::SESSION_AFFINITY, sticky, "sessionAffinity");
    differ(conflict::SESSION_AFFINITY_CONFIG, !sticky && both.0 != both.1, "sessionAffinityConfig");
    differ(conflict::ANNOTATIONS, oldest.annotations != own.annotations, "what exportedAnnotations has");
    differ(conflict::LABELS, oldest.labels != own.labels, "what exportedLabels has");
    let (old, new) = (&oldest.traffic, &own.traffic);
    differ(conflict::INTERNAL_TRAFFIC_POLICY, old.internal != new.internal, "internalTrafficPolicy");
    differ(conflict::TRAFFIC_DISTRIBUTION, old.distribution != new.distribution, "trafficDistribution");
    let both_say = !oldest.families.is_empty() && !own.families.is_empty();
    differ(conflict::IP_FAMILY, both_say && oldest.families != own.families, "what ipFamilies has");
    found
}

/// Whether an export offers this port of the import: same name, same protocol, same number.
pub(super) fn offers(export: &ServiceExport, port: &ServicePort) -> bool {
    export.ports.iter().any(|own| own.name == port.name && number(own) == number(port))
}

fn number(port: &ServicePort) -> (crate::model::Protocol, u16) {
    (port.protocol, port.port)
}

fn show(port: &ServicePort) -> String {
    format!("{:?} ({:?} {})", port.name, port.protocol, port.port)
}

#[cfg(test)]
mod tests;
