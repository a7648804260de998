//! Who is at an address and what a policy is called: for people who read flows.
use std::{collections::HashMap, net::IpAddr, sync::Arc};

use axle_core::{
    address::{Claim, Claims},
    identity::Identity,
    log::Change,
    model::{Endpoint, Name, Object, Policy, Resource, Scope, Uid},
};
use axle_proto::v1;

use super::enforcement::Place;

/// Follows the log's objects that have names for people.
#[derive(Debug)]
pub(super) struct Directory {
    place: Place,
    clusters: HashMap<Uid, Name>,
    endpoints: HashMap<Uid, (Uid, Arc<Resource>)>,
    policies: HashMap<Uid, Arc<Resource>>,
    claims: Claims,
    excluded: Vec<String>,
}

impl Directory {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            clusters: HashMap::new(),
            endpoints: HashMap::new(),
            policies: HashMap::new(),
            claims: Claims::default(),
            excluded: Vec::new(),
        }
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match change {
            Change::Put(object) => self.put(object),
            Change::Delete { uid, .. } => {
                self.forget_endpoint(*uid);
                self.clusters.remove(uid);
                self.policies.remove(uid);
            }
        }
    }

    pub(super) fn put(&mut self, object: &Object) {
        match (&*object.resource, object.key.scope) {
            (Resource::Cluster(cluster), _) => drop(self.clusters.insert(object.uid, cluster.name.clone())),
            (Resource::Policy(_), _) => drop(self.policies.insert(object.uid, object.resource.clone())),
            (Resource::Fleet(fleet), _) => self.excluded.clone_from(&fleet.excluded_label_keys),
            (Resource::Endpoint(endpoint), Scope::Cluster(cluster)) => {
                self.forget_endpoint(object.uid);
                for address in &endpoint.addresses {
                    self.claims.add(*address, self.claim(object.uid, cluster, endpoint));
                }
                self.endpoints.insert(object.uid, (cluster, object.resource.clone()));
            }
            _ => {}
        }
    }

    fn claim(&self, uid: Uid, cluster: Uid, endpoint: &Endpoint) -> Claim {
        let local = cluster == self.place.cluster && endpoint.node == self.place.node;
        Claim { local, started_ms: endpoint.started_ms, endpoint: uid }
    }

    fn forget_endpoint(&mut self, uid: Uid) {
        let Some((cluster, resource)) = self.endpoints.remove(&uid) else { return };
        if let Resource::Endpoint(endpoint) = &*resource {
            for address in &endpoint.addresses {
                self.claims.remove(*address, &self.claim(uid, cluster, endpoint));
            }
        }
    }

    /// One end of a flow.
    pub(super) fn end(&self, address: IpAddr) -> v1::FlowEnd {
        let mut end = v1::FlowEnd { address: octets(address).into(), ..v1::FlowEnd::default() };
        let held = self.claims.holder(address).and_then(|claim| self.endpoints.get(&claim.endpoint));
        let Some((cluster, resource)) = held else { return end };
        if let Resource::Endpoint(endpoint) = &**resource {
            end.cluster = self.clusters.get(cluster).map(ToString::to_string).unwrap_or_default();
            end.namespace = endpoint.namespace.to_string();
            end.workload = endpoint.name.to_string();
            end.identity = Identity::of(endpoint, &self.excluded).id().0.to_vec().into();
            end.labels = endpoint.labels.clone().into_iter().collect();
        }
        end
    }

    /// The policy of that uid.
    pub(super) fn policy(&self, uid: Uid) -> Option<&Policy> {
        match &**self.policies.get(&uid)? {
            Resource::Policy(policy) => Some(policy),
            _ => None,
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
