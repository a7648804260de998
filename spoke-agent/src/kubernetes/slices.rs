//! EndpointSlices of imports: the backends of every cluster, for who reads them in this one. Source: KEP-1645.
//!
//! A slice has backends of one cluster, one family and the same ports. What is there stays where it is, so that a change is
//! a write of the slices that it concerns, whoever wrote them before.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use axle_core::{
    model::{BackendEndpoint, Family, NamedPort, Protocol},
    service::{Share, Shares},
};
use k8s_openapi::{
    api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};

use super::{
    crd::ServiceImport,
    raw::{Kinded, Raw},
    watch::Called,
};

/// The most backends of a slice, as Kubernetes' own controller has it.
const MOST: usize = 100;
/// The labels by which a slice names its service and the cluster that its backends are in.
const SERVICE: &str = "multicluster.kubernetes.io/service-name";
const SOURCE: &str = "multicluster.kubernetes.io/source-cluster";
const MANAGED_BY: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "axle-agent");
/// Keeps kube-proxy from looking at what it has no service for.
const LED_BY: (&str, &str) = ("service.kubernetes.io/service-proxy-name", "axle-agent");

/// Selects the slices that are ours, or all others.
pub(super) fn selector(ours: bool) -> String {
    format!("{}{}{}", MANAGED_BY.0, if ours { "=" } else { "!=" }, MANAGED_BY.1)
}

/// What is to be done about a slice.
#[derive(Debug, PartialEq)]
pub(super) enum Write {
    /// It is missing.
    Create(Box<EndpointSlice>),
    /// It is not as it should be; names the version that was seen.
    Replace(Box<EndpointSlice>),
    /// Nobody should have it: this incarnation goes.
    Delete(Called, Option<String>),
}

/// What leads from the slices that are `there` to the backends of an import, each once. New slices come before old ones go,
/// and have no name that is `taken` by what is not ours.
pub(super) fn writes(
    import: &Raw<ServiceImport>,
    shares: &Shares,
    there: &[Arc<EndpointSlice>],
    taken: &BTreeSet<String>,
) -> Vec<Write> {
    let mut left: Vec<&Arc<EndpointSlice>> = there.iter().collect();
    let ours = there.iter().filter_map(|slice| slice.metadata.name.as_deref());
    let names: BTreeSet<&str> = ours.chain(taken.iter().map(String::as_str)).collect();
    let (mut writes, mut deletes) = (Vec::new(), Vec::new());
    for (share, backends) in shares {
        let form = form(import, share);
        let (its, others) = left.into_iter().partition(|slice| is_of(slice, &form));
        left = others;
        fill(&form, backends, its, &names, &mut writes, &mut deletes);
    }
    deletes.extend(left.into_iter().map(|slice| delete(slice)));
    writes.extend(deletes);
    writes
}

/// Slices of an import that is gone.
pub(super) fn deletes(there: &[Arc<EndpointSlice>]) -> Vec<Write> {
    there.iter().map(|slice| delete(slice)).collect()
}

fn delete(slice: &EndpointSlice) -> Write {
    let ObjectMeta { namespace, name, uid, .. } = slice.metadata.clone();
    Write::Delete((namespace.unwrap_or_default(), name.unwrap_or_default()), uid)
}

/// The import that a slice is of; whoever took its label away made it nobody's.
pub(super) fn import_of(slice: &EndpointSlice) -> Called {
    let name = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE));
    (slice.metadata.namespace.clone().unwrap_or_default(), name.cloned().unwrap_or_default())
}

