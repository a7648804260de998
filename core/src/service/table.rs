//! What a node's data plane needs of services: frontends and their backends, kept up to date change by change.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    merge::offers,
    selection::{Candidate, Here, select},
};
use crate::{
    address::Claim,
    log::Change,
    model::{
        Affinity, Endpoint, Key, Name, Object, PortTarget, Protocol, Resource, Scope, ServiceExport, ServicePort, Uid,
    },
};

/// What a client connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// The service's address.
    pub address: IpAddr,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The service's port.
    pub port: u16,
}

/// Where a connection may be led.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// The workload's address, of the frontend's family.
    pub address: IpAddr,
    /// The workload's port.
    pub port: u16,
    /// Its cluster.
    pub cluster: Uid,
    /// Its share of the traffic, of the sum of all; more than 0.
    pub share: u32,
}

/// The frontends of a node with their backends, in the order of the addresses. No backends: connections are refused.
pub type ServiceTable = BTreeMap<Frontend, Vec<Backend>>;

/// A service's name: namespace and name.
type ServiceName = (Name, Name);

/// Everything that bears on services, seen from one cluster.
#[derive(Debug, Clone)]
pub struct Services {
    here: Uid,
    /// Clusters, endpoints, exports and imports.
    objects: BTreeMap<Key, Object>,
    /// Where to look for a cluster.
    clusters: BTreeMap<Uid, Key>,
    /// By cluster and namespace: a service looks only at the workloads that it could select.
    endpoints: BTreeMap<(Uid, Name), BTreeSet<Key>>,
    /// By cluster and namespace: the services that a workload there can stand behind.
    exported: BTreeMap<(Uid, Name), BTreeSet<Name>>,
    exports: BTreeMap<ServiceName, BTreeSet<Key>>,
    imports: BTreeMap<ServiceName, Key>,
    table: BTreeMap<ServiceName, ServiceTable>,
}

impl Services {
    /// No services, for the nodes of this cluster.
    #[must_use]
    pub fn new(here: Uid) -> Self {
        Self {
            here,
            objects: BTreeMap::new(),
            clusters: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            exported: BTreeMap::new(),
            exports: BTreeMap::new(),
            imports: BTreeMap::new(),
            table: BTreeMap::new(),
        }
    }

    /// The frontends of one service, if it is imported.
    #[must_use]
    pub fn of(&self, namespace: &Name, name: &Name) -> Option<&ServiceTable> {
        self.table.get(&(namespace.clone(), name.clone()))
    }

    /// Every frontend with its backends.
    pub fn frontends(&self) -> impl Iterator<Item = (&Frontend, &Vec<Backend>)> {
        self.table.values().flatten()
    }

