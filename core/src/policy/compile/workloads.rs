//! The workloads that a node knows, in a row: everything else names them by their number in it.
use std::{hash::BuildHasher, sync::Arc};

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::model::{Endpoint, Resource, Uid};

/// Number of a workload.
pub(super) type WorkloadId = u32;

/// A workload.
#[derive(Debug)]
struct State {
    uid: Uid,
    /// Number of its cluster.
    cluster: u32,
    /// Always an endpoint.
    resource: Arc<Resource>,
}

/// All of them. A number is used again only after its workload has gone.
#[derive(Debug, Default)]
pub(super) struct Workloads {
    states: Vec<Option<State>>,
    free: Vec<WorkloadId>,
    by_uid: HashTable<WorkloadId>,
    hasher: DefaultHashBuilder,
    clusters: Vec<Uid>,
    cluster_numbers: HashMap<Uid, u32>,
}

impl Workloads {
    /// The number of a workload.
    pub(super) fn find(&self, uid: Uid) -> Option<WorkloadId> {
        let is = |id: &WorkloadId| self.state(*id).is_some_and(|state| state.uid == uid);
        self.by_uid.find(self.hasher.hash_one(uid), is).copied()
    }

    fn state(&self, id: WorkloadId) -> Option<&State> {
        self.states.get(id as usize)?.as_ref()
    }

    /// Who a workload is: its uid, its cluster, and what is known of it.
    pub(super) fn get(&self, id: WorkloadId) -> Option<(Uid, Uid, &Endpoint)> {
        let state = self.state(id)?;
        Some((state.uid, self.clusters[state.cluster as usize], endpoint(&state.resource)?))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
    }

    /// Makes room for so many more at once.
    pub(super) fn reserve(&mut self, more: usize) {
        let (states, hasher) = (&self.states, &self.hasher);
        let hash = |id: &WorkloadId| states[*id as usize].as_ref().map_or(0, |state| hasher.hash_one(state.uid));
        self.by_uid.reserve(more, hash);
        self.states.reserve_exact(more);
    }

    /// Takes a workload up, which is not known.
    pub(super) fn add(&mut self, uid: Uid, cluster: Uid, resource: Arc<Resource>) -> WorkloadId {
        let clusters = &mut self.clusters;
        let cluster = *self.cluster_numbers.entry(cluster).or_insert_with(|| {
            clusters.push(cluster);
            clusters.len() as u32 - 1
        });
        let state = Some(State { uid, cluster, resource });
        let id = match self.free.pop() {
            Some(id) => {
                self.states[id as usize] = state;
                id
            }
            None => {
                self.states.push(state);
                self.states.len() as WorkloadId - 1
            }
        };
        let (states, hasher) = (&self.states, &self.hasher);
        let hash = |id: &WorkloadId| states[*id as usize].as_ref().map_or(0, |state| hasher.hash_one(state.uid));
        self.by_uid.insert_unique(self.hasher.hash_one(uid), id, hash);
        id
    }

    /// Forgets a workload. Gives its cluster and what it was made of.
    pub(super) fn remove(&mut self, id: WorkloadId) -> Option<(Uid, Arc<Resource>)> {
        let state = self.states.get_mut(id as usize)?.take()?;
        if let Ok(found) = self.by_uid.find_entry(self.hasher.hash_one(state.uid), |each| *each == id) {
            found.remove();
        }
        self.free.push(id);
        Some((self.clusters[state.cluster as usize], state.resource))
    }
}

/// The endpoint that a resource is.
pub(super) fn endpoint(resource: &Resource) -> Option<&Endpoint> {
    if let Resource::Endpoint(endpoint) = resource { Some(endpoint) } else { None }
}
