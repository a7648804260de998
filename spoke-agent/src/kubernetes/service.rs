//! From services and endpoint slices to what the cluster's nodes lead clients by.
use std::{collections::BTreeMap, net::IpAddr};

use axle_core::{
    manifest::{Document, Export, Service},
    model::{
        Affinity, BackendEndpoint, Backends, Distribution, EndpointSlice, Family, Internal, MAX_SERVICE_PORTS, Name,
        NamedPort, PortTarget, Protocol, ServicePort, Traffic, Traits,
    },
};
use k8s_openapi::{
    api::{core::v1 as core, discovery::v1 as discovery},
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};

/// The annotations of Cilium that its users have on their services.
const ANNOTATIONS: &str = "service.cilium.io/";
/// The label by which a slice names its service.
const SERVICE: &str = "kubernetes.io/service-name";
/// How long a client stays with its backend if `sessionAffinityConfig` does not say, in seconds.
const STICKY_S: u32 = 10_800;

/// Takes away what nobody here needs.
pub(super) fn trim(service: &mut core::Service) {
    service.metadata.labels = None;
    service.metadata.annotations.get_or_insert_default().retain(|key, _| key.starts_with(ANNOTATIONS));
    service.status = None;
}

/// Takes away what nobody here needs.
pub(super) fn trim_slice(slice: &mut discovery::EndpointSlice) {
    slice.metadata.annotations = None;
    slice.metadata.labels.get_or_insert_default().retain(|key, _| key == SERVICE);
    slice.endpoints.iter_mut().for_each(|endpoint| endpoint.target_ref = None);
}

/// The service, and that it is exported if its annotations say so. One that is only another name for something is none.
///
/// # Errors
/// What the model cannot say, in a sentence.
pub(super) fn service(service: &core::Service) -> Result<Vec<Document>, String> {
    let spec = service.spec.clone().unwrap_or_default();
    if spec.type_.as_deref() == Some("ExternalName") {
        return Ok(Vec::new());
    }
    let (namespace, name) = called("Service", &service.metadata)?;
    let wrong = |why: String| format!("Service {namespace}/{name} is left out: {why}");
    let given = spec.ports.iter().flatten();
    let ports: Vec<ServicePort> = given.map(port).collect::<Result<_, _>>().map_err(wrong)?;
    if ports.len() > MAX_SERVICE_PORTS {
        return Err(wrong(format!("it has {} ports, at most {MAX_SERVICE_PORTS} can be led to", ports.len())));
    }
    let none = BTreeMap::new();
    let annotations = service.metadata.annotations.as_ref().unwrap_or(&none);
    let says = |what: &str| annotations.get(&format!("{ANNOTATIONS}{what}")).map(String::as_str);
    let is_global = says("global") == Some("true");
    let affinity = match says("affinity") {
        Some("remote") => Affinity::Remote,
        Some("none") => Affinity::None,
        None if is_global => Affinity::None,
        _ => Affinity::Local,
    };
    let ips = spec.cluster_ips.clone().unwrap_or_else(|| spec.cluster_ip.iter().cloned().collect());
    let headless = ips.iter().any(|ip| ip == "None");
    let traits = Traits { headless, traffic: traffic(&spec), families: families(&spec), ..Traits::default() };
    let mut documents = Vec::new();
    if is_global && says("shared") != Some("false") {
        let created_ms = service.metadata.creation_timestamp.as_ref().map(|made| made.0.as_millisecond());
        let created_ms = created_ms.and_then(|made| made.try_into().ok());
        documents.push(Document::ServiceExport(Export { created_ms, ..Export::new(namespace.clone(), name.clone()) }));
    }
    // A selector would leave out, elsewhere, who is not ready: the slices know who is published all the same.
    let selector = spec.selector.filter(|_| spec.publish_not_ready_addresses != Some(true));
    documents.push(Document::Service(Service {
        namespace,
        name,
        selector: selector.unwrap_or_default(),
        ports,
        affinity,
        addresses: ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
        traits,
        global: is_global.then_some(affinity),
        // They know of readiness that is published early, of backends on nodes' networks and of those that somebody wrote.
        sliced: true,
    }));
    Ok(documents)
}

