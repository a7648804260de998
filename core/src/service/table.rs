//! What a node's data plane needs of services: where each frontend leads, and what of that a change changes.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::model::{Name, Protocol, Uid};

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

/// Where a frontend leads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route {
    /// The backends. None: connections are refused.
    pub backends: Vec<Backend>,
    /// A client that comes again within so many seconds gets the same backend; 0: it is drawn each time.
    pub sticky_s: u32,
}

/// Frontends and where they lead, in the order of the addresses.
pub type ServiceTable = BTreeMap<Frontend, Route>;

/// Who has frontends: of two with one address the first in order counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    /// What the fleet's exports of this namespace and name merge into.
    Import(Name, Name),
    /// The cluster's own service of this namespace and name.
    Own(Name, Name),
}

/// The frontends of all services.
#[derive(Debug, Clone, Default)]
pub(super) struct Claims {
    owners: BTreeMap<Owner, BTreeSet<Frontend>>,
    claims: BTreeMap<Frontend, BTreeMap<Owner, Route>>,
}

impl Claims {
    /// Every frontend and where it leads.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Frontend, &Route)> {
        self.claims.iter().filter_map(|(frontend, routes)| Some((frontend, routes.first_key_value()?.1)))
    }

    /// Replaces what each of these owners has, and gives the frontends that differ afterwards: `None` where one is gone.
    pub(super) fn replace(
        &mut self,
        tables: impl IntoIterator<Item = (Owner, ServiceTable)>,
    ) -> BTreeMap<Frontend, Option<Route>> {
        let mut before: BTreeMap<Frontend, Option<Route>> = BTreeMap::new();
        for (owner, table) in tables {
            for frontend in self.owners.remove(&owner).into_iter().flatten() {
                self.note(frontend, &mut before);
                if let Some(routes) = self.claims.get_mut(&frontend) {
                    routes.remove(&owner);
                }
            }
            if !table.is_empty() {
                self.owners.insert(owner.clone(), table.keys().copied().collect());
            }
            for (frontend, route) in table {
                self.note(frontend, &mut before);
                self.claims.entry(frontend).or_default().insert(owner.clone(), route);
            }
        }
        let mut differ = BTreeMap::new();
        for (frontend, before) in before {
            let routes = self.claims.get(&frontend);
            let now = routes.and_then(|routes| routes.first_key_value()).map(|(_, route)| route.clone());
            if routes.is_some_and(BTreeMap::is_empty) {
                self.claims.remove(&frontend);
            }
            if now != before {
                differ.insert(frontend, now);
            }
        }
        differ
    }

    /// Notes where a frontend led before the first of the changes.
    fn note(&self, frontend: Frontend, before: &mut BTreeMap<Frontend, Option<Route>>) {
        let now = || self.claims.get(&frontend).and_then(|routes| routes.first_key_value());
        before.entry(frontend).or_insert_with(|| now().map(|(_, route)| route.clone()));
    }
}
