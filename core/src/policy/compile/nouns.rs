//! The objects that a node knows, found as the compiler needs them.
use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;

use super::workloads::Workloads;
use crate::{
    log::Change,
    model::{
        Cluster, Endpoint, Fleet, Key, Kind, Labels, Name, Node, Object, Policy, Resource, Scope, ServiceExport, Uid,
    },
};

/// An object without its bytes.
#[derive(Debug, Clone)]
pub(super) struct Noun {
    pub(super) key: Key,
    pub(super) uid: Uid,
    pub(super) revision: u64,
    pub(super) resource: Arc<Resource>,
}

impl Noun {
    pub(super) fn new(object: &Object) -> Self {
        Self {
            key: object.key.clone(),
            uid: object.uid,
            revision: object.revision,
            resource: Arc::clone(&object.resource),
        }
    }

    /// The cluster whose object it is.
    pub(super) fn cluster(&self) -> Option<Uid> {
        match self.key.scope {
            Scope::Cluster(uid) => Some(uid),
            Scope::Fleet => None,
        }
    }

    pub(super) fn policy(&self) -> Option<&Policy> {
        if let Resource::Policy(policy) = self.resource.as_ref() { Some(policy) } else { None }
    }
}

/// What was and what is, of one key.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) old: Option<Arc<Noun>>,
    pub(super) new: Option<Arc<Noun>>,
}

/// Everything but policies.
#[derive(Debug, Default)]
pub(super) struct Nouns {
    objects: HashMap<Key, Arc<Noun>>,
    fleet: Option<Arc<Noun>>,
    clusters: BTreeMap<Uid, Arc<Noun>>,
    namespaces: HashMap<Uid, HashMap<Name, Arc<Noun>>>,
    pub(super) workloads: Workloads,
}

impl Nouns {
    /// Takes a change of anything but a workload over. `None`: it changes nothing.
    pub(super) fn apply(&mut self, change: &Change) -> Option<Replaced> {
        // Policy judges backends by who they are, not by what leads to them.
        if change.key().kind == Kind::EndpointSlice {
            return None;
        }
        let (old, new) = match change {
            Change::Put(object) => {
                let new = Arc::new(Noun::new(object));
                (self.objects.insert(object.key.clone(), Arc::clone(&new)), Some(new))
            }
            Change::Delete { key, uid } => {
                self.objects.get(key).filter(|noun| noun.uid == *uid)?;
                (self.objects.remove(key), None)
            }
        };
        if let Some(old) = &old {
            self.forget(old);
        }
        if let Some(new) = &new {
            self.learn(new);
        }
        Some(Replaced { old, new })
    }

    fn forget(&mut self, noun: &Noun) {
        match (noun.resource.as_ref(), noun.cluster()) {
            (Resource::Fleet(_), _) => self.fleet = None,
            (Resource::Cluster(_), _) => drop(self.clusters.remove(&noun.uid)),
            (Resource::Namespace(namespace), Some(cluster)) => {
                self.namespaces.entry(cluster).or_default().remove(&namespace.name);
            }
            _ => {}
        }
    }

    fn learn(&mut self, noun: &Arc<Noun>) {
        match (noun.resource.as_ref(), noun.cluster()) {
            (Resource::Fleet(_), _) => self.fleet = Some(Arc::clone(noun)),
            (Resource::Cluster(_), _) => drop(self.clusters.insert(noun.uid, Arc::clone(noun))),
            (Resource::Namespace(namespace), Some(cluster)) => {
                self.namespaces.entry(cluster).or_default().insert(namespace.name.clone(), Arc::clone(noun));
            }
            _ => {}
        }
    }

    pub(super) fn fleet(&self) -> Option<&Fleet> {
        match self.fleet.as_ref()?.resource.as_ref() {
            Resource::Fleet(fleet) => Some(fleet),
            _ => None,
        }
    }

    pub(super) fn cluster(&self, uid: Uid) -> Option<&Cluster> {
        match self.clusters.get(&uid)?.resource.as_ref() {
            Resource::Cluster(cluster) => Some(cluster),
            _ => None,
        }
    }

    pub(super) fn clusters(&self) -> impl Iterator<Item = (Uid, &Cluster)> {
        self.clusters.keys().filter_map(|uid| Some((*uid, self.cluster(*uid)?)))
    }

    pub(super) fn namespace_labels(&self, cluster: Uid, name: &Name) -> Option<&Labels> {
        match self.namespaces.get(&cluster)?.get(name)?.resource.as_ref() {
            Resource::Namespace(namespace) => Some(&namespace.labels),
            _ => None,
        }
    }

    /// The export of a service by a cluster.
    pub(super) fn export(&self, cluster: Uid, namespace: &Name, name: &Name) -> Option<&ServiceExport> {
        let (kind, scope) = (Kind::ServiceExport, Scope::Cluster(cluster));
        let key = Key { kind, scope, namespace: namespace.to_string(), name: name.clone() };
        match self.objects.get(&key)?.resource.as_ref() {
            Resource::ServiceExport(export) => Some(export),
            _ => None,
        }
    }

    pub(super) fn node(&self, key: &Key) -> Option<(Uid, &Node)> {
        let noun = self.objects.get(key)?;
        match noun.resource.as_ref() {
            Resource::Node(node) => Some((noun.cluster()?, node)),
            _ => None,
        }
    }

    pub(super) fn endpoint(&self, uid: Uid) -> Option<(Uid, &Endpoint)> {
        let (_, cluster, endpoint) = self.workloads.get(self.workloads.find(uid)?)?;
        Some((cluster, endpoint))
    }
}