    /// Takes changes over and gives the frontends that differ afterwards: with their backends, or `None` where the
    /// frontend is gone.
    pub fn apply<'c>(
        &mut self,
        changes: impl IntoIterator<Item = &'c Change>,
    ) -> BTreeMap<Frontend, Option<Vec<Backend>>> {
        let mut dirty = BTreeSet::new();
        for change in changes {
            match change {
                Change::Put(object) => {
                    self.forget(&object.key, &mut dirty);
                    self.learn(object, &mut dirty);
                }
                Change::Delete { key, uid } if self.objects.get(key).is_some_and(|object| object.uid == *uid) => {
                    self.forget(key, &mut dirty);
                }
                Change::Delete { .. } => {}
            }
        }
        let (mut differ, mut later) = (BTreeMap::new(), BTreeMap::new());
        for name in dirty {
            let new = self.frontends_of(&name);
            let old = self.table.remove(&name).unwrap_or_default();
            differ.extend(old.keys().filter(|frontend| !new.contains_key(frontend)).map(|gone| (*gone, None)));
            let changed = new.iter().filter(|(frontend, backends)| old.get(frontend) != Some(backends));
            later.extend(changed.map(|(frontend, backends)| (*frontend, Some(backends.clone()))));
            if !new.is_empty() {
                self.table.insert(name, new);
            }
        }
        // An address that one service gives up and another takes in the same change is not gone.
        differ.extend(later);
        differ
    }

    fn learn(&mut self, object: &Object, dirty: &mut BTreeSet<ServiceName>) {
        let key = &object.key;
        match (object.resource.as_ref(), key.scope) {
            (Resource::Cluster(_), _) => {
                self.clusters.insert(object.uid, key.clone());
                dirty.extend(self.imports.keys().cloned());
            }
            (Resource::Endpoint(endpoint), Scope::Cluster(cluster)) => {
                let place = (cluster, endpoint.namespace.clone());
                self.touch(&place, dirty);
                self.endpoints.entry(place).or_default().insert(key.clone());
            }
            (Resource::ServiceExport(export), Scope::Cluster(cluster)) => {
                let name = (export.namespace.clone(), export.name.clone());
                self.exported.entry((cluster, name.0.clone())).or_default().insert(name.1.clone());
                self.exports.entry(name.clone()).or_default().insert(key.clone());
                dirty.insert(name);
            }
            (Resource::ServiceImport(import), _) => {
                let name = (import.namespace.clone(), import.name.clone());
                self.imports.insert(name.clone(), key.clone());
                dirty.insert(name);
            }
            _ => return,
        }
        self.objects.insert(key.clone(), object.clone());
    }

    fn forget(&mut self, key: &Key, dirty: &mut BTreeSet<ServiceName>) {
        let Some(object) = self.objects.remove(key) else { return };
        match (object.resource.as_ref(), key.scope) {
            (Resource::Cluster(_), _) => {
                self.clusters.remove(&object.uid);
                dirty.extend(self.imports.keys().cloned());
            }
            (Resource::Endpoint(endpoint), Scope::Cluster(cluster)) => {
                let place = (cluster, endpoint.namespace.clone());
                self.touch(&place, dirty);
                remove(&mut self.endpoints, &place, key);
            }
            (Resource::ServiceExport(export), Scope::Cluster(cluster)) => {
                let name = (export.namespace.clone(), export.name.clone());
                remove(&mut self.exported, &(cluster, name.0.clone()), &name.1);
                remove(&mut self.exports, &name, key);
                dirty.insert(name);
            }
            (Resource::ServiceImport(import), _) => {
                let name = (import.namespace.clone(), import.name.clone());
                self.imports.remove(&name);
                dirty.insert(name);
            }
            _ => {}
        }
    }

    /// The services that a workload of this place can stand behind.
    fn touch(&self, place: &(Uid, Name), dirty: &mut BTreeSet<ServiceName>) {
        let names = self.exported.get(place).into_iter().flatten();
        dirty.extend(names.map(|name| (place.1.clone(), name.clone())));
    }

    fn frontends_of(&self, name: &ServiceName) -> ServiceTable {
        let import = self.imports.get(name).and_then(|key| self.objects.get(key));
        let Some(Resource::ServiceImport(import)) = import.map(|object| object.resource.as_ref()) else {
            return ServiceTable::new();
        };
        let here = Here { cluster: self.here, region: self.region(self.here).to_owned() };
        let exports: Vec<_> = self.exports_of(name).collect();
        let own = exports.iter().find(|(cluster, _)| *cluster == self.here);
        let affinity = own.map_or(Affinity::default(), |(_, export)| export.affinity);
        let mut table = ServiceTable::new();
        for port in &import.ports {
            let offering: Vec<_> = exports.iter().filter(|(_, export)| offers(export, port)).collect();
            for vip in &import.vips {
                let mut candidates = BTreeMap::new();
                for (cluster, export) in &offering {
                    self.candidates(*cluster, export, port, vip.is_ipv4(), &mut candidates);
                }
                let candidates: Vec<_> = candidates.into_values().map(|(_, candidate)| candidate).collect();
                let shares = select(&here, affinity, &candidates);
                let serving = candidates.iter().zip(shares).filter(|(_, share)| *share > 0);
                let backends = serving.map(|(candidate, share)| Backend {
                    address: candidate.address,
                    port: candidate.port,
                    cluster: candidate.cluster,
                    share,
                });
                let frontend = Frontend { address: *vip, protocol: port.protocol, port: port.port };
                table.insert(frontend, backends.collect());
            }
        }
        table
    }

    /// Adds a cluster's workloads behind a port; of several that claim one address the holder stays.
    fn candidates<'s>(
        &'s self,
        cluster: Uid,
        export: &'s ServiceExport,
        port: &ServicePort,
        ipv4: bool,
        into: &mut BTreeMap<IpAddr, (Claim, Candidate<'s>)>,
    ) {
        let Some(target) = export.ports.iter().find(|own| own.name == port.name).map(|own| &own.target) else { return };
        let keys = self.endpoints.get(&(cluster, export.namespace.clone())).into_iter().flatten();
        for object in keys.filter_map(|key| self.objects.get(key)) {
            let Resource::Endpoint(endpoint) = object.resource.as_ref() else { continue };
            let Some(number) = target_port(target, port.protocol, endpoint) else { continue };
            if !selects(export, endpoint) {
                continue;
            }
            // Whether it runs on this node decides nothing here: every node of the cluster shall choose alike.
            let claim = Claim { local: false, started_ms: endpoint.started_ms, endpoint: object.uid };
            for address in endpoint.addresses.iter().filter(|address| address.is_ipv4() == ipv4) {
                if into.get(address).is_some_and(|(holder, _)| *holder > claim) {
                    continue;
                }
                let candidate = Candidate {
                    cluster,
                    region: self.region(cluster),
                    weight: export.weight,
                    ready: endpoint.ready,
                    address: *address,
                    port: number,
                };
                into.insert(*address, (claim, candidate));
            }
        }
    }

    fn exports_of(&self, name: &ServiceName) -> impl Iterator<Item = (Uid, &ServiceExport)> {
        let keys = self.exports.get(name).into_iter().flatten();
        keys.filter_map(|key| match (self.objects.get(key)?.resource.as_ref(), key.scope) {
            (Resource::ServiceExport(export), Scope::Cluster(cluster)) => Some((cluster, export)),
            _ => None,
        })
    }

    fn region(&self, cluster: Uid) -> &str {
        match self.clusters.get(&cluster).and_then(|key| self.objects.get(key)).map(|object| object.resource.as_ref()) {
            Some(Resource::Cluster(cluster)) => &cluster.region,
            _ => "",
        }
    }
}

fn remove<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(values) = index.get_mut(key) {
        values.remove(value);
        if values.is_empty() {
            index.remove(key);
        }
    }
}

/// Whether an export's selector matches a workload of its namespace; an empty one matches none.
#[must_use]
pub fn selects(export: &ServiceExport, endpoint: &Endpoint) -> bool {
    !export.selector.is_empty() && export.selector.iter().all(|(key, value)| endpoint.labels.get(key) == Some(value))
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

#[cfg(test)]
mod tests;
