//! Which relay may speak for which cluster.
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use axle_core::{
    log::{Change, Record},
    model::{Kind, Uid},
    state::State,
};
use axle_transport::pki::{Peer, Principal};
use parking_lot::RwLock;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    replica::{Follower, Replica},
    store::{Enrolment, Store, StoreError},
};

/// The enrolled relays as this hub knows them. What another hub enrolled is known a second later; a cluster that was
/// removed is a member no more as soon as its removal is applied, and no uid ever returns.
#[derive(Debug)]
pub struct Members {
    clusters: RwLock<HashSet<Uid>>,
    keys: RwLock<HashMap<Uid, [u8; 32]>>,
}

/// How often the store is asked for other hubs' enrolments.
const REFRESH: Duration = Duration::from_secs(1);

impl Members {
    /// The members as they are in the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: &dyn Store, replica: &Replica) -> Result<Arc<Self>, StoreError> {
        let members = Arc::new(Self { clusters: RwLock::default(), keys: RwLock::default() });
        replica.follow(members.clone());
        members.refresh(store).await?;
        Ok(members)
    }

    /// Follows the store for ever.
    pub async fn follow(self: Arc<Self>, store: Arc<dyn Store>) {
        let mut ticks = interval(REFRESH);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(why) = self.refresh(&*store).await {
                // Who was enrolled stays so: an outage of the database cuts nobody off.
                tracing::debug!(%why, "enrolments cannot be read");
            }
        }
    }

    async fn refresh(&self, store: &dyn Store) -> Result<(), StoreError> {
        let enrolments = store.enrolments().await?;
        let keys = enrolments.into_iter().map(|enrolment| (enrolment.cluster, enrolment.relay_key)).collect();
        *self.keys.write() = keys;
        Ok(())
    }

    /// Notes an enrolment made here.
    pub fn enrolled(&self, enrolment: &Enrolment) {
        self.keys.write().insert(enrolment.cluster, enrolment.relay_key);
    }

    /// Whether this cluster's relay has enrolled.
    #[must_use]
    pub fn has(&self, cluster: Uid) -> bool {
        self.keys.read().contains_key(&cluster)
    }

    /// Whether this peer may be connected to the hub.
    ///
    /// # Errors
    /// Says why not.
    pub fn admit(&self, peer: &Peer) -> Result<(), String> {
        let Principal::Relay(cluster) = &peer.principal else {
            return Err("only relays connect to the hub; nodes connect to their relay".into());
        };
        if !self.clusters.read().contains(cluster) {
            return Err("its cluster was removed".into());
        }
        match self.keys.read().get(cluster) {
            Some(key) if *key == peer.key => Ok(()),
            Some(_) => Err("another relay has enrolled for its cluster since".into()),
            None => Err("its cluster has not enrolled".into()),
        }
    }
}

impl Follower for Members {
    fn moved(&self, _: &State, records: &[Record]) {
        let changes = records.iter().flat_map(|record| &record.changes);
        for change in changes.filter(|change| change.key().kind == Kind::Cluster) {
            match change {
                Change::Put(object) => self.clusters.write().insert(object.uid),
                Change::Delete { uid, .. } => self.clusters.write().remove(uid),
            };
        }
    }

    fn restarted(&self, state: &State) {
        *self.clusters.write() = state.clusters().map(|(uid, _)| uid).collect();
    }
}
