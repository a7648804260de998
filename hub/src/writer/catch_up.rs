//! Taking what is in the store: other hubs' revisions, or another log altogether.
use std::collections::BTreeMap;

use axle_core::{
    log::{Position, Record},
    state::State,
};

use super::{RECENT, Task};
use crate::store::{Loaded, Store, StoreError, random_uid};

/// Records read at once.
const PAGE: u32 = 1000;

/// The state that a store holds.
pub(super) async fn load(store: &dyn Store) -> Result<State, StoreError> {
    let Loaded { head, objects, recent, intakes, given_up } = store.load(RECENT).await?;
    let broken = |record: &Record| {
        StoreError::Corrupt(format!("record {} does not follow from the one before it", record.revision))
    };
    for pair in recent.windows(2) {
        if pair[1].hash_after(pair[0].hash) != pair[1].hash || pair[1].revision != pair[0].revision + 1 {
            return Err(broken(&pair[1]));
        }
    }
    if let Some(last) = recent.last()
        && last.position(head.epoch) != head
    {
        return Err(broken(last));
    }
    Ok(State::load(head, objects, BTreeMap::from_iter(intakes), &given_up, &recent))
}

impl Task {
    /// Moves on to where the store is. True: it was somewhere else.
    pub(super) async fn catch_up(&mut self) -> Result<bool, StoreError> {
        let at = self.state.position();
        let head = self.store.head().await?.ok_or_else(|| StoreError::Corrupt("the log is gone".into()))?;
        if head == at {
            return Ok(false);
        }
        if head.epoch != at.epoch {
            tracing::warn!(epoch = %head.epoch, revision = head.revision, "the log has a new epoch");
            self.reload().await?;
            return Ok(true);
        }
        let mut place = at;
        while place.revision < head.revision {
            let records = self.store.records_after(place.revision, PAGE).await?;
            if records.first().is_some_and(|first| first.revision > place.revision + 1) {
                // What follows on our place is forgotten.
                self.reload().await?;
                return Ok(true);
            }
            match self.follow(&records, place)? {
                Some(next) => place = next,
                None => return self.begin_epoch().await,
            }
        }
        // Equal revisions with other hashes, or a store that is behind what was committed in it.
        if place == at {
            return self.begin_epoch().await;
        }
        Ok(true)
    }

    /// Applies records that follow on `at`; `None` if they do not.
    fn follow(&mut self, records: &[Record], at: Position) -> Result<Option<Position>, StoreError> {
        let mut place = at;
        for record in records {
            if record.revision != place.revision + 1 || record.hash_after(place.hash) != record.hash {
                return Ok(None);
            }
            place = record.position(place.epoch);
        }
        if records.is_empty() {
            return Ok(None);
        }
        let out_of_order = |why: axle_core::log::OutOfOrder| StoreError::Corrupt(why.to_string());
        for record in records {
            let _ = self.state.apply(record).map_err(out_of_order)?;
        }
        self.replica.advance(records).map_err(out_of_order)?;
        Ok(Some(place))
    }

    /// The store lost what we know was committed, as a failover to a standby that lagged does. Whoever has seen the lost
    /// revisions must not take others for them: a new epoch begins.
    async fn begin_epoch(&mut self) -> Result<bool, StoreError> {
        let head = self.store.head().await?;
        let epoch = random_uid()?;
        tracing::error!(
            known = self.state.position().revision,
            found = head.map(|head| head.revision),
            "the database lost revisions that were committed; a new epoch begins"
        );
        // Of several hubs that notice, one begins it and the others take it.
        self.store.begin_epoch(head, epoch).await?;
        self.reload().await?;
        Ok(true)
    }

    async fn reload(&mut self) -> Result<(), StoreError> {
        self.state = load(&*self.store).await?;
        self.replica.restart(self.state.clone());
        Ok(())
    }
}
