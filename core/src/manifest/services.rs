//! Services of an agent's cluster, and the wish to offer them to the fleet.
use std::net::IpAddr;

use super::{
    inventory::{addresses, duplicate, metadata, protocol},
    labels::labels,
    ports::port_name,
    reader::{At, Faults, Map},
};
use crate::model::{
    self, Affinity, DEFAULT_WEIGHT, Distribution, EndpointSlice, Family, Internal, Labels, MAX_SERVICE_PORTS, Name,
    PortTarget, ServiceExport, ServicePort, Traffic, Traits,
};

/// A service of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The namespace it is in.
    pub namespace: Name,
    /// Unique in its namespace.
    pub name: Name,
    /// Which workloads of its namespace are its backends; empty: none but those of its [`EndpointSlice`]s.
    pub selector: Labels,
    /// Its ports; at least one, names and (protocol, port) pairs unique.
    pub ports: Vec<ServicePort>,
    /// Which backends clients of this cluster prefer.
    pub affinity: Affinity,
    /// Its own addresses (`clusterIPs`), at most one per family.
    pub addresses: Vec<IpAddr>,
    /// What the export takes over, but for labels and annotations.
    pub traits: Traits,
    /// See [`model::Service::global`](crate::model::Service::global).
    pub global: Option<Affinity>,
    /// Whether [`EndpointSlice`]s say what its backends are, also where it has a selector.
    pub sliced: bool,
}

/// The wish to offer the service of the same namespace and name to the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The service's namespace.
    pub namespace: Name,
    /// The service's name.
    pub name: Name,
    /// Share of traffic among equals; 0 drains.
    pub weight: u32,
    /// When it was made, in milliseconds since 1970, if somebody kept that.
    pub created_ms: Option<u64>,
    /// Labels that the import shall carry.
    pub labels: Labels,
    /// Annotations that the import shall carry.
    pub annotations: Labels,
}

impl Service {
    /// The service as its own cluster's nodes need it.
    #[must_use]
    pub fn own(&self) -> model::Service {
        let Self { namespace, name, selector, ports, addresses, traits, global, sliced, affinity: _ } = self.clone();
        let selector = if sliced { Labels::new() } else { selector };
        model::Service { namespace, name, selector, addresses, ports, traffic: traits.traffic, global }
    }
}

impl Export {
    /// An export that asks for nothing but to be one.
    #[must_use]
    pub fn new(namespace: Name, name: Name) -> Self {
        let (labels, annotations) = (Labels::new(), Labels::new());
        Self { namespace, name, weight: DEFAULT_WEIGHT, created_ms: None, labels, annotations }
    }

    /// What the fleet is offered: this service, made at `now_ms` if nobody knows better. Of a service without a selector
    /// the slices say what its backends are.
    #[must_use]
    pub fn of(&self, service: &Service, slices: &[&EndpointSlice], now_ms: u64) -> ServiceExport {
        let Service { namespace, name, selector, ports, affinity, traits, .. } = service.clone();
        let backends = match selector.is_empty() {
            true => slices.iter().map(|slice| slice.backends.clone()).collect(),
            false => Vec::new(),
        };
        let traits = Traits { labels: self.labels.clone(), annotations: self.annotations.clone(), ..traits };
        let created_ms = self.created_ms.unwrap_or(now_ms);
        ServiceExport { namespace, name, created_ms, selector, ports, affinity, weight: self.weight, traits, backends }
    }
}

/// The largest share: sums of many fit 32 bits.
const MAX_WEIGHT: u32 = 10_000;

pub(super) fn service(map: &Map<'_>, faults: &mut Faults) -> Option<Service> {
    let metadata = metadata(map, true, false, faults);
    let spec = map.required("spec", faults).and_then(|at| at.map(faults));
    map.finish(faults);
    let spec = spec?;
    let selector = spec.required("selector", faults).and_then(|at| {
        let selector = labels(&at, faults)?;
        if selector.is_empty() {
            at.invalid(
                "at least one label",
                "an empty selector would select nothing: name the backends' labels",
                faults,
            );
        }
        Some(selector)
    });
    let ports = spec.required("ports", faults).and_then(|at| service_ports(&at, faults));
    let affinities = [("local", Affinity::Local), ("remote", Affinity::Remote), ("none", Affinity::None)];
    let affinity = spec.optional("affinity").map_or(Some(Affinity::Local), |at| at.choice(&affinities, faults));
    let addresses = spec.optional("clusterIPs").map_or(Some(Vec::new()), |at| cluster_ips(&at, faults));
    let traffic = traffic(&spec, faults);
    spec.finish(faults);
    let (metadata, addresses) = (metadata?, addresses?);
    Some(Service {
        namespace: metadata.namespace?,
        name: metadata.name?,
        selector: selector?,
        ports: ports?,
        affinity: affinity?,
        traits: Traits { traffic: traffic?, ..Traits::default() },
        addresses,
        global: None,
        sliced: false,
    })
}

