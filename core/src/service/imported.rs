//! The backends of imports, for who writes them down as EndpointSlices: kept up to date change by change.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    merge::offers,
    objects::{Objects, Viewer},
    seat,
    table::Owner,
};
use crate::{
    log::Change,
    model::{BackendEndpoint, Family, Name, NamedPort, ServicePort, Uid},
};

/// See the module.
#[derive(Debug, Clone)]
pub struct Imported {
    objects: Objects,
}

/// What backends must share to stand in one slice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// The name of the cluster that they are in.
    pub cluster: Name,
    /// The family of their addresses.
    pub family: Family,
    /// The import's ports that they offer, by name, each with the number that it has there.
    pub ports: Vec<NamedPort>,
}

/// Backends by their addresses, those that share something together.
pub type Shares = BTreeMap<Share, BTreeMap<IpAddr, BackendEndpoint>>;

impl Imported {
    /// Nothing yet, for somebody in this cluster.
    #[must_use]
    pub fn new(cluster: Uid) -> Self {
        Self { objects: Objects::new(Viewer { cluster, node: None }) }
    }

    /// Takes changes over and gives the imports, by namespace and name, whose backends may differ afterwards.
    pub fn apply<'c>(&mut self, changes: impl IntoIterator<Item = &'c Change>) -> BTreeSet<(Name, Name)> {
        let mut dirty = BTreeSet::new();
        changes.into_iter().for_each(|change| self.objects.apply(change, &mut dirty));
        let import = |owner| match owner {
            Owner::Import(namespace, name) => Some((namespace, name)),
            Owner::Own(..) => None,
        };
        dirty.into_iter().filter_map(import).collect()
    }

    /// The backends of an import in every cluster, ready or not; none if there is no such import.
    #[must_use]
    pub fn backends(&self, name: &(Name, Name)) -> Shares {
        let mut shares = Shares::new();
        let Some(import) = self.objects.import(name) else { return shares };
        let families: Vec<Family> = match import.traits.headless {
            true => vec![Family::V4, Family::V6],
            false => import.vips.iter().map(|vip| Family::of(*vip)).collect(),
        };
        for one in self.objects.exports(name) {
            let Some(cluster) = self.objects.cluster(one.0) else { continue };
            for family in &families {
                let mut offered: BTreeMap<IpAddr, (Vec<NamedPort>, BackendEndpoint)> = BTreeMap::new();
                let mut take = |port: Option<&ServicePort>| {
                    for (address, seat) in seat::of_export(&self.objects, one, port, *family) {
                        let (ports, _) = offered.entry(address).or_insert_with(|| (Vec::new(), backend(&seat)));
                        ports.extend(port.map(|port| NamedPort {
                            name: port.name.clone(),
                            protocol: port.protocol,
                            port: seat.port,
                        }));
                    }
                };
                import.ports.iter().filter(|port| offers(one.1, port)).for_each(|port| take(Some(port)));
                if import.ports.is_empty() {
                    take(None);
                }
                for (address, (ports, backend)) in offered {
                    let share = Share { cluster: cluster.name.clone(), family: *family, ports };
                    shares.entry(share).or_default().insert(address, backend);
                }
            }
        }
        shares
    }
}

/// Nodes of other clusters mean nothing elsewhere: only the zone is told.
fn backend(seat: &seat::Seat<'_>) -> BackendEndpoint {
    BackendEndpoint {
        addresses: vec![seat.address],
        ready: seat.ready,
        serving: seat.ready || seat.leaving,
        terminating: seat.leaving,
        node: String::new(),
        zone: seat.zone.to_owned(),
        hostname: seat.hostname.to_owned(),
    }
}
