//! The way of the API server's policies into the inventory.
use std::sync::Arc;

use axle_core::manifest::Document;
use kube::{Api, Client, Resource as _, api::ListParams};
use tokio::sync::watch;

use super::{
    crd::MeshNetworkPolicy,
    policies::Policies,
    raw::{ClusterNetworkPolicy, Kinded, NetworkPolicy, Raw},
    trouble::Trouble,
    watch::{Watched, follow},
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
    /// Why it may be old or less than there is.
    pub problems: Vec<String>,
}

/// Hears of every change of the policies.
pub type PolicyWatch = watch::Receiver<Arc<PolicyState>>;

/// Follows the policies of the API server for as long as anybody listens. A kind that is not installed has no objects, and
/// is looked for again and again.
#[must_use]
pub fn follow_policies(client: &Client, network_policies: NetworkPolicies) -> PolicyWatch {
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
    match &held.trouble {
        Some(Trouble::Unknown(_)) => return, // What is not installed has no objects.
        Some(trouble) => state.problems.push(trouble.sentence().into()),
        None => {}
    }
    state.complete &= held.complete;
}

/// The inventory with these policies in it.
#[must_use]
pub fn with_policies(mut inventory: InventoryWatch, mut policies: PolicyWatch) -> InventoryWatch {
    let (sender, receiver) = watch::channel(Arc::new(Inventory::default()));
    tokio::spawn(async move {
        loop {
            let next = joined(&inventory.borrow_and_update(), &policies.borrow_and_update());
            sender.send_if_modified(|held| {
                let differs = **held != next;
                *held = Arc::new(next);
                differs
            });
            let changed = tokio::select! {
                changed = inventory.changed() => changed,
                changed = policies.changed() => changed,
                () = sender.closed() => return,
            };
            if changed.is_err() {
                return;
            }
        }
    });
    receiver
}

fn joined(inventory: &Inventory, state: &PolicyState) -> Inventory {
    let (policies, held, refused) = state.policies.documents();
    let mut joined = inventory.clone();
    joined.documents.extend(policies.into_iter().map(Document::Policy));
    joined.held.extend(held);
    joined.complete &= state.complete;
    joined.problems.extend(state.problems.iter().cloned().chain(refused));
    joined
}
