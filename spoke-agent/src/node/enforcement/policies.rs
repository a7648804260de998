//! Which version of each policy is in force, and what the log has where that is something else.
use std::{collections::BTreeMap, path::Path};

use axle_core::{
    log::Change,
    model::{Key, Kind, Object},
    policy::compile::{Outcome, Refused},
    refusal::{Refusal, code},
};

use super::{
    enforcer::is_refused,
    held::{Held, HeldBack},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Policies {
    /// What the compiler enforces.
    in_force: BTreeMap<Key, Object>,
    /// What the log has and is not in force: a newer version, or none.
    wanted: BTreeMap<Key, Option<Object>>,
    held: HeldBack,
}

impl Policies {
    /// What was refused before is kept at `path`.
    pub(super) fn open(path: &Path) -> std::io::Result<(Self, Option<String>)> {
        let (held, damage) = HeldBack::open(path)?;
        Ok((Self { in_force: BTreeMap::new(), wanted: BTreeMap::new(), held }, damage))
    }

    /// Of the log's policies, the versions to begin with: those that were in force before a restart.
    pub(super) fn begin(&mut self, mut policies: Vec<Object>) -> Vec<Object> {
        let mut settled = Vec::new();
        for (key, held) in &self.held.by_key {
            let at = policies.iter().position(|policy| policy.key == *key);
            let newer = at.map(|at| policies.swap_remove(at));
            policies.extend(held.in_force.clone());
            if newer != held.in_force {
                self.wanted.insert(key.clone(), newer);
            } else if !is_unreadable(&held.refusal) {
                settled.push(key.clone());
            }
        }
        for key in settled {
            self.held.by_key.remove(&key);
        }
        policies
    }

    /// The compiler has these versions; newer ones may be wanted.
    pub(super) fn loaded(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put(policy) => drop(self.in_force.insert(policy.key.clone(), policy.clone())),
                Change::Delete { key, uid } => {
                    if self.in_force.get(key).is_some_and(|policy| policy.uid == *uid) {
                        self.in_force.remove(key);
                    }
                }
            }
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
        for change in changes {
            match refused.get(change.key()) {
                Some(why) => self.hold_one(change, code::DOES_NOT_FIT, why.clone()),
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
        match (self.wanted.get(key)?, self.in_force.get(key)) {
            (Some(policy), _) => Some(Change::Put(policy.clone())),
            (None, Some(policy)) => Some(Change::Delete { key: key.clone(), uid: policy.uid }),
            (None, None) => None,
        }
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
        for change in changes {
            self.hold_one(change, code, why.to_owned());
        }
    }

    fn hold_one(&mut self, change: &Change, code: &str, message: String) {
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
        self.held.by_key.insert(key.clone(), Held { refusal, in_force });
        self.wanted.insert(key.clone(), newer);
    }

    /// Notes what could not be read; says whether policies are among it.
    pub(super) fn hold_unreadable(&mut self, refused: &[Refusal]) -> bool {
        for refusal in refused {
            let in_force = self.in_force.get(&refusal.key).cloned();
            self.held.by_key.insert(refusal.key.clone(), Held { refusal: refusal.clone(), in_force });
        }
        refused.iter().any(|refusal| refusal.key.kind == Kind::Policy)
    }

    /// A whole copy of the log came, of which `refused` could not be read: what could not be before, now can or is gone.
    /// Returns what was held back with it and now need not be.
    pub(super) fn readable_but(&mut self, refused: &[Refusal]) -> Vec<Change> {
        let still = |key: &Key| refused.iter().any(|refusal| refusal.key == *key);
        let wanted = &self.wanted;
        self.held.by_key.retain(|key, held| !is_unreadable(&held.refusal) || wanted.contains_key(key) || still(key));
        if refused.iter().any(|refusal| refusal.key.kind == Kind::Policy) {
            return Vec::new();
        }
        self.wishes(is_unreadable)
    }

    /// What would bring in force what was refused for such a reason.
    fn wishes(&self, reason: impl Fn(&Refusal) -> bool) -> Vec<Change> {
        let of_reason = self.held.by_key.iter().filter(|(_, held)| reason(&held.refusal));
        of_reason.filter_map(|(key, _)| self.wish(key)).collect()
    }

    /// What the kernel refused, to be tried again.
    pub(super) fn refused_by_kernel(&self) -> Vec<Change> {
        self.wishes(|refusal| refusal.code == code::MAP_WRITE_FAILED)
    }

    /// What this node could read and did not take before a restart, to be tried again.
    pub(super) fn refused_before(&self) -> Vec<Change> {
        self.wishes(|refusal| !is_unreadable(refusal))
    }

    /// Writes down what a restart must know.
    pub(super) fn store(&mut self) {
        if let Err(error) = self.held.store() {
            tracing::error!(%error, "what is held back would be forgotten by a restart");
        }
    }

    pub(super) fn refusals(&self) -> Vec<Refusal> {
        self.held.refusals()
    }
}

/// Whether the log itself, or what came with it in one revision, could not be read.
fn is_unreadable(refusal: &Refusal) -> bool {
    refusal.code == code::UNKNOWN_FEATURE || refusal.code == code::INVALID_OBJECT
}
