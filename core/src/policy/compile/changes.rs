//! What each kind of change touches.
use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;

use super::{
    Compiler,
    nouns::Noun,
    policies::{World, is_about},
    workloads::{self, WorkloadId},
};
use crate::{
    address::Claim,
    log::Change,
    model::{Endpoint, Fleet, Key, Kind, Resource, Scope, Uid},
};

impl Compiler {
    /// Whether an endpoint runs on this node.
    pub(super) fn is_local(&self, cluster: Uid, endpoint: &Endpoint) -> bool {
        cluster == self.context.cluster && endpoint.node == self.context.node
    }

    /// Takes over a change of anything but a policy.
    pub(super) fn apply_noun(&mut self, change: &Change) {
        if change.key().kind == Kind::Endpoint {
            return self.apply_workload(change);
        }
        let Some(replaced) = self.nouns.apply(change) else { return };
        if let Some(old) = &replaced.old {
            self.forget(old);
        }
        if let Some(new) = &replaced.new {
            self.learn(new);
        }
    }

    /// Takes over a change of a workload, which its uid names.
    fn apply_workload(&mut self, change: &Change) {
        match change {
            Change::Put(object) => {
                self.remove_workload(object.uid);
                if let Scope::Cluster(cluster) = object.key.scope {
                    self.add_workload(object.uid, cluster, &object.resource);
                }
            }
            Change::Delete { uid, .. } => self.remove_workload(*uid),
        }
    }

    fn remove_workload(&mut self, uid: Uid) {
        let Some(id) = self.nouns.workloads.find(uid) else { return };
        self.peers.remove_endpoint(id);
        let Some((cluster, resource)) = self.nouns.workloads.remove(id) else { return };
        let Some(endpoint) = workloads::endpoint(&resource) else { return };
        endpoint.addresses.iter().for_each(|address| self.places.remove_claim(*address, id));
        self.note_named(id, endpoint, false);
        if self.is_local(cluster, endpoint) {
            self.dirty.insert(uid);
        }
    }

    fn add_workload(&mut self, uid: Uid, cluster: Uid, resource: &Arc<Resource>) {
        let Some(endpoint) = workloads::endpoint(resource) else { return };
        let (workloads, context) = (&mut self.nouns.workloads, &self.context);
        let id = workloads.add(uid, cluster, Arc::clone(resource));
        let claim = |id: WorkloadId| {
            let (endpoint, cluster, known) = workloads.get(id)?;
            let local = cluster == context.cluster && known.node == context.node;
            Some(Claim { local, started_ms: known.started_ms, endpoint })
        };
        for (address, own) in endpoint.addresses.iter().zip(std::iter::repeat(claim(id))) {
            own.into_iter().for_each(|own| self.places.add_claim(*address, (id, own), claim));
        }
        // All of them, just now.
        self.places.touch_workload(id, || None);
        self.peers.add_endpoint(id, cluster, resource, &self.nouns);
        self.note_named(id, endpoint, true);
        if self.is_local(cluster, endpoint) {
            self.dirty.insert(uid);
        }
    }

    fn forget(&mut self, noun: &Noun) {
        match (noun.resource.as_ref(), noun.cluster()) {
            (Resource::Node(node), _) => {
                node.addresses.iter().for_each(|address| self.places.remove_node(*address, &noun.key));
            }
            (Resource::Service(service), Some(cluster)) if cluster == self.context.cluster => {
                service.addresses.iter().for_each(|address| self.places.remove_service(*address, &noun.key));
            }
            (Resource::Fleet(fleet), _) => {
                self.set_service_ranges(fleet, false);
                self.peers.rematch_identities(&self.nouns, &mut self.places);
            }
            (Resource::ServiceExport(export), Some(cluster)) => {
                self.peers.rematch_service(cluster, &export.namespace, &self.nouns, &mut self.places);
            }
            (Resource::Cluster(cluster), _) => {
                cluster.prefixes.iter().for_each(|net| self.places.set_home(net.trunc(), noun.uid, false));
                self.rematch_cluster(noun.uid);
            }
            (Resource::Namespace(namespace), Some(cluster)) => {
                self.rematch_namespace(cluster, &namespace.name);
            }
            _ => {}
        }
    }