pub(super) fn export(map: &Map<'_>, faults: &mut Faults) -> Option<Export> {
    let metadata = metadata(map, true, false, faults);
    let spec = map.optional("spec").map(|at| at.map(faults));
    map.finish(faults);
    let weight = match spec {
        None => Some(DEFAULT_WEIGHT),
        Some(spec) => {
            let spec = spec?;
            let weight = spec.optional("weight").map_or(Some(DEFAULT_WEIGHT), |at| at.integer(0..=MAX_WEIGHT, faults));
            spec.finish(faults);
            weight
        }
    };
    let metadata = metadata?;
    Some(Export { weight: weight?, ..Export::new(metadata.namespace?, metadata.name?) })
}

/// The service's own addresses, at most one per family.
fn cluster_ips(at: &At<'_>, faults: &mut Faults) -> Option<Vec<IpAddr>> {
    let all = addresses(at, faults)?;
    let count = |family| all.iter().filter(|address| Family::of(**address) == family).count();
    if count(Family::V4) > 1 || count(Family::V6) > 1 {
        at.invalid("at most one address per family", "make a service of each", faults);
        return None;
    }
    Some(all)
}

/// How long a client stays with its backend if `sessionAffinity` does not say, in seconds: Kubernetes' three hours.
const STICKY_S: u32 = 10_800;

fn traffic(spec: &Map<'_>, faults: &mut Faults) -> Option<Traffic> {
    let affinities = [("ClientIP", Some(STICKY_S)), ("None", None)];
    let sticky_s = spec.optional("sessionAffinity").map_or(Some(None), |at| at.choice(&affinities, faults));
    let policies = [("Cluster", Internal::Cluster), ("Local", Internal::Local)];
    let internal = spec.optional("internalTrafficPolicy");
    let internal = internal.map_or(Some(Internal::Cluster), |at| at.choice(&policies, faults));
    let distributions = [
        ("PreferClose", Some(Distribution::PreferClose)),
        ("PreferSameZone", Some(Distribution::PreferSameZone)),
        ("PreferSameNode", Some(Distribution::PreferSameNode)),
    ];
    let distribution = spec.optional("trafficDistribution");
    let distribution = distribution.map_or(Some(None), |at| at.choice(&distributions, faults));
    Some(Traffic { sticky_s: sticky_s?, internal: internal?, distribution: distribution? })
}

fn service_ports(at: &At<'_>, faults: &mut Faults) -> Option<Vec<ServicePort>> {
    let items = at.some_list("give the ports that clients use", faults)?;
    if items.len() > MAX_SERVICE_PORTS {
        at.invalid(format!("at most {MAX_SERVICE_PORTS} ports"), "split the service", faults);
        return None;
    }
    let many = items.len() > 1;
    let mut ports: Vec<ServicePort> = Vec::new();
    for item in items {
        let Some(map) = item.map(faults) else { continue };
        let name_at = if many { map.required("name", faults) } else { map.optional("name") };
        let name = name_at.map_or((!many).then(String::new), |at| port_name(&at, faults));
        let protocol = protocol(&map, faults);
        let port = map.required("port", faults).and_then(|at| at.integer(1..=u16::MAX, faults));
        let target = match map.optional("targetPort") {
            None => port.map(PortTarget::Number),
            Some(at) if at.is_integer() => at.integer(1..=u16::MAX, faults).map(PortTarget::Number),
            Some(at) => port_name(&at, faults).map(PortTarget::Name),
        };
        map.finish(faults);
        let (Some(name), Some(protocol), Some(port), Some(target)) = (name, protocol, port, target) else { continue };
        if ports.iter().any(|other| other.name == name || (other.protocol, other.port) == (protocol, port)) {
            duplicate(&item, format!("the port {name:?} ({protocol:?} {port}) a second time"), faults);
        }
        ports.push(ServicePort { name, protocol, port, target, app_protocol: String::new() });
    }
    Some(ports)
}
