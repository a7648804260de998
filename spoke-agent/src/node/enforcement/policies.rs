//! Which version of each policy is in force, and what the log has where that is something else.
use std::{collections::BTreeMap, path::Path};

use axle_core::{
    log::Change,
    model::{Key, Kind, Object},
    policy::compile::{Outcome, Refused},
    refusal::{Refusal, code},
};

use super::held::{Held, HeldBack};

/// See the module.
#[derive(Debug)]
pub(super) struct Policies {
    /// What the compiler holds.
    in_force: BTreeMap<Key, Object>,
    /// What the log has and this node refused: a newer version, or none.
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
            if newer == held.in_force {
                settled.push(key.clone());
            } else {
                self.wanted.insert(key.clone(), newer);
            }
        }
        for key in settled {
            self.held.by_key.remove(&key);
        }
        policies
    }

    /// These changes are in force.
    pub(super) fn taken(&mut self, changes: &[Change]) {
        for change in changes {
            self.held.by_key.remove(change.key());
            self.wanted.remove(change.key());
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

    /// What undoes these changes, which are not in force.
    pub(super) fn undoing(&self, changes: &[Change]) -> Vec<Change> {
        let before = |change: &Change| match (self.in_force.get(change.key()), change) {
            (Some(policy), _) => Some(Change::Put(policy.clone())),
            (None, Change::Put(policy)) => Some(Change::Delete { key: policy.key.clone(), uid: policy.uid }),
            (None, Change::Delete { .. }) => None,
        };
        changes.iter().filter_map(before).collect()
    }

    /// Holds a revision's policies back because some of them do not fit.
    pub(super) fn hold(&mut self, changes: &[Change], outcome: &Outcome) {
        let named = outcome.refused.iter().filter_map(|refusal| match &refusal.subject {
            Refused::Policy { key, .. } => Some((key, refusal.to_string())),
            Refused::State => None,
        });
        let culprits: BTreeMap<&Key, String> = named.collect();
        let others =
            culprits.values().next().map(|why| format!("held back with another policy of its revision: {why}"));
        for change in changes {
            let why = culprits.get(change.key()).cloned().or_else(|| others.clone()).unwrap_or_default();
            self.hold_one(change, code::DOES_NOT_FIT, why);
        }
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

    /// What would bring everything in force that was refused.
    pub(super) fn retry(&self) -> Vec<Change> {
        let newer = |(key, wanted): (&Key, &Option<Object>)| match (wanted, self.in_force.get(key)) {
            (Some(policy), _) => Some(Change::Put(policy.clone())),
            (None, Some(policy)) => Some(Change::Delete { key: key.clone(), uid: policy.uid }),
            (None, None) => None,
        };
        self.wanted.iter().filter_map(newer).collect()
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