/// The slice, if it is one of a service's with addresses.
///
/// # Errors
/// What the model cannot say, in a sentence.
pub(super) fn slice(slice: &discovery::EndpointSlice) -> Result<Vec<Document>, String> {
    let of = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE));
    let (Some(of), "IPv4" | "IPv6") = (of, slice.address_type.as_str()) else { return Ok(Vec::new()) };
    let (namespace, name) = called("EndpointSlice", &slice.metadata)?;
    let service = Name::new(of.clone()).map_err(|error| format!("EndpointSlice {namespace}/{name}: {error}"))?;
    let endpoints = slice.endpoints.iter().map(endpoint).collect();
    let ports = slice.ports.iter().flatten();
    let ports = ports.filter_map(|port| {
        Some(NamedPort {
            name: port.name.clone().unwrap_or_default(),
            protocol: protocol(port.protocol.as_deref())?,
            port: port.port.and_then(|number| number.try_into().ok())?,
        })
    });
    let backends = Backends { endpoints, ports: ports.collect() };
    Ok(vec![Document::EndpointSlice(EndpointSlice { namespace, name, service, backends })])
}

fn called(kind: &str, metadata: &ObjectMeta) -> Result<(Name, Name), String> {
    let name = |text: &Option<String>| {
        Name::new(text.clone().unwrap_or_default()).map_err(|error| format!("{kind} that cannot be named: {error}"))
    };
    Ok((name(&metadata.namespace)?, name(&metadata.name)?))
}

fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

fn port(port: &core::ServicePort) -> Result<ServicePort, String> {
    let number = |number: i32| {
        u16::try_from(number).ok().filter(|number| *number > 0).ok_or(format!("{number} is no port, wanted 1 to 65535"))
    };
    let own = number(port.port)?;
    let target = match &port.target_port {
        None => PortTarget::Number(own),
        Some(IntOrString::Int(target)) => PortTarget::Number(number(*target)?),
        Some(IntOrString::String(name)) => PortTarget::Name(name.clone()),
    };
    let protocol = protocol(port.protocol.as_deref());
    Ok(ServicePort {
        name: port.name.clone().unwrap_or_default(),
        protocol: protocol.ok_or(format!("{:?} is no protocol, wanted TCP, UDP or SCTP", port.protocol))?,
        port: own,
        target,
        app_protocol: port.app_protocol.clone().unwrap_or_default(),
    })
}

fn traffic(spec: &core::ServiceSpec) -> Traffic {
    let client_ip = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = client_ip.and_then(|client_ip| client_ip.timeout_seconds?.try_into().ok()).unwrap_or(STICKY_S);
    Traffic {
        sticky_s: (spec.session_affinity.as_deref() == Some("ClientIP")).then_some(seconds),
        internal: match spec.internal_traffic_policy.as_deref() {
            Some("Local") => Internal::Local,
            _ => Internal::Cluster,
        },
        distribution: match spec.traffic_distribution.as_deref() {
            Some("PreferClose") => Some(Distribution::PreferClose),
            Some("PreferSameZone") => Some(Distribution::PreferSameZone),
            Some("PreferSameNode") => Some(Distribution::PreferSameNode),
            _ => None,
        },
    }
}

fn families(spec: &core::ServiceSpec) -> Vec<Family> {
    let family = |text: &String| match text.as_str() {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    };
    spec.ip_families.iter().flatten().filter_map(family).collect()
}

/// Conditions that are not said are as the API has it: ready, and what is ready answers.
fn endpoint(endpoint: &discovery::Endpoint) -> BackendEndpoint {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    BackendEndpoint {
        addresses: endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok()).collect(),
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        node: endpoint.node_name.clone().unwrap_or_default(),
        zone: endpoint.zone.clone().unwrap_or_default(),
        hostname: endpoint.hostname.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
