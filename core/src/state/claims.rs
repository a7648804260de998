//! What only one may claim: an endpoint's uid, and the ranges of a cluster and of the fleet's services.
use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use crate::{
    log::Contents,
    model::{Key, Kind, Name, Resource, Uid},
};

/// Where the endpoint of each name is filed: its name is its uid, which is one object's in the whole fleet.
#[derive(Debug, Clone, Default)]
pub struct Endpoints(HashMap<Name, Key>);

impl Endpoints {
    /// The endpoints of that log.
    #[must_use]
    pub fn of(contents: &Contents) -> Self {
        let all = contents.list(Kind::Endpoint);
        Self(all.map(|object| (object.key.name.clone(), object.key.clone())).collect())
    }

    /// Brings it up to date where these keys changed.
    pub fn follow<'k>(&mut self, keys: impl IntoIterator<Item = &'k Key>, contents: &Contents) {
        for key in keys.into_iter().filter(|key| key.kind == Kind::Endpoint) {
            if contents.get(key).is_some() {
                self.0.insert(key.name.clone(), key.clone());
            } else if self.0.get(&key.name) == Some(key) {
                self.0.remove(&key.name);
            }
        }
    }

    /// Another endpoint that has the uid of this one.
    #[must_use]
    pub fn another(&self, key: &Key) -> Option<&Key> {
        let there = if key.kind == Kind::Endpoint { self.0.get(&key.name) } else { None };
        there.filter(|there| *there != key)
    }
}

/// Whose range an address is in, if it is one that a node of this cluster cannot have: with it, the node would stand
/// between policy and another cluster's workloads.
#[must_use]
pub fn range_of_others(contents: &Contents, own: Uid, address: IpAddr) -> Option<String> {
    let ranged = contents.list(Kind::Fleet).chain(contents.list(Kind::Cluster));
    ranged.filter(|object| object.uid != own).find_map(|object| match &*object.resource {
        Resource::Fleet(fleet) => {
            let services = [IpNet::V4(fleet.vip4), IpNet::V6(fleet.vip6)];
            services.iter().any(|range| range.contains(&address)).then(|| "the fleet's services".into())
        }
        Resource::Cluster(cluster) => {
            let theirs = cluster.prefixes.iter().any(|prefix| prefix.contains(&address));
            theirs.then(|| format!("cluster {}", cluster.name))
        }
        _ => None,
    })
}
