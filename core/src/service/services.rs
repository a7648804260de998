//! The services of a node, kept up to date change by change: what the fleet imports, and what its own cluster has.
use std::collections::{BTreeMap, BTreeSet};

use super::{
    dns::{self, Answer, Asked},
    objects::{Objects, Viewer},
    routes,
    table::{Claims, Frontend, Owner, Route},
};
use crate::{
    log::Change,
    model::{Name, Uid},
};

/// See the module.
#[derive(Debug, Clone)]
pub struct Services {
    objects: Objects,
    claims: Claims,
}

impl Services {
    /// No services, for this node of this cluster, or for none in particular.
    #[must_use]
    pub fn new(cluster: Uid, node: Option<Name>) -> Self {
        Self { objects: Objects::new(Viewer { cluster, node }), claims: Claims::default() }
    }

    /// Every frontend and where it leads.
    pub fn frontends(&self) -> impl Iterator<Item = (&Frontend, &Route)> {
        self.claims.iter()
    }

    /// What a name in the domain of the fleet's services has.
    #[must_use]
    pub fn resolve(&self, name: &str, asked: Asked) -> Answer {
        dns::resolve(&self.objects, name, asked)
    }

    /// Takes changes over and gives the frontends that differ afterwards: where they lead, or `None` where the frontend is
    /// gone.
    pub fn apply<'c>(&mut self, changes: impl IntoIterator<Item = &'c Change>) -> BTreeMap<Frontend, Option<Route>> {
        let mut dirty = BTreeSet::new();
        changes.into_iter().for_each(|change| self.objects.apply(change, &mut dirty));
        let objects = &self.objects;
        let table = |owner: Owner| {
            let table = match &owner {
                Owner::Import(namespace, name) => routes::of_import(objects, &(namespace.clone(), name.clone())),
                Owner::Own(namespace, name) => routes::of_service(objects, &(namespace.clone(), name.clone())),
            };
            (owner, table)
        };
        self.claims.replace(dirty.into_iter().map(table))
    }
}

#[cfg(test)]
mod tests;
