//! Which relay may speak for which cluster.
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use axle_core::{
    log::{Change, Record},
    model::{Kind, Uid},
    state::State,
};
use axle_transport::pki::{Peer, Principal};
use parking_lot::{Mutex, RwLock};
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    replica::{Follower, Replica},
    store::{Enrolment, Store, StoreError},
};

/// The enrolled relays as this hub knows them. What another hub enrolled is known a second later; a cluster that was
/// removed is a member no more as soon as its removal is applied, and no uid ever returns.
#[derive(Debug, Default)]
pub struct Members {
    clusters: RwLock<HashSet<Uid>>,
    keys: RwLock<Keys>,
    /// When somebody came last with a key that was their cluster's before.
    former: Mutex<HashMap<Uid, Instant>>,
}

#[derive(Debug, Default)]
struct Keys {
    by_cluster: HashMap<Uid, [u8; 32]>,
    /// Enrolments made here: what was read from the store before one does not know it.
    enrolled: u64,
}

/// For how long a former relay is shown after its last try.
const SHOWN: Duration = Duration::from_secs(600);

/// How often the store is asked for other hubs' enrolments.
const REFRESH: Duration = Duration::from_secs(1);

impl Members {
    /// The members as they are in the store.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(store: &dyn Store, replica: &Replica) -> Result<Arc<Self>, StoreError> {
        let members = Arc::new(Self::default());
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
        let before = self.keys.read().enrolled;
        let enrolments = store.enrolments().await?;
        self.take(before, &enrolments);
        Ok(())
    }

    /// Takes what was read from the store, unless somebody has enrolled here since: the next look sees that one too.
    fn take(&self, enrolled: u64, enrolments: &[Enrolment]) {
        let mut keys = self.keys.write();
        if keys.enrolled == enrolled {
            keys.by_cluster = enrolments.iter().map(|enrolment| (enrolment.cluster, enrolment.relay_key)).collect();
        }
    }

    /// Notes an enrolment made here.
    pub fn enrolled(&self, enrolment: &Enrolment) {
        let mut keys = self.keys.write();
        keys.by_cluster.insert(enrolment.cluster, enrolment.relay_key);
        keys.enrolled += 1;
    }

    /// Whether this cluster's relay has enrolled.
    #[must_use]
    pub fn has(&self, cluster: Uid) -> bool {
        self.keys.read().by_cluster.contains_key(&cluster)
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
        match self.keys.read().by_cluster.get(cluster) {
            Some(key) if *key == peer.key => Ok(()),
            Some(_) => {
                self.former.lock().insert(*cluster, Instant::now());
                Err("another relay has enrolled for its cluster since".into())
            }
            None => Err("its cluster has not enrolled".into()),
        }
    }
}

impl Members {
    /// What is wrong with a cluster's relays, for people.
    #[must_use]
    pub fn problem(&self, cluster: Uid) -> Option<String> {
        let at = self.former.lock().get(&cluster).copied().filter(|at| at.elapsed() < SHOWN)?;
        Some(format!(
            "a relay that enrolled for this cluster before the present one still tries to speak for it, the last time {} s ago, \
             and is refused: stop it; if it is another installation, give it a cluster of its own: axle cluster add",
            at.elapsed().as_secs()
        ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_an_enrolment_does_not_undo_it() {
        let members = Members::default();
        let (old, new) = ([1; 32], [2; 32]);
        let enrolment = |relay_key| Enrolment { cluster: Uid([7; 16]), relay_key, enrolled_ms: 1 };
        members.take(0, &[enrolment(old)]);
        // The store is read, and before that is taken a relay enrols.
        members.enrolled(&enrolment(new));
        members.take(0, &[enrolment(old)]);
        let key = || members.keys.read().by_cluster.get(&Uid([7; 16])).copied();
        assert_eq!(key(), Some(new));
        members.take(1, &[]);
        assert_eq!(key(), None, "removed, as another hub knows");
    }
}
