//! What one node of a cluster may not claim, because another has it.
use std::{collections::HashMap, net::IpAddr};

use axle_core::{
    log::Contents,
    model::{Key, Kind, Name, Node, Object, Resource, Scope, Uid},
    state::{Endpoints, range_of_others},
};
use axle_proto::convert;

/// Claims on one state of the log.
pub(super) struct Claims<'a> {
    cluster: Uid,
    contents: &'a Contents,
    endpoints: &'a Endpoints,
    /// Uids of this batch.
    taken: HashMap<Name, Key>,
}

impl<'a> Claims<'a> {
    pub(super) fn new(cluster: Uid, contents: &'a Contents, endpoints: &'a Endpoints) -> Self {
        Self { cluster, contents, endpoints, taken: HashMap::new() }
    }

    /// `object` without what it claims though it is another's, if anything is left of it, and a sentence for each claim. An
    /// endpoint is known by its uid wherever addresses are judged. A node stands outside policy, so one at another's address
    /// would take its workloads out of it; without that address it is a node all the same.
    pub(super) fn judge(&mut self, node: &Name, object: Object) -> (Option<Object>, Vec<String>) {
        let key = &object.key;
        match &*object.resource {
            Resource::Endpoint(_) => {
                let before = self.taken.insert(key.name.clone(), key.clone());
                if before.is_some_and(|before| before != *key) || self.endpoints.another(key).is_some() {
                    let why = format!("the uid {} is another endpoint's; wanted one that was never used", key.name);
                    return (None, vec![why]);
                }
                (Some(object), Vec::new())
            }
            Resource::Node(own) => {
                let whose: Vec<_> = own.addresses.iter().map(|address| self.whose(node, *address)).collect();
                if whose.iter().all(Option::is_none) {
                    return (Some(object), Vec::new());
                }
                let free = own.addresses.iter().zip(&whose).filter(|(_, whose)| whose.is_none());
                let addresses = free.map(|(address, _)| *address).collect();
                let left = Resource::Node(Node { addresses, ..own.clone() });
                let left = convert::object(left, key.scope, object.uid, object.revision);
                (Some(left), whose.into_iter().flatten().collect())
            }
            _ => (Some(object), Vec::new()),
        }
    }

    /// Why that is no address of `node`.
    fn whose(&self, node: &Name, address: IpAddr) -> Option<String> {
        if let Some(range) = range_of_others(self.contents, self.cluster, address) {
            return Some(format!("{address} is left out: it is in a range of {range}"));
        }
        let others = self.contents.list(Kind::Node).chain(self.contents.list(Kind::Endpoint));
        let (whose, owner, scope) = others.into_iter().find_map(|object| match &*object.resource {
            Resource::Node(other) if other.name != *node && other.addresses.contains(&address) => {
                Some((format!("node {}'s", other.name), &other.name, object.key.scope))
            }
            Resource::Endpoint(other) if other.node != *node && other.addresses.contains(&address) => {
                let whose = format!("workload {}/{}'s on node {}", other.namespace, other.name, other.node);
                Some((whose, &other.node, object.key.scope))
            }
            _ => None,
        })?;
        let cluster = self.contents.list(Kind::Cluster).find(|cluster| scope == Scope::Cluster(cluster.uid));
        let cluster = cluster.map_or("CLUSTER", |cluster| cluster.key.name.as_str());
        Some(format!(
            "{address} is left out: it is {whose}; if that node is gone for good: axle node remove {cluster} {owner}; if this \
             one only shares it, say with --node-address which are its own"
        ))
    }
}
