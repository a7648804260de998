//! Everything that bears on services, found as it is needed, and what each change of it concerns.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::table::Owner;
use crate::{
    log::Change,
    model::{
        Cluster, Endpoint, EndpointSlice, Key, Name, Object, Resource, Scope, Service, ServiceExport, ServiceImport,
        Uid,
    },
};

/// A service's name: namespace and name.
pub(super) type ServiceName = (Name, Name);

/// The label of a node that says which zone it is in.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Who looks at services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Viewer {
    pub(super) cluster: Uid,
    /// `None`: nobody's node in particular.
    pub(super) node: Option<Name>,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Objects {
    pub(super) viewer: Viewer,
    /// Clusters, the viewer's cluster's nodes, endpoints, services of all sorts and slices.
    objects: BTreeMap<Key, (Uid, Arc<Resource>)>,
    /// Where to look for a cluster.
    clusters: BTreeMap<Uid, Key>,
    /// By cluster and namespace: a service looks only at the workloads that it could select.
    endpoints: BTreeMap<(Uid, Name), BTreeSet<Key>>,
    /// By cluster and namespace: the services that a workload there can stand behind.
    exported: BTreeMap<(Uid, Name), BTreeSet<Name>>,
    exports: BTreeMap<ServiceName, BTreeSet<Key>>,
    imports: BTreeMap<ServiceName, Key>,
    /// The viewer's cluster's own services, and those of them that select workloads, by namespace.
    services: BTreeMap<ServiceName, Key>,
    selecting: BTreeMap<Name, BTreeSet<Name>>,
    slices: BTreeMap<ServiceName, BTreeSet<Key>>,
    /// The zones of nodes, as far as they are known.
    zones: BTreeMap<(Uid, Name), String>,
}

impl Objects {
    pub(super) fn new(viewer: Viewer) -> Self {
        Self {
            viewer,
            objects: BTreeMap::new(),
            clusters: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            exported: BTreeMap::new(),
            exports: BTreeMap::new(),
            imports: BTreeMap::new(),
            services: BTreeMap::new(),
            selecting: BTreeMap::new(),
            slices: BTreeMap::new(),
            zones: BTreeMap::new(),
        }
    }

    /// Takes a change over, and adds whose frontends it may concern.
    pub(super) fn apply(&mut self, change: &Change, dirty: &mut BTreeSet<Owner>) {
        match change {
            Change::Put(object) => {
                self.forget(&object.key, dirty);
                self.learn(object, dirty);
            }
            Change::Delete { key, uid } if self.objects.get(key).is_some_and(|(held, _)| held == uid) => {
                self.forget(key, dirty);
            }
            Change::Delete { .. } => {}
        }
    }

    fn learn(&mut self, object: &Object, dirty: &mut BTreeSet<Owner>) {
        let key = &object.key;
        if self.index(key, object.uid, &object.resource, true, dirty) {
            self.objects.insert(key.clone(), (object.uid, Arc::clone(&object.resource)));
        }
    }

    fn forget(&mut self, key: &Key, dirty: &mut BTreeSet<Owner>) {
        if let Some((uid, resource)) = self.objects.remove(key) {
            self.index(key, uid, &resource, false, dirty);
        }
    }

    /// Adds an object to the indexes, or takes it out of them. False: it does not bear on services.
    fn index(&mut self, key: &Key, uid: Uid, resource: &Resource, on: bool, dirty: &mut BTreeSet<Owner>) -> bool {
        let is_own = key.scope == Scope::Cluster(self.viewer.cluster);
        match (resource, key.scope) {
            (Resource::Cluster(_), _) => {
                set(&mut self.clusters, uid, key, on);
                dirty.extend(self.imports.keys().map(|(namespace, name)| import(namespace, name)));
                dirty.extend(self.services.keys().map(|(namespace, name)| own(namespace, name)));
            }
            (Resource::Node(node), Scope::Cluster(cluster)) => {
                let (zone, place) = (node.labels.get(ZONE_LABEL).filter(|_| on), (cluster, node.name.clone()));
                if self.zones.get(&place) != zone {
                    match zone {
                        Some(zone) => drop(self.zones.insert(place, zone.clone())),
                        None => drop(self.zones.remove(&place)),
                    }
                    dirty.extend(self.imports.keys().map(|(namespace, name)| import(namespace, name)));
                    dirty.extend(self.services.keys().map(|(namespace, name)| own(namespace, name)));
                }
            }
            (Resource::Endpoint(endpoint), Scope::Cluster(cluster)) => {
                let place = (cluster, endpoint.namespace.clone());
                self.touch(&place, dirty);
                index(&mut self.endpoints, place, key, on);
            }
            (Resource::ServiceExport(export), Scope::Cluster(cluster)) => {
                let name = (export.namespace.clone(), export.name.clone());
                index(&mut self.exported, (cluster, name.0.clone()), &name.1, on);
                self.touch_both(&name, dirty);
                index(&mut self.exports, name, key, on);
            }
            (Resource::ServiceImport(import), _) => {
                let name = (import.namespace.clone(), import.name.clone());
                self.touch_both(&name, dirty);
                set(&mut self.imports, name, key, on);
            }
            (Resource::Service(service), _) if is_own => {
                let name = (service.namespace.clone(), service.name.clone());
                if !service.selector.is_empty() {
                    index(&mut self.selecting, name.0.clone(), &name.1, on);
                }
                dirty.insert(own(&name.0, &name.1));
                set(&mut self.services, name, key, on);
            }
            (Resource::EndpointSlice(slice), _) if is_own => {
                dirty.insert(own(&slice.namespace, &slice.service));
                index(&mut self.slices, (slice.namespace.clone(), slice.service.clone()), key, on);
            }
            _ => return false,
        }
        true
    }

