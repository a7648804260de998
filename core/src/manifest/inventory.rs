//! Namespaces and workloads: what runs in an agent's cluster.
use std::{collections::BTreeSet, net::IpAddr};

use super::{
    Violation,
    labels::labels,
    ports::{port_name, port_protocol},
    reader::{At, Faults, Map},
};
use crate::model::{Host, Labels, Name, NamedPort, Namespace, Protocol, Uid};

/// The label that names a namespace to selectors.
pub const NAMESPACE_NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// A workload of this node: a container, a virtual machine or a process with an interface of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The namespace it is in.
    pub namespace: Name,
    /// Unique in its namespace.
    pub name: Name,
    /// Its labels.
    pub labels: Labels,
    /// The account it runs as; may be empty.
    pub service_account: String,
    /// The host's end of its network interface; `None`: not known yet.
    pub interface: Option<String>,
    /// Its addresses; at least one.
    pub addresses: Vec<IpAddr>,
    /// Ports that rules and services may name.
    pub named_ports: Vec<NamedPort>,
    /// Whether services may send it traffic.
    pub ready: bool,
    /// Its own name in the domain of a headless service, if it has one.
    pub host: Option<Host>,
    /// Which of those that had its name it is, where somebody says so; else it is another one each time that it comes.
    pub incarnation: Option<Incarnation>,
}

/// One of the workloads that have a name one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incarnation {
    /// Its own for ever.
    pub uid: Uid,
    /// When it began, in milliseconds since 1970.
    pub started_ms: u64,
}

pub(super) struct Metadata {
    pub(super) name: Option<Name>,
    pub(super) namespace: Option<Name>,
    labels: Option<Labels>,
}

pub(super) fn namespace(map: &Map<'_>, faults: &mut Faults) -> Option<Namespace> {
    let metadata = metadata(map, false, true, faults)?;
    map.finish(faults);
    let (name, mut labels) = (metadata.name?, metadata.labels?);
    labels.insert(NAMESPACE_NAME_LABEL.into(), name.to_string());
    Some(Namespace { name, labels })
}

pub(super) fn workload(map: &Map<'_>, faults: &mut Faults) -> Option<Workload> {
    let metadata = metadata(map, true, true, faults);
    let spec = map.required("spec", faults).and_then(|at| at.map(faults));
    map.finish(faults);
    let spec = spec?;
    let service_account = match spec.optional("serviceAccount") {
        None => Some(String::new()),
        Some(at) => at.name(faults).map(String::from),
    };
    let interface = spec.required("interface", faults).and_then(|at| interface(&at, faults));
    let addresses = spec.required("addresses", faults).and_then(|at| addresses(&at, faults));
    let named_ports = spec.optional("ports").map_or(Some(Vec::new()), |at| named_ports(&at, faults));
    let ready = spec.optional("ready").map_or(Some(true), |at| at.bool(faults));
    let host = host(&spec, faults);
    spec.finish(faults);
    let metadata = metadata?;
    Some(Workload {
        namespace: metadata.namespace?,
        name: metadata.name?,
        labels: metadata.labels?,
        service_account: service_account?,
        interface: Some(interface?),
        addresses: addresses?,
        named_ports: named_ports?,
        ready: ready?,
        host: host?,
        incarnation: None,
    })
}

pub(super) fn metadata(map: &Map<'_>, in_namespace: bool, has_labels: bool, faults: &mut Faults) -> Option<Metadata> {
    let fields = map.required("metadata", faults)?.map(faults)?;
    let name = fields.required("name", faults).and_then(|at| at.name(faults));
    let namespace = match in_namespace {
        true => fields.required("namespace", faults).and_then(|at| at.name(faults)),
        false => None,
    };
    let labels = match has_labels {
        true => fields.optional("labels").map_or(Some(Labels::new()), |at| labels(&at, faults)),
        false => None,
    };
    fields.finish(faults);
    Some(Metadata { name, namespace, labels })
}

/// A name in a service's domain takes both the name and the service.
fn host(spec: &Map<'_>, faults: &mut Faults) -> Option<Option<Host>> {
    let (name, service) = (spec.optional("hostname"), spec.optional("subdomain"));
    if name.is_none() && service.is_none() {
        return Some(None);
    }
    let name = spec.required("hostname", faults).and_then(|at| at.name(faults));
    let service = spec.required("subdomain", faults).and_then(|at| at.name(faults));
    Some(Some(Host { name: name?, service: service? }))
}

/// Linux: at most 15 bytes, no '/', no white space, not "." or "..".
fn interface(at: &At<'_>, faults: &mut Faults) -> Option<String> {
    let text = at.text(faults)?;
    let fits = (1..=15).contains(&text.len()) && !matches!(text, "." | "..");
    if !fits || text.chars().any(|c| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        at.invalid("a network interface's name: 1 to 15 characters without '/', ':' and white space", "", faults);
        return None;
    }
    Some(text.to_owned())
}

pub(super) fn addresses(at: &At<'_>, faults: &mut Faults) -> Option<Vec<IpAddr>> {
    let mut seen = BTreeSet::new();
    let mut addresses = Vec::new();
    for item in at.some_list("give its addresses", faults)? {
        let Some(address) = item.parsed::<IpAddr>("an IPv4 or IPv6 address", faults) else { continue };
        let usable = match address {
            IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() || v4.is_loopback()),
            IpAddr::V6(v6) => {
                !(v6.is_unspecified() || v6.is_multicast() || v6.is_loopback() || v6.to_ipv4_mapped().is_some())
            }
        };
        if !usable {
            item.invalid(
                "an address that one workload or service can have (unicast, not loopback, not IPv4-mapped)",
                "",
                faults,
            );
        } else if !seen.insert(address) {
            duplicate(&item, format!("{address} a second time"), faults);
        }
        addresses.push(address);
    }
    Some(addresses)
}

fn named_ports(at: &At<'_>, faults: &mut Faults) -> Option<Vec<NamedPort>> {
    let mut ports: Vec<NamedPort> = Vec::new();
    for item in at.list(faults)? {
        let Some(map) = item.map(faults) else { continue };
        let name = map.required("name", faults).and_then(|at| port_name(&at, faults));
        let protocol = protocol(&map, faults);
        let port = map.required("port", faults).and_then(|at| at.integer(1..=u16::MAX, faults));
        map.finish(faults);
        let (Some(name), Some(protocol), Some(port)) = (name, protocol, port) else { continue };
        if ports.iter().any(|other| other.name == name && other.protocol == protocol) {
            duplicate(&item, format!("the port {name:?} a second time"), faults);
        }
        ports.push(NamedPort { name, protocol, port });
    }
    Some(ports)
}

pub(super) fn protocol(map: &Map<'_>, faults: &mut Faults) -> Option<Protocol> {
    map.optional("protocol").map_or(Some(Protocol::Tcp), |at| at.choice(&port_protocol(), faults))
}

pub(super) fn duplicate(at: &At<'_>, got: String, faults: &mut Faults) {
    let violation = at.violation(got, "each only once");
    faults.add(Violation { code: "duplicate", fix: "remove one of them".into(), ..violation });
}
