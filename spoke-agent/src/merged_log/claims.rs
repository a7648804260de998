//! What one node of a cluster may not claim, because another has it.
use std::{collections::HashMap, net::IpAddr};

use axle_core::{
    log::Contents,
    model::{Key, Kind, Name, Object, Resource},
    state::Endpoints,
};

/// Claims on one state of the log.
pub(super) struct Claims<'a> {
    contents: &'a Contents,
    endpoints: &'a Endpoints,
    /// Uids of this batch.
    taken: HashMap<Name, Key>,
}

impl<'a> Claims<'a> {
    pub(super) fn new(contents: &'a Contents, endpoints: &'a Endpoints) -> Self {
        Self { contents, endpoints, taken: HashMap::new() }
    }

    /// What `node` claims with this object though it is another's. An endpoint is known by its uid wherever addresses are
    /// judged. A node stands outside policy, so one at another's address would take its workloads out of it.
    pub(super) fn anothers(&mut self, node: &Name, object: &Object) -> Option<String> {
        let key = &object.key;
        match &*object.resource {
            Resource::Endpoint(_) => {
                let before = self.taken.insert(key.name.clone(), key.clone());
                let twice = before.is_some_and(|before| before != *key) || self.endpoints.another(key).is_some();
                twice.then(|| format!("the uid {} is another endpoint's; wanted one that was never used", key.name))
            }
            Resource::Node(own) => own.addresses.iter().find_map(|address| self.stands_at(node, *address)),
            _ => None,
        }
    }

    fn stands_at(&self, node: &Name, address: IpAddr) -> Option<String> {
        let others = self.contents.list(Kind::Node).chain(self.contents.list(Kind::Endpoint));
        let whose = others.into_iter().find_map(|object| match &*object.resource {
            Resource::Node(other) if other.name != *node && other.addresses.contains(&address) => {
                Some(format!("node {}'s", other.name))
            }
            Resource::Endpoint(other) if other.node != *node && other.addresses.contains(&address) => {
                Some(format!("workload {}/{}'s", other.namespace, other.name))
            }
            _ => None,
        })?;
        Some(format!(
            "node {node} has {address}, which is {whose}; if that is gone for good, remove its node at the hub"
        ))
    }
}
