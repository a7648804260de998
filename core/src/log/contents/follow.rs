//! How contents move from one position to the next, and how a reader catches up with them.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Applied, Contents, Entry, OutOfOrder, Step};
use crate::{
    log::{Change, Delta, Position, Snapshot},
    model::{Key, Uid},
    refusal::Refusal,
};

impl Contents {
    /// Moves on by one delta.
    ///
    /// # Errors
    /// [`OutOfOrder`] if the delta does not begin here; nothing is changed then.
    pub fn apply(&mut self, delta: &Delta) -> Result<Applied, OutOfOrder> {
        let at = self.position;
        if delta.from != at.revision || delta.to.epoch != at.epoch || delta.to.revision <= at.revision {
            return Err(OutOfOrder { at, from: delta.from, to: delta.to.revision, epoch: delta.to.epoch });
        }
        let mut applied = Applied { before: at, origin: self.origin, replaced: Vec::new(), buried: Vec::new() };
        let mut keys = Vec::with_capacity(delta.changes.len());
        for change in &delta.changes {
            if let Some(key) = self.change(change, delta.to.revision, &mut applied) {
                keys.push(key);
            }
        }
        self.touched += keys.len();
        self.history.push_back(Step { revision: delta.to.revision, hash: delta.to.hash, keys });
        self.position = delta.to;
        self.origin = delta.origin.or(self.origin);
        self.forget();
        Ok(applied)
    }

    fn change(&mut self, change: &Change, changed: u64, applied: &mut Applied) -> Option<Arc<Key>> {
        let key = match self.objects.get_key_value(change.key()) {
            Some((key, _)) => key.clone(),
            None => Arc::new(change.key().clone()),
        };
        let there = self.objects.get(&key).map(|entry| entry.object.uid);
        let before = match change {
            Change::Put(object) => {
                if let Some(other) = there.filter(|uid| *uid != object.uid) {
                    self.bury(&key, other, changed, applied);
                }
                self.objects.insert(key.clone(), Entry { changed, object: object.clone() })
            }
            Change::Delete { uid, .. } => {
                there.filter(|there| there == uid)?;
                self.bury(&key, *uid, changed, applied);
                self.objects.remove(&key)
            }
        };
        applied.replaced.push((key.clone(), before));
        Some(key)
    }

    fn bury(&mut self, key: &Arc<Key>, uid: Uid, changed: u64, applied: &mut Applied) {
        self.tombstones.entry(key.clone()).or_default().push((uid, changed));
        applied.buried.push(key.clone());
    }

    /// Takes back the delta that was applied last.
    pub fn undo(&mut self, applied: Applied) {
        for (key, before) in applied.replaced.into_iter().rev() {
            match before {
                Some(entry) => self.objects.insert(key, entry),
                None => self.objects.remove(&key),
            };
        }
        let undone = self.position.revision;
        for key in applied.buried {
            if let Some(uids) = self.tombstones.get_mut(&key) {
                uids.retain(|(_, changed)| *changed != undone);
                if uids.is_empty() {
                    self.tombstones.remove(&key);
                }
            }
        }
        if let Some(step) = self.history.pop_back() {
            self.touched -= step.keys.len();
        }
        self.position = applied.before;
        self.origin = applied.origin;
    }

    /// Becomes the snapshot, forgetting all history. Returns what that changes, in the order of the keys: the deletes are
    /// what the snapshot does not hold any more. An object that came but was refused stays as it was.
    pub fn replace(&mut self, snapshot: Snapshot, refused: &[Refusal]) -> Vec<Change> {
        let changed = snapshot.at.revision;
        let mut entries: Vec<Entry> = snapshot.objects.into_iter().map(|object| Entry { changed, object }).collect();
        entries.extend(refused.iter().filter_map(|refusal| self.objects.get(&refusal.key).cloned()));
        let next =
            Self { retention: self.retention, ..Self::restore(snapshot.at, snapshot.origin, entries, &[], vec![]) };
        let changes = self.changes_to(&next.objects);
        *self = next;
        changes
    }

    fn changes_to(&self, next: &BTreeMap<Arc<Key>, Entry>) -> Vec<Change> {
        let mut changes = BTreeMap::new();
        for (key, entry) in &self.objects {
            if !next.contains_key(key) {
                changes.insert(key, Change::Delete { key: (**key).clone(), uid: entry.object.uid });
            }
        }
        for (key, entry) in next {
            if self.objects.get(key).is_none_or(|before| !before.object.same_as(&entry.object)) {
                changes.insert(key, Change::Put(entry.object.clone()));
            }
        }
        changes.into_values().collect()
    }

    /// One delta from a place this log went through to where it is now, each object once; `None` if it does not remember
    /// the place, or went another way.
    #[must_use]
    pub fn since(&self, from: &Position) -> Option<Delta> {
        if !self.remembers(from) {
            return None;
        }
        let later = self.history.partition_point(|step| step.revision <= from.revision);
        let touched: BTreeSet<&Arc<Key>> = self.history.range(later..).flat_map(|step| &step.keys).collect();
        let mut changes = Vec::with_capacity(touched.len());
        for key in touched {
            if let Some(entry) = self.objects.get(key) {
                changes.push(Change::Put(entry.object.clone()));
            } else {
                let buried = self.tombstones.get(key).into_iter().flatten();
                let lately = buried.filter(|(_, changed)| *changed > from.revision);
                let uids: BTreeSet<Uid> = lately.map(|(uid, _)| *uid).collect();
                changes.extend(uids.into_iter().map(|uid| Change::Delete { key: (**key).clone(), uid }));
            }
        }
        Some(Delta { from: from.revision, to: self.position, changes, origin: self.origin })
    }

    /// Whether this log went through that place and still knows what changed since.
    #[must_use]
    pub fn remembers(&self, place: &Position) -> bool {
        let found = self.history.binary_search_by_key(&place.revision, |step| step.revision);
        place.epoch == self.position.epoch && found.is_ok_and(|at| self.history[at].hash == place.hash)
    }

    /// Drops the oldest steps beyond the retention, and the tombstones that only they needed.
    fn forget(&mut self) {
        while self.history.len() > 1
            && (self.history.len() > self.retention.steps || self.touched > self.retention.keys)
        {
            // The first step that stays is a place to resume from: what it changed is not needed, what came later is.
            let Some(step) = self.history.pop_front() else { return };
            let floor = self.history.front().map_or(0, |step| step.revision);
            self.touched -= step.keys.len();
            let oldest = self.history.front_mut().map(|step| std::mem::take(&mut step.keys)).unwrap_or_default();
            self.touched -= oldest.len();
            for key in step.keys.into_iter().chain(oldest) {
                if let Some(uids) = self.tombstones.get_mut(&key) {
                    uids.retain(|(_, changed)| *changed > floor);
                    if uids.is_empty() {
                        self.tombstones.remove(&key);
                    }
                }
            }
        }
    }
}
