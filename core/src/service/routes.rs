//! Where the frontends of one service lead, as one node sees it.
use std::collections::BTreeMap;

use super::{
    merge::offers,
    objects::{Objects, ServiceName},
    seat::{self, Seat, Seats},
    selection::{Candidate, Here, select},
    table::{Backend, Frontend, Route, ServiceTable},
};
use crate::model::{Affinity, Distribution, Family, Internal, Protocol, Service, ServiceImport, ServicePort, Traffic};

/// The frontends of an import: each of its addresses and ports.
pub(super) fn of_import(objects: &Objects, name: &ServiceName) -> ServiceTable {
    let Some(import) = objects.import(name) else { return ServiceTable::new() };
    let own = objects.exports(name).find(|(cluster, _)| *cluster == objects.viewer.cluster);
    let affinity = own.map_or(Affinity::default(), |(_, export)| export.affinity);
    let mut table = ServiceTable::new();
    for port in &import.ports {
        for vip in &import.vips {
            let frontend = Frontend { address: *vip, protocol: port.protocol, port: port.port };
            table.insert(frontend, fleet_wide(objects, name, import, port, affinity, Family::of(*vip)));
        }
    }
    table
}

/// The frontends of the cluster's own service: each of its addresses and ports, but those of SCTP, whose `connect()` no
/// program is asked about.
pub(super) fn of_service(objects: &Objects, name: &ServiceName) -> ServiceTable {
    let Some(service) = objects.service(name) else { return ServiceTable::new() };
    let mut table = ServiceTable::new();
    for port in service.ports.iter().filter(|port| port.protocol != Protocol::Sctp) {
        for address in &service.addresses {
            let family = Family::of(*address);
            let import = objects.import(name).filter(|import| import.ports.iter().any(|other| is_same(other, port)));
            let route = match (service.global, import) {
                (Some(affinity), Some(import)) => {
                    let route = fleet_wide(objects, name, import, port, affinity, family);
                    Route { sticky_s: service.traffic.sticky_s.unwrap_or(0), ..route }
                }
                _ => own(objects, service, port, family),
            };
            table.insert(Frontend { address: *address, protocol: port.protocol, port: port.port }, route);
        }
    }
    table
}

fn is_same(a: &ServicePort, b: &ServicePort) -> bool {
    a.name == b.name && a.protocol == b.protocol && a.port == b.port
}

/// The backends of every cluster that offers this port of the import.
fn fleet_wide(
    objects: &Objects,
    name: &ServiceName,
    import: &ServiceImport,
    port: &ServicePort,
    affinity: Affinity,
    family: Family,
) -> Route {
    let here = objects.viewer.cluster;
    let region = |cluster| objects.cluster(cluster).map_or("", |cluster| cluster.region.as_str());
    let offering = objects.exports(name).filter(|(_, export)| offers(export, port));
    let mut candidates = BTreeMap::new();
    for one in offering {
        for seat in seat::of_export(objects, one, Some(port), family).into_values() {
            let Seat { cluster, address, port, ready, .. } = seat;
            if is_near(objects, &import.traits.traffic, &seat) {
                let candidate =
                    Candidate { cluster, region: region(cluster), weight: one.1.weight, ready, address, port };
                candidates.entry(address).or_insert(candidate);
            }
        }
    }
    let candidates: Vec<Candidate<'_>> = candidates.into_values().collect();
    let shares = select(&Here { cluster: here, region: region(here).to_owned() }, affinity, &candidates);
    let serving = candidates.iter().zip(shares).filter(|(_, share)| *share > 0);
    let backends = serving.map(|(candidate, share)| Backend {
        address: candidate.address,
        port: candidate.port,
        cluster: candidate.cluster,
        share,
    });
    Route { backends: backends.collect(), sticky_s: import.traits.traffic.sticky_s.unwrap_or(0) }
}

/// The backends of the cluster's own service, as kube-proxy chooses them: those that are ready, and while there are none
/// those that go and still answer.
fn own(objects: &Objects, service: &Service, port: &ServicePort, family: Family) -> Route {
    let (cluster, name) = (objects.viewer.cluster, (service.namespace.clone(), service.name.clone()));
    let mut seats = Seats::new();
    if service.selector.is_empty() {
        let slices = objects.slices(&name).map(|slice| &slice.backends);
        seat::listed(cluster, slices, Some(port), family, &mut seats);
    } else {
        let service_name = (&service.namespace, &service.name);
        seat::selected(objects, cluster, service_name, &service.selector, (Some(port), family), &mut seats);
    }
    let near = || seats.values().filter(|seat| is_near(objects, &service.traffic, seat));
    let mut usable: Vec<&Seat<'_>> = near().filter(|seat| seat.ready).collect();
    if usable.is_empty() {
        usable = near().filter(|seat| seat.leaving).collect();
    }
    let usable = nearest(objects, service.traffic.distribution, usable);
    let backend = |seat: &Seat<'_>| Backend { address: seat.address, port: seat.port, cluster, share: 1 };
    Route { backends: usable.into_iter().map(backend).collect(), sticky_s: service.traffic.sticky_s.unwrap_or(0) }
}

/// Whether a client of this node may be led there at all.
fn is_near(objects: &Objects, traffic: &Traffic, seat: &Seat<'_>) -> bool {
    traffic.internal == Internal::Cluster || is_on_node(objects, seat)
}

fn is_on_node(objects: &Objects, seat: &Seat<'_>) -> bool {
    let viewer = &objects.viewer;
    seat.cluster == viewer.cluster && viewer.node.as_ref().is_some_and(|node| node.as_str() == seat.node)
}

/// Those that a preference prefers, or all if it finds none.
fn nearest<'s>(objects: &Objects, distribution: Option<Distribution>, seats: Vec<&'s Seat<'s>>) -> Vec<&'s Seat<'s>> {
    let zone = objects.viewer.node.as_ref().map_or("", |node| objects.zone(node.as_str()));
    let in_zone = |seat: &&Seat<'_>| !zone.is_empty() && seat.zone == zone;
    let of = |keep: &dyn Fn(&&Seat<'_>) -> bool| -> Vec<&'s Seat<'s>> {
        seats.iter().copied().filter(|seat| keep(seat)).collect()
    };
    let preferred = match distribution {
        None => return seats,
        Some(Distribution::PreferClose | Distribution::PreferSameZone) => of(&in_zone),
        Some(Distribution::PreferSameNode) => {
            let on_node = of(&|seat| is_on_node(objects, seat));
            if on_node.is_empty() { of(&in_zone) } else { on_node }
        }
    };
    if preferred.is_empty() { seats } else { preferred }
}
