//! Places behind a service's port, whether workloads that it selects or backends that somebody lists.
use std::{collections::BTreeMap, net::IpAddr};

use super::objects::Objects;
use crate::{
    address::Claim,
    model::{Backends, Endpoint, Family, Labels, Name, PortTarget, Protocol, ServiceExport, ServicePort, Uid},
};

/// Where a connection could be led.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seat<'o> {
    pub(super) cluster: Uid,
    pub(super) address: IpAddr,
    /// 0 where no port was asked for.
    pub(super) port: u16,
    pub(super) ready: bool,
    /// Whether it goes and still answers: better than nobody.
    pub(super) leaving: bool,
    pub(super) node: &'o str,
    /// Empty if it is not known.
    pub(super) zone: &'o str,
    /// Its own name in the service's domain; may be empty.
    pub(super) hostname: &'o str,
}

/// Seats by their addresses.
pub(super) type Seats<'o> = BTreeMap<IpAddr, Seat<'o>>;

/// Everything behind one cluster's export of a service, at one of its ports or at any, of one family.
pub(super) fn of_export<'o>(
    objects: &'o Objects,
    (cluster, export): (Uid, &'o ServiceExport),
    port: Option<&ServicePort>,
    family: Family,
) -> Seats<'o> {
    let own = |port: &ServicePort| export.ports.iter().find(|own| own.name == port.name);
    let port = match port.map(own) {
        Some(None) => return Seats::new(),
        Some(own) => own,
        None => None,
    };
    let mut seats = Seats::new();
    listed(cluster, &export.backends, port, family, &mut seats);
    let service = (&export.namespace, &export.name);
    selected(objects, cluster, service, &export.selector, (port, family), &mut seats);
    seats
}

/// Adds the workloads that a selector selects; of several that claim one address the holder stays.
pub(super) fn selected<'o>(
    objects: &'o Objects,
    cluster: Uid,
    (namespace, name): (&Name, &Name),
    selector: &Labels,
    (port, family): (Option<&ServicePort>, Family),
    into: &mut Seats<'o>,
) {
    if selector.is_empty() {
        return;
    }
    let mut holders: BTreeMap<IpAddr, Claim> = BTreeMap::new();
    for (uid, endpoint) in objects.workloads(cluster, namespace) {
        let number = match port {
            Some(port) => target_port(&port.target, port.protocol, endpoint),
            None => Some(0),
        };
        let Some(number) = number.filter(|_| matches(selector, endpoint)) else { continue };
        // Whether it runs on this node decides nothing here: every node of the cluster shall choose alike.
        let claim = Claim { local: false, started_ms: endpoint.started_ms, endpoint: uid };
        for address in endpoint.addresses.iter().filter(|address| Family::of(**address) == family) {
            if holders.get(address).is_some_and(|holder| *holder > claim) {
                continue;
            }
            holders.insert(*address, claim);
            let host = endpoint.host.as_ref().filter(|host| host.service == *name);
            let seat = Seat {
                cluster,
                address: *address,
                port: number,
                ready: endpoint.ready,
                leaving: false,
                node: endpoint.node.as_str(),
                zone: objects.zone(cluster, &endpoint.node),
                hostname: host.map_or("", |host| host.name.as_str()),
            };
            into.insert(*address, seat);
        }
    }
}

/// Adds listed backends; of two at one address the one that is ready stays.
pub(super) fn listed<'o>(
    cluster: Uid,
    all: impl IntoIterator<Item = &'o Backends>,
    port: Option<&ServicePort>,
    family: Family,
    into: &mut Seats<'o>,
) {
    for backends in all {
        let number = match port {
            Some(port) => {
                let own = backends.ports.iter().find(|own| own.name == port.name && own.protocol == port.protocol);
                own.map(|own| own.port)
            }
            None => Some(0),
        };
        let Some(port) = number else { continue };
        for endpoint in &backends.endpoints {
            let Some(address) = endpoint.addresses.iter().find(|address| Family::of(**address) == family) else {
                continue;
            };
            let seat = Seat {
                cluster,
                address: *address,
                port,
                ready: endpoint.ready,
                leaving: endpoint.serving && endpoint.terminating,
                node: &endpoint.node,
                zone: &endpoint.zone,
                hostname: &endpoint.hostname,
            };
            if into.get(address).is_none_or(|there| (there.ready, there.leaving) < (seat.ready, seat.leaving)) {
                into.insert(*address, seat);
            }
        }
    }
}

/// Whether an export's selector matches a workload of its namespace; an empty one matches none.
#[must_use]
pub fn selects(export: &ServiceExport, endpoint: &Endpoint) -> bool {
    matches(&export.selector, endpoint)
}

fn matches(selector: &Labels, endpoint: &Endpoint) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| endpoint.labels.get(key) == Some(value))
}

fn target_port(target: &PortTarget, protocol: Protocol, endpoint: &Endpoint) -> Option<u16> {
    match target {
        PortTarget::Number(number) => Some(*number),
        PortTarget::Name(name) => {
            let named = endpoint.named_ports.iter().find(|port| port.name == *name && port.protocol == protocol);
            named.map(|port| port.port)
        }
    }
}
