//! ServiceImports: what the exports of all clusters merge into, for the people and programs of this one. Source: KEP-1645.
use std::collections::{BTreeMap, BTreeSet};

use axle_core::{
    manifest::{is_label_key, is_label_value},
    model::{
        Distribution, Family, Internal, Labels, Object, Protocol, Resource, ServiceImport, ServicePort, Traffic, Uid,
    },
};
use serde_json::Value;

use super::{
    conditions::{renewed, said},
    crd::{
        self, ClientIpConfig, Exporter, ImportType, ImportedPort, Presence, ServiceImportSpec, SessionAffinityConfig,
        Truth,
    },
    mirrors::{Mirror, Mirrors},
    raw::Raw,
};

/// What tells our imports from another implementation's.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "axle-agent");

/// The exporting clusters of an import.
pub type Exporters = Vec<Exporter>;

/// The imports of the fleet among `objects`, in the namespaces that are here. Clusters go by their names.
#[must_use]
pub fn imports(
    objects: &[Object],
    namespaces: &BTreeSet<String>,
    clusters: &BTreeMap<Uid, String>,
) -> Mirrors<Exporters> {
    let one = |object: &Object| {
        let Resource::ServiceImport(import) = &*object.resource else { return None };
        let namespace = import.namespace.to_string();
        if !namespaces.contains(&namespace) {
            return None;
        }
        // An export may wish for what no API server takes for a label: the import is made without.
        let (mut labels, mut annotations) = (import.traits.labels.clone(), import.traits.annotations.clone());
        labels.retain(|key, value| is_label_key(key) && is_label_value(value));
        annotations.retain(|key, _| is_label_key(key));
        labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
        let names = import.clusters.iter().filter_map(|uid| clusters.get(uid));
        let mirror = Mirror {
            labels,
            annotations,
            spec: serde_json::to_value(spec(import)).ok()?,
            status: names.map(|name| Exporter { cluster: name.clone() }).collect(),
        };
        Some(((namespace, import.name.to_string()), mirror))
    };
    objects.iter().filter_map(one).collect()
}

/// Whether it is one of ours, so that it goes when nobody exports it.
pub(super) fn is_ours(object: &Raw<crd::ServiceImport>) -> bool {
    let labels: Option<&Labels> = object.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY.0)).is_some_and(|by| by == MANAGED_BY.1)
}

fn spec(import: &ServiceImport) -> ServiceImportSpec {
    let Traffic { sticky_s, internal, distribution } = import.traits.traffic;
    // A headless one has no addresses of its own: its families are those of its backends.
    let families = match import.traits.headless {
        true => import.traits.families.clone(),
        false => import.vips.iter().map(|vip| Family::of(*vip)).collect(),
    };
    let family = |family: &Family| if *family == Family::V4 { "IPv4" } else { "IPv6" }.to_owned();
    let timeout = sticky_s.filter(|_| !import.traits.headless).and_then(|seconds| i32::try_from(seconds).ok());
    ServiceImportSpec {
        ports: import.ports.iter().map(port).collect(),
        ips: import.vips.iter().map(ToString::to_string).collect(),
        kind: if import.traits.headless { ImportType::Headless } else { ImportType::ClusterSetIP },
        ip_families: families.iter().map(family).collect(),
        session_affinity: Some(if timeout.is_some() { "ClientIP" } else { "None" }.into()),
        session_affinity_config: timeout.map(|timeout| SessionAffinityConfig {
            client_ip: Some(ClientIpConfig { timeout_seconds: Some(timeout) }),
        }),
        internal_traffic_policy: Some(if internal == Internal::Local { "Local" } else { "Cluster" }.into()),
        traffic_distribution: distribution.map(|distribution| {
            match distribution {
                Distribution::PreferClose => "PreferClose",
                Distribution::PreferSameZone => "PreferSameZone",
                Distribution::PreferSameNode => "PreferSameNode",
            }
            .into()
        }),
    }
}

fn port(port: &ServicePort) -> ImportedPort {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    let protocol = match port.protocol {
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
        _ => "TCP",
    };
    let (name, app_protocol) = (text(&port.name), text(&port.app_protocol));
    ImportedPort { name, protocol: Some(protocol.into()), app_protocol, port: port.port }
}

/// The status to be written in the place of `before`, if it differs.
pub(super) fn status(before: &Value, clusters: &[Exporter], now: &str) -> Option<Value> {
    let ready = [said("Ready", Truth::True, "Ready", String::new())];
    let slices = serde_json::to_value(Presence::Present).ok()?;
    let wanted = serde_json::to_value(clusters).ok()?;
    let conditions = renewed(before, &ready, None, now);
    if conditions.is_none() && before["clusters"] == wanted && before["endpointSliceObjects"] == slices {
        return None;
    }
    let conditions =
        conditions.map_or_else(|| Some(before["conditions"].clone()), |new| serde_json::to_value(new).ok())?;
    Some(serde_json::json!({"clusters": wanted, "conditions": conditions, "endpointSliceObjects": slices}))
}

#[cfg(test)]
mod tests;