    /// The services that a workload of this place can stand behind.
    fn touch(&self, place: &(Uid, Name), dirty: &mut BTreeSet<Owner>) {
        let namespace = &place.1;
        let exported = self.exported.get(place).into_iter().flatten();
        exported.for_each(|name| self.touch_both(&(namespace.clone(), name.clone()), dirty));
        if place.0 == self.viewer.cluster {
            dirty.extend(self.selecting.get(namespace).into_iter().flatten().map(|name| own(namespace, name)));
        }
    }

    /// An import, and the service of its name, which may lead to the same backends.
    fn touch_both(&self, name: &ServiceName, dirty: &mut BTreeSet<Owner>) {
        dirty.insert(import(&name.0, &name.1));
        if self.service(name).is_some_and(|service| service.global.is_some()) {
            dirty.insert(own(&name.0, &name.1));
        }
    }

    pub(super) fn import(&self, name: &ServiceName) -> Option<&ServiceImport> {
        match self.resource(self.imports.get(name)?)?.1 {
            Resource::ServiceImport(import) => Some(import),
            _ => None,
        }
    }

    /// Whether a namespace has any imports.
    pub(super) fn has_imports(&self, namespace: &str) -> bool {
        let Ok(namespace) = Name::new(namespace) else { return false };
        let first = self.imports.range((namespace.clone(), Name::least())..).next();
        first.is_some_and(|((its, _), _)| *its == namespace)
    }

    /// Of those clusters that lead somewhere from here: one that drains only leads its own clients to itself.
    pub(super) fn exports(&self, name: &ServiceName) -> impl Iterator<Item = (Uid, &ServiceExport)> {
        let drains = |cluster| self.cluster(cluster).is_some_and(|cluster| cluster.draining);
        let keys = self.exports.get(name).into_iter().flatten();
        keys.filter_map(move |key| match (self.resource(key)?.1, key.scope) {
            (Resource::ServiceExport(export), Scope::Cluster(cluster)) => {
                (cluster == self.viewer.cluster || !drains(cluster)).then_some((cluster, export))
            }
            _ => None,
        })
    }

    pub(super) fn service(&self, name: &ServiceName) -> Option<&Service> {
        match self.resource(self.services.get(name)?)?.1 {
            Resource::Service(service) => Some(service),
            _ => None,
        }
    }

    pub(super) fn slices(&self, name: &ServiceName) -> impl Iterator<Item = &EndpointSlice> {
        let keys = self.slices.get(name).into_iter().flatten();
        keys.filter_map(|key| match self.resource(key)?.1 {
            Resource::EndpointSlice(slice) => Some(slice),
            _ => None,
        })
    }

    /// The workloads of a cluster's namespace.
    pub(super) fn workloads(&self, cluster: Uid, namespace: &Name) -> impl Iterator<Item = (Uid, &Endpoint)> {
        let keys = self.endpoints.get(&(cluster, namespace.clone())).into_iter().flatten();
        keys.filter_map(|key| match self.resource(key)? {
            (uid, Resource::Endpoint(endpoint)) => Some((uid, endpoint)),
            _ => None,
        })
    }

    pub(super) fn cluster(&self, cluster: Uid) -> Option<&Cluster> {
        match self.resource(self.clusters.get(&cluster)?)?.1 {
            Resource::Cluster(cluster) => Some(cluster),
            _ => None,
        }
    }

    /// The zone of a cluster's node; empty if it is not known.
    pub(super) fn zone(&self, cluster: Uid, node: &Name) -> &str {
        self.zones.get(&(cluster, node.clone())).map_or("", String::as_str)
    }

    fn resource(&self, key: &Key) -> Option<(Uid, &Resource)> {
        self.objects.get(key).map(|(uid, resource)| (*uid, resource.as_ref()))
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = Change> {
        use bytes::Bytes;
        let put = |(key, (uid, resource)): (&Key, &(Uid, Arc<Resource>))| {
            let (key, resource) = (key.clone(), Arc::clone(resource));
            let object = Object { key, uid: *uid, revision: 1, features: vec![], payload: Bytes::new(), resource };
            Change::Put(object)
        };
        self.objects.iter().map(put)
    }
}

fn import(namespace: &Name, name: &Name) -> Owner {
    Owner::Import(namespace.clone(), name.clone())
}

fn own(namespace: &Name, name: &Name) -> Owner {
    Owner::Own(namespace.clone(), name.clone())
}

fn set<K: Ord>(map: &mut BTreeMap<K, Key>, name: K, key: &Key, on: bool) {
    if on {
        map.insert(name, key.clone());
    } else {
        map.remove(&name);
    }
}

fn index<K: Ord, V: Ord + Clone>(index: &mut BTreeMap<K, BTreeSet<V>>, key: K, value: &V, on: bool) {
    if on {
        index.entry(key).or_default().insert(value.clone());
    } else if let Some(values) = index.get_mut(&key) {
        values.remove(value);
        if values.is_empty() {
            index.remove(&key);
        }
    }
}
