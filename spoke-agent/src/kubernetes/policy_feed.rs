//! The way of the API server's policies and exports into the inventory.
use std::{collections::BTreeSet, sync::Arc};

use axle_core::manifest::Document;
use kube::{Api, Client, Resource as _, api::ListParams};
use tokio::sync::watch;

use super::{
    cluster::together,
    crd::{MeshNetworkPolicy, ServiceExport},
    exports,
    local::publish,
    policies::{Policies, prefix},
    raw::{ClusterNetworkPolicy, Kinded, NetworkPolicy, Raw},
    watch::{Watched, complaint, follow, is_known, is_not_installed},
};
use crate::inventory::{Inventory, InventoryWatch};

/// What is done with NetworkPolicy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum NetworkPolicies {
    /// It is enforced.
    #[default]
    Enforce,
    /// It is left to a network plugin that enforces it.
    Ignore,
}

/// The policies of the API server as they are known.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PolicyState {
    /// What is there.
    pub policies: Policies,
    /// Whether that is all there is.
    pub complete: bool,
    /// What names in the log begin with whose kind the server does not know: it may have known it before.
    pub unknown: BTreeSet<String>,
    /// Why it may be old or less than there is.
    pub problems: Vec<String>,
}

/// Hears of every change of the policies.
pub type PolicyWatch = watch::Receiver<Arc<PolicyState>>;

/// What people of the cluster write there for the relay. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feeds {
    /// Policies.
    pub policies: PolicyWatch,
    /// Exports of services.
    pub exports: Watched<Raw<ServiceExport>>,
}

impl Feeds {
    /// Follows the API server for as long as anybody listens. A kind that is not installed has no objects, and is looked
    /// for again and again. Needs a tokio runtime.
    #[must_use]
    pub fn follow(client: &Client, network_policies: NetworkPolicies) -> Self {
        Self { policies: follow_policies(client, network_policies), exports: raw(client) }
    }

    /// The `rest` of an inventory with these.
    #[must_use]
    pub fn inventory(&self, rest: InventoryWatch) -> InventoryWatch {
        let policies = part(self.policies.clone(), |state| policies_inventory(state));
        together(vec![rest, policies, part(self.exports.clone(), exports::inventory)])
    }
}

fn follow_policies(client: &Client, network_policies: NetworkPolicies) -> PolicyWatch {
    let (sender, receiver) = watch::channel(Arc::default());
    let mut ours = raw::<MeshNetworkPolicy>(client);
    let mut of_cluster = raw::<ClusterNetworkPolicy>(client);
    let mut of_namespaces = match network_policies {
        NetworkPolicies::Enforce => Some(raw::<NetworkPolicy>(client)),
        NetworkPolicies::Ignore => None,
    };
    tokio::spawn(async move {
        let mut policies = Policies::default();
        loop {
            let mut state = PolicyState { complete: true, ..PolicyState::default() };
            take(&mut ours, &mut policies, &mut state);
            take(&mut of_cluster, &mut policies, &mut state);
            of_namespaces.iter_mut().for_each(|watched| take(watched, &mut policies, &mut state));
            state.policies.clone_from(&policies);
            sender.send_if_modified(|held| {
                let differs = **held != state;
                *held = Arc::new(state);
                differs
            });
            let of_namespaces = async {
                match &mut of_namespaces {
                    Some(watched) => watched.changed().await,
                    None => std::future::pending().await,
                }
            };
            let changed = tokio::select! {
                changed = ours.changed() => changed,
                changed = of_cluster.changed() => changed,
                changed = of_namespaces => changed,
                () = sender.closed() => return,
            };
            if changed.is_err() {
                return;
            }
        }
    });
    receiver
}

fn raw<K: Kinded>(client: &Client) -> Watched<Raw<K>> {
    follow(Api::all(client.clone()), ListParams::default(), |object: &mut Raw<K>| {
        object.meta_mut().annotations = None;
    })
}

fn take<K: Kinded>(watched: &mut Watched<Raw<K>>, policies: &mut Policies, state: &mut PolicyState) {
    let held = watched.borrow_and_update();
    policies.take(held.objects.values().map(|object| &**object));
    state.problems.extend(complaint(&held));
    state.complete &= is_known(&held);
    state.unknown.extend(prefix(K::KIND).filter(|_| is_not_installed(&held)));
}

fn policies_inventory(state: &PolicyState) -> Inventory {
    let (policies, held, refused) = state.policies.documents();
    let documents = policies.into_iter().map(Document::Policy).collect();
    let (complete, unknown) = (state.complete, state.unknown.clone());
    let mut inventory = Inventory { documents, held, unknown, complete, listed: complete, ..Inventory::default() };
    inventory.problems.extend(state.problems.iter().cloned().chain(refused));
    inventory
}

/// What is known of a kind as a part of the inventory.
fn part<T: Send + Sync + 'static>(mut watched: watch::Receiver<T>, read: fn(&T) -> Inventory) -> InventoryWatch {
    let (sender, receiver) = watch::channel(Arc::default());
    tokio::spawn(async move {
        loop {
            let next = read(&watched.borrow_and_update());
            publish(&sender, next);
            tokio::select! {
                changed = watched.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    receiver
}