    fn learn(&mut self, noun: &Noun) {
        match (noun.resource.as_ref(), noun.cluster()) {
            (Resource::Node(node), _) => {
                node.addresses.iter().for_each(|address| self.places.add_node(*address, &noun.key));
            }
            (Resource::Service(service), Some(cluster)) if cluster == self.context.cluster => {
                service.addresses.iter().for_each(|address| self.places.add_service(*address, &noun.key));
            }
            (Resource::Fleet(fleet), _) => {
                self.set_service_ranges(fleet, true);
                self.peers.rematch_identities(&self.nouns, &mut self.places);
            }
            (Resource::ServiceExport(export), Some(cluster)) => {
                self.peers.rematch_service(cluster, &export.namespace, &self.nouns, &mut self.places);
            }
            (Resource::Cluster(cluster), _) => {
                cluster.prefixes.iter().for_each(|net| self.places.set_home(net.trunc(), noun.uid, true));
                self.rematch_cluster(noun.uid);
            }
            (Resource::Namespace(namespace), Some(cluster)) => {
                self.rematch_namespace(cluster, &namespace.name);
            }
            _ => {}
        }
    }

    fn set_service_ranges(&mut self, fleet: &Fleet, on: bool) {
        for net in [IpNet::V4(fleet.vip4), IpNet::V6(fleet.vip6)].map(|net| net.trunc()) {
            if on {
                self.places.add_prefix(net)
            } else {
                self.places.remove_prefix(net)
            }
            self.places.touch_within(net);
        }
    }

    fn rematch_cluster(&mut self, cluster: Uid) {
        self.peers.rematch_cluster(cluster, &self.nouns, &mut self.places);
        self.places.touch_nodes();
        if cluster == self.context.cluster {
            self.dirty.extend(self.locals.keys());
        }
    }

    fn rematch_namespace(&mut self, cluster: Uid, name: &crate::model::Name) {
        self.peers.rematch_namespace(cluster, name, &self.nouns, &mut self.places);
        if cluster == self.context.cluster {
            self.dirty.extend(self.locals.keys());
        }
    }

    fn note_named(&mut self, id: WorkloadId, endpoint: &Endpoint, on: bool) {
        let mut world = World { nouns: &self.nouns, peers: &mut self.peers, places: &mut self.places };
        self.policies.note_named(id, endpoint, on, &mut world);
    }

    /// The last change of each policy. Who deletes one names its incarnation: the one in force or one that did not fit
    /// until now; of any other it says nothing.
    pub(super) fn telling<'c>(&self, changes: Vec<&'c Change>) -> Vec<&'c Change> {
        let puts = |change: &Change, uid| matches!(change, Change::Put(object) if object.uid == uid);
        let mut last: BTreeMap<&Key, &Change> = BTreeMap::new();
        for change in changes {
            let key = change.key();
            if let Change::Delete { uid, .. } = change {
                let is_present = last.get(key).map_or_else(
                    || {
                        self.policies.noun(key).is_some_and(|noun| noun.uid == *uid)
                            || self.waiting.get(key).is_some_and(|(waiting, _)| puts(waiting, *uid))
                    },
                    |before| puts(before, *uid),
                );
                if !is_present {
                    continue;
                }
            }
            last.insert(key, change);
        }
        last.into_values().collect()
    }

    /// Takes over a change of a policy. Gives what was there before; `None`: the change changes nothing.
    pub(super) fn apply_policy(&mut self, change: &Change) -> Option<(Key, Option<Arc<Noun>>)> {
        let key = change.key();
        let old = self.policies.noun(key).cloned();
        let new = match change {
            Change::Put(object) => Some(Arc::new(Noun::new(object))),
            Change::Delete { .. } => {
                old.as_ref()?;
                None
            }
        };
        self.set_policy(key, new);
        Some((key.clone(), old))
    }

    /// Makes a policy be this.
    pub(super) fn set_policy(&mut self, key: &Key, noun: Option<Arc<Noun>>) {
        for local in self.policies.remove(key) {
            self.dirty.insert(local);
            if let Some(state) = self.locals.get_mut(&local) {
                state.policies.retain(|id| self.policies.state(*id).is_some());
            }
        }
        let Some(noun) = noun else { return };
        if let Some(policy) = noun.policy() {
            let everyone = self.locals.iter().map(|(uid, local)| (*uid, &local.labels));
            let found = self.local_labels.candidates(&policy.subject.pods, everyone);
            for uid in found.unwrap_or_else(|| self.locals.keys().copied().collect()) {
                let about = self.nouns.endpoint(uid).is_some_and(|(cluster, endpoint)| {
                    is_about(noun.key.scope, policy, cluster, endpoint, &self.nouns)
                });
                if about {
                    self.dirty.insert(uid);
                }
            }
        }
        self.policies.add(noun);
    }
}

/// Whether a change is of a policy.
pub(super) fn is_of_policy(change: &Change) -> bool {
    change.key().kind == Kind::Policy
}