/// The slices of one share.
fn fill<'s>(
    form: &EndpointSlice,
    backends: &BTreeMap<IpAddr, BackendEndpoint>,
    its: Vec<&'s Arc<EndpointSlice>>,
    taken: &BTreeSet<&str>,
    writes: &mut Vec<Write>,
    deletes: &mut Vec<Write>,
) {
    let mut rest: BTreeMap<IpAddr, Endpoint> =
        backends.iter().map(|(address, backend)| (*address, endpoint(*address, backend))).collect();
    let address = |endpoint: &Endpoint| endpoint.addresses.first()?.parse::<IpAddr>().ok();
    let kept = |slice: &'s Arc<EndpointSlice>| {
        let stay = slice.endpoints.iter().filter_map(|endpoint| rest.remove_entry(&address(endpoint)?));
        let stay: BTreeMap<IpAddr, Endpoint> = stay.take(MOST).collect();
        (slice, stay)
    };
    let mut plan: Vec<(&Arc<EndpointSlice>, BTreeMap<IpAddr, Endpoint>)> = its.into_iter().map(kept).collect();
    // Those that are written anyway first, then the fullest.
    let is_right = |slice: &EndpointSlice, stay: &BTreeMap<IpAddr, Endpoint>| {
        slice.endpoints.iter().eq(stay.values()) && slice.metadata.owner_references == form.metadata.owner_references
    };
    plan.sort_by_key(|(slice, stay)| (is_right(slice, stay), usize::MAX - stay.len()));
    for (_, stay) in &mut plan {
        while stay.len() < MOST
            && let Some((address, endpoint)) = rest.pop_first()
        {
            stay.insert(address, endpoint);
        }
    }
    for (slice, stay) in plan {
        if stay.is_empty() {
            deletes.push(delete(slice));
        } else if !is_right(slice, &stay) {
            let mut whole = form.clone();
            whole.metadata.name.clone_from(&slice.metadata.name);
            whole.metadata.resource_version.clone_from(&slice.metadata.resource_version);
            whole.endpoints = stay.into_values().collect();
            writes.push(Write::Replace(Box::new(whole)));
        }
    }
    let names = (0..).map(|number| name(form, number)).filter(|name| !taken.contains(name.as_str()));
    let mut rest = rest.into_values().peekable();
    for name in names {
        if rest.peek().is_none() {
            break;
        }
        let mut whole = form.clone();
        whole.metadata.name = Some(name);
        whole.endpoints = rest.by_ref().take(MOST).collect();
        writes.push(Write::Create(Box::new(whole)));
    }
}

/// A name that follows from what the slice is: asked for twice, it is made once.
fn name(form: &EndpointSlice, number: usize) -> String {
    let labels = form.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map_or("", String::as_str);
    let what = format!("{} {} {:?} {number}", label(SOURCE), form.address_type, form.ports);
    let hash = blake3::hash(what.as_bytes()).to_hex();
    format!("{}-{}", label(SERVICE), &hash[..16])
}

/// What all slices of a share have.
fn form(import: &Raw<ServiceImport>, share: &Share) -> EndpointSlice {
    let service = import.metadata.name.clone().unwrap_or_default();
    let labels = [(SERVICE, service.as_str()), (SOURCE, share.cluster.as_str()), MANAGED_BY, LED_BY];
    let owner = OwnerReference {
        api_version: ServiceImport::api_version(),
        kind: ServiceImport::KIND.into(),
        name: service.clone(),
        uid: import.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    EndpointSlice {
        address_type: if share.family == Family::V4 { "IPv4" } else { "IPv6" }.into(),
        endpoints: Vec::new(),
        metadata: ObjectMeta {
            namespace: import.metadata.namespace.clone(),
            labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        ports: Some(share.ports.iter().map(port).collect()),
    }
}

/// Whether a slice is one of a share. Labels of others do not count: whoever gives them to all that is made would give them
/// to the next one too.
fn is_of(slice: &EndpointSlice, form: &EndpointSlice) -> bool {
    let no_ports = |slice: &EndpointSlice| slice.ports.as_ref().is_none_or(Vec::is_empty);
    let labels = |slice: &EndpointSlice, key: &str| slice.metadata.labels.as_ref()?.get(key).cloned();
    form.metadata.labels.iter().flatten().all(|(key, value)| labels(slice, key).as_ref() == Some(value))
        && slice.address_type == form.address_type
        && (slice.ports == form.ports || no_ports(slice) && no_ports(form))
}

fn port(port: &NamedPort) -> EndpointPort {
    let protocol = match port.protocol {
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
        _ => "TCP",
    };
    EndpointPort {
        name: Some(port.name.clone()),
        protocol: Some(protocol.into()),
        port: Some(port.port.into()),
        app_protocol: None,
    }
}

fn endpoint(address: IpAddr, backend: &BackendEndpoint) -> Endpoint {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(backend.ready),
            serving: Some(backend.serving),
            terminating: Some(backend.terminating),
        }),
        hostname: text(&backend.hostname),
        zone: text(&backend.zone),
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests;
