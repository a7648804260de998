//! Which version of each policy is in force, and what the log has where that is something else.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use axle_core::{
    log::Change,
    model::{Envelope, Key, Kind, Object},
    policy::compile::{Outcome, Refused},
    refusal::{Refusal, code},
};

use super::{
    Revision,
    enforcer::is_refused,
    held::{Held, HeldBack},
    in_force::InForce,
    stand_in::{is_stand_in, stand_in},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Policies {
    /// What the compiler enforces.
    in_force: BTreeMap<Key, Object>,
    /// What the log has and is not in force: a newer version, or none.
    wanted: BTreeMap<Key, Option<Object>>,
    held: HeldBack,
    /// What was in force before a restart, until [`begin`](Self::begin).
    before: Option<BTreeMap<Key, Object>>,
    kept: InForce,
    /// Why a restart would forget some of it.
    pub(super) trouble: Option<String>,
}

impl Policies {
    /// What was refused before is kept at `held`, what was in force in `in_force`. Also what is wrong with these.
    pub(super) fn open(held: &Path, in_force: &Path) -> std::io::Result<(Self, Vec<String>)> {
        let (held, damage) = HeldBack::open(held)?;
        let (kept, before, mut more) = InForce::open(in_force)?;
        more.extend(damage);
        let (in_force, wanted, trouble) = (BTreeMap::new(), BTreeMap::new(), None);
        Ok((Self { in_force, wanted, held, before, kept, trouble }, more))
    }

    /// Given the log's policies: the versions that were in force before a restart, and what the log has instead, but for
    /// what was refused before. If no policy was ever in force here, others stand in for the `unread`.
    pub(super) fn begin(&mut self, policies: Vec<Object>, unread: &[Envelope]) -> (Vec<Change>, Vec<Change>) {
        let log: BTreeMap<Key, Object> = policies.into_iter().map(|policy| (policy.key.clone(), policy)).collect();
        let kept = self.before.take().map(|mut before| {
            // What is known to be held back is, whatever the journal lost.
            for (key, held) in &self.held.by_key {
                if let (false, Some(policy)) = (before.contains_key(key), &held.in_force) {
                    before.insert(key.clone(), policy.clone());
                }
            }
            before
        });
        let before = kept.unwrap_or_else(|| {
            let mut before = log.clone();
            for (key, held) in &self.held.by_key {
                before.remove(key);
                before.extend(held.in_force.clone().map(|policy| (key.clone(), policy)));
            }
            let unread = unread.iter().filter(|envelope| !before.contains_key(&envelope.key));
            let stand_ins: Vec<Object> = unread.filter_map(stand_in).collect();
            before.extend(stand_ins.into_iter().map(|policy| (policy.key.clone(), policy)));
            before
        });
        let keys: BTreeSet<Key> = log.keys().chain(before.keys()).chain(self.held.by_key.keys()).cloned().collect();
        let mut newer = Vec::new();
        for key in keys {
            let (new, old) = (log.get(&key), before.get(&key));
            let held = self.held.by_key.get(&key);
            if new.is_none() && old.is_some_and(is_stand_in) {
                continue;
            }
            if new == old {
                if held.is_some_and(|held| !is_unreadable(&held.refusal)) {
                    self.held.by_key.remove(&key);
                }
            } else if held.is_some() {
                self.wanted.insert(key, new.cloned());
            } else {
                newer.extend(change(&key, new, old));
            }
        }
        (before.into_values().map(Change::Put).collect(), newer)
    }

    /// The compiler has these versions; newer ones may be wanted.
    pub(super) fn loaded(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(policy) => drop(self.in_force.insert(policy.key.clone(), policy.clone())),
                Change::Delete { key, uid } if self.in_force.get(key).is_some_and(|policy| policy.uid == *uid) => {
                    self.in_force.remove(key);
                }
                Change::Delete { .. } => continue,
            }
            self.kept.note(change.clone());
        }
    }

    /// A policy that the log no longer has is gone, also where an incarnation of before is in force because the last one
    /// was held back.
    pub(super) fn name_what_is_in_force(&self, change: &mut Change) {
        if let Change::Delete { key, uid } = change
            && let Some(policy) = self.in_force.get(key)
        {
            *uid = policy.uid;
        }
    }

    /// As [`loaded`](Self::loaded), if the compiler took it.
    pub(super) fn loaded_if_fit(&mut self, change: &Change, outcome: &Outcome) {
        if !is_refused(change, outcome) {
            self.loaded(std::slice::from_ref(change));
        } else if !self.wanted.contains_key(change.key()) {
            self.judged(std::slice::from_ref(change), outcome);
        }
    }

    /// What the compiler made of an update with `changes`. It keeps by itself what does not fit, and tries it again with
    /// every update.
    pub(super) fn judged(&mut self, changes: &[Change], outcome: &Outcome) {
        let refused: BTreeMap<&Key, String> = outcome
            .refused
            .iter()
            .filter_map(|refusal| match &refusal.subject {
                Refused::Policy { key, .. } => Some((key, refusal.to_string())),
                Refused::State => None,
            })
            .collect();
        let group = self.held.next_group();
        for change in changes {
            match refused.get(change.key()) {
                Some(why) => self.hold_one(change, group, code::DOES_NOT_FIT, why.clone()),
                None => self.taken(change),
            }
        }
        let fits = |(key, held): (&Key, &Held)| {
            (held.refusal.code == code::DOES_NOT_FIT && !refused.contains_key(key)).then(|| key.clone())
        };
        let fitting: Vec<Key> = self.held.by_key.iter().filter_map(fits).collect();
        for key in fitting {
            if let Some(change) = self.wish(&key) {
                self.taken(&change);
            }
        }
    }

    fn taken(&mut self, change: &Change) {
        self.held.by_key.remove(change.key());
        self.wanted.remove(change.key());
        self.loaded(std::slice::from_ref(change));
    }

    /// What would bring the log's version of this policy in force.
    fn wish(&self, key: &Key) -> Option<Change> {
        change(key, self.wanted.get(key)?.as_ref(), self.in_force.get(key))
    }

    /// What undoes these changes, given that they have not been [`judged`](Self::judged) yet.
    pub(super) fn undoing(&self, changes: &[Change]) -> Vec<Change> {
        let before = |change: &Change| match (self.in_force.get(change.key()), change) {
            (Some(policy), _) => Some(Change::Put(policy.clone())),
            (None, Change::Put(policy)) => Some(Change::Delete { key: policy.key.clone(), uid: policy.uid }),
            (None, Change::Delete { .. }) => None,
        };
        changes.iter().filter_map(before).collect()
    }

    /// Holds all of them back for one reason.
    pub(super) fn hold_all(&mut self, changes: &[Change], code: &str, why: &str) {
        let group = self.held.next_group();
        for change in changes {
            self.hold_one(change, group, code, why.to_owned());
        }
    }

    fn hold_one(&mut self, change: &Change, group: u64, code: &str, message: String) {
        let (key, newer) = match change {
            Change::Put(policy) => (&policy.key, Some(policy.clone())),
            Change::Delete { key, .. } => (key, None),
        };
        let in_force = self.in_force.get(key).cloned();
        let revision = newer.as_ref().or(in_force.as_ref()).map_or(0, |policy| policy.revision);
        let refusal = Refusal { key: key.clone(), revision, code: code.to_owned(), message };
        if self.held.by_key.get(key).is_none_or(|held| held.refusal != refusal) {
            tracing::warn!(%refusal, "not in force");
        }
        self.held.by_key.insert(key.clone(), Held { refusal, in_force, group });
        self.wanted.insert(key.clone(), newer);
    }

    /// Whether all of this was refused before.
    pub(super) fn have_refused(&self, refused: &[Refusal]) -> bool {
        refused.iter().all(|refusal| self.held.by_key.get(&refusal.key).is_some_and(|held| held.refusal == *refusal))
    }

    /// Notes what could not be read; says whether policies are among it.
    pub(super) fn hold_unreadable(&mut self, refused: &[Refusal]) -> bool {
        let group = self.held.next_group();
        for refusal in refused {
            let (key, refusal) = (refusal.key.clone(), refusal.clone());
            let in_force = self.in_force.get(&key).cloned();
            self.wanted.remove(&key);
            self.held.by_key.insert(key, Held { refusal, in_force, group });
        }
        refused.iter().any(|refusal| refusal.key.kind == Kind::Policy)
    }

    /// Forgets what could not be read and is gone with this revision, or not in it if it is a whole copy. What takes away
    /// those that stood in for some of it.
    pub(super) fn gone(&mut self, revision: &Revision) -> Vec<Change> {
        let still = |key: &Key| revision.refused.iter().any(|refusal| refusal.key == *key);
        let is_over = |key: &Key| revision.gone.contains(key) || (revision.whole && !still(key));
        let over: Vec<Key> = self.unread().filter(|key| is_over(key)).cloned().collect();
        over.iter().for_each(|key| drop(self.held.by_key.remove(key)));
        let is_news = |key: &Key| revision.changes.iter().any(|change| change.key() == key);
        let stood_in = over.into_iter().filter(|key| !is_news(key));
        stood_in
            .filter_map(|key| change(&key, None, self.in_force.get(&key).filter(|policy| is_stand_in(policy))))
            .collect()
    }

    /// What was held back with what could not be read, if that is over with these policies.
    pub(super) fn released(&self, policies: &[Change]) -> Vec<Change> {
        let is_among = |key: &Key| policies.iter().any(|change| change.key() == key);
        if self.unread().any(|key| key.kind == Kind::Policy && !is_among(key)) {
            return Vec::new();
        }
        self.wishes(is_unreadable).into_iter().flatten().filter(|change| !is_among(change.key())).collect()
    }

    /// What could not be read itself, not what is held back with it.
    fn unread(&self) -> impl Iterator<Item = &Key> {
        let unread = self
            .held
            .by_key
            .iter()
            .filter(|(key, held)| is_unreadable(&held.refusal) && !self.wanted.contains_key(key));
        unread.map(|(key, _)| key)
    }

    /// What would bring in force what was refused for such a reason: all that was refused together, in the order of that.
    fn wishes(&self, reason: impl Fn(&Refusal) -> bool) -> Vec<Vec<Change>> {
        let mut groups: BTreeMap<u64, Vec<Change>> = BTreeMap::new();
        for (key, held) in self.held.by_key.iter().filter(|(_, held)| reason(&held.refusal)) {
            groups.entry(held.group).or_default().extend(self.wish(key));
        }
        groups.into_values().filter(|changes| !changes.is_empty()).collect()
    }

    /// What the kernel refused, to be tried again.
    pub(super) fn refused_by_kernel(&self) -> Vec<Vec<Change>> {
        self.wishes(|refusal| refusal.code == code::MAP_WRITE_FAILED)
    }

    /// What this node could read and did not take before a restart, to be tried again.
    pub(super) fn refused_before(&self) -> Vec<Vec<Change>> {
        self.wishes(|refusal| !is_unreadable(refusal))
    }

    /// Writes down what a restart must know.
    pub(super) fn store(&mut self) {
        // What is in force must not be older than what is held back, which says what it is instead.
        let kept = &mut self.kept;
        let stored = kept.store(self.in_force.values()).and_then(|()| self.held.store(|| kept.sync()));
        let trouble = stored.err().map(|error| format!("a restart may forget which policies are in force: {error}"));
        if let (Some(trouble), None) = (&trouble, &self.trouble) {
            tracing::error!(%trouble, "policies cannot be kept on disk");
        }
        self.trouble = trouble;
    }

    pub(super) fn refusals(&self) -> Vec<Refusal> {
        self.held.refusals()
    }
}

/// What brings `new` in force instead of `old`.
fn change(key: &Key, new: Option<&Object>, old: Option<&Object>) -> Option<Change> {
    match (new, old) {
        (Some(policy), _) => Some(Change::Put(policy.clone())),
        (None, Some(policy)) => Some(Change::Delete { key: key.clone(), uid: policy.uid }),
        (None, None) => None,
    }
}

/// Whether the log itself, or what came with it in one revision, could not be read.
fn is_unreadable(refusal: &Refusal) -> bool {
    refusal.code == code::UNKNOWN_FEATURE || refusal.code == code::INVALID_OBJECT
}

#[cfg(test)]
mod tests;
