//! Where the frontends of one service lead, as one node sees it.
use std::collections::BTreeMap;

use super::{
    merge::offers,
    objects::{Objects, ServiceName},
    seat::{self, Seat, Seats},
    selection::{Candidate, Here, select},
    table::{Backend, Frontend, Route, ServiceTable},
};
use crate::model::{
    Affinity, DEFAULT_WEIGHT, Distribution, Family, Internal, Protocol, Service, ServiceImport, ServicePort, Traffic,
};

/// The frontends of an import: each of its addresses and ports.
pub(super) fn of_import(objects: &Objects, name: &ServiceName) -> ServiceTable {
    let Some(import) = objects.import(name) else { return ServiceTable::new() };
    let own = objects.exports(name).find(|(cluster, _)| *cluster == objects.viewer.cluster);
    let affinity = own.map_or(Affinity::default(), |(_, export)| export.affinity);
    let mut table = ServiceTable::new();
    for port in &import.ports {
        for vip in &import.vips {
            let frontend = Frontend { address: *vip, protocol: port.protocol, port: port.port };
            table.insert(frontend, fleet_wide(objects, name, import, port, affinity, Seats::new(), Family::of(*vip)));
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
                    // Its own clients have its own backends also where those are not shared with others.
                    let own = own_seats(objects, service, port, family);
                    let route = fleet_wide(objects, name, import, port, affinity, own, family);
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

/// The backends of every cluster that offers this port of the import, and `more`.
fn fleet_wide(
    objects: &Objects,
    name: &ServiceName,
    import: &ServiceImport,
    port: &ServicePort,
    affinity: Affinity,
    more: Seats<'_>,
    family: Family,
) -> Route {
    let here = objects.viewer.cluster;
    let region = |cluster| objects.cluster(cluster).map_or("", |cluster| cluster.region.as_str());
    let offering = objects.exports(name).filter(|(_, export)| offers(export, port));
    let mut candidates = BTreeMap::new();
    let mut add = |seats: Seats<'_>, weight| {
        for seat in seats.into_values().filter(|seat| is_near(objects, &import.traits.traffic, seat)) {
            let distance = distance(objects, import.traits.traffic.distribution, &seat);
            let Seat { cluster, address, port, ready, .. } = seat;
            let candidate = Candidate { cluster, region: region(cluster), weight, ready, distance, address, port };
            candidates.entry(address).or_insert(candidate);
        }
    };
    for one in offering {
        add(seat::of_export(objects, one, Some(port), family), one.1.weight);
    }
    add(more, DEFAULT_WEIGHT);
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
    let (cluster, seats) = (objects.viewer.cluster, own_seats(objects, service, port, family));
    let near = || seats.values().filter(|seat| is_near(objects, &service.traffic, seat));
    let mut usable: Vec<&Seat<'_>> = near().filter(|seat| seat.ready).collect();
    if usable.is_empty() {
        usable = near().filter(|seat| seat.leaving).collect();
    }
    let far = |seat: &Seat<'_>| distance(objects, service.traffic.distribution, seat);
    let least = usable.iter().map(|seat| far(seat)).min();
    usable.retain(|seat| Some(far(seat)) == least);
    let backend = |seat: &Seat<'_>| Backend { address: seat.address, port: seat.port, cluster, share: 1 };
    Route { backends: usable.into_iter().map(backend).collect(), sticky_s: service.traffic.sticky_s.unwrap_or(0) }
}

/// Everything behind a port of the cluster's own service.
fn own_seats<'o>(objects: &'o Objects, service: &'o Service, port: &ServicePort, family: Family) -> Seats<'o> {
    let (cluster, name) = (objects.viewer.cluster, (service.namespace.clone(), service.name.clone()));
    let mut seats = Seats::new();
    if service.selector.is_empty() {
        let slices = objects.slices(&name).map(|slice| &slice.backends);
        seat::listed(cluster, slices, Some(port), family, &mut seats);
    } else {
        let service_name = (&service.namespace, &service.name);
        seat::selected(objects, cluster, service_name, &service.selector, (Some(port), family), &mut seats);
    }
    seats
}

/// Whether a client of this node may be led there at all.
fn is_near(objects: &Objects, traffic: &Traffic, seat: &Seat<'_>) -> bool {
    traffic.internal == Internal::Cluster || is_on_node(objects, seat)
}

fn is_on_node(objects: &Objects, seat: &Seat<'_>) -> bool {
    let viewer = &objects.viewer;
    seat.cluster == viewer.cluster && viewer.node.as_ref().is_some_and(|node| node.as_str() == seat.node)
}

/// How far a backend is from a client of this node, as a preference counts it: of those that can serve the nearest do.
fn distance(objects: &Objects, distribution: Option<Distribution>, seat: &Seat<'_>) -> u8 {
    let viewer = &objects.viewer;
    let zone = viewer.node.as_ref().map_or("", |node| objects.zone(viewer.cluster, node));
    let out_of_zone = u8::from(zone.is_empty() || seat.zone != zone);
    match distribution {
        None => 0,
        Some(Distribution::PreferClose | Distribution::PreferSameZone) => out_of_zone,
        Some(Distribution::PreferSameNode) if is_on_node(objects, seat) => 0,
        Some(Distribution::PreferSameNode) => 1 + out_of_zone,
    }
}
