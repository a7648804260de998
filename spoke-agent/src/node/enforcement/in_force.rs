//! The policies that the compiler enforces, on disk. A restart begins with them, whatever the log has by then: an agent that
//! dies between taking a revision into its log and refusing it would else know only the version that it cannot hold.
use std::{collections::BTreeMap, io, path::Path};

use axle_core::{
    log::Change,
    model::{Envelope, Key, Object},
};
use axle_proto::{
    convert::{Wire, change_from_wire, change_to_wire},
    v1,
};
use prost::Message;

use crate::journal::{Found, Journal};

/// A journal of changes; its state is all of them as puts.
#[derive(Debug)]
pub(super) struct InForce {
    journal: Journal,
    /// The journal has a state that its entries belong to.
    begun: bool,
    /// Changes that are not on disk yet.
    waiting: Vec<Change>,
}

#[derive(Clone, PartialEq, Message)]
struct Kept {
    #[prost(message, repeated, tag = "1")]
    changes: Vec<v1::Change>,
}

impl InForce {
    /// What was in force when the agent before ended, if that is known, and what is wrong with the files in `directory`.
    #[expect(clippy::type_complexity, reason = "three answers of one question")]
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Option<BTreeMap<Key, Object>>, Vec<String>)> {
        let (journal, Found { state, entries, mut damage }) = Journal::open(directory)?;
        let mut policies = BTreeMap::new();
        let known = state.is_some();
        // One that this version cannot read says nothing about the others.
        for change in state.into_iter().chain(entries).flat_map(|bytes| read(&bytes)) {
            match change {
                Ok(change) => drop(apply(&mut policies, change)),
                Err(why) => damage.push(format!("{}: {why}; it is left out", directory.display())),
            }
        }
        let in_force = Self { journal, begun: false, waiting: Vec::new() };
        Ok((in_force, known.then_some(policies), damage))
    }

    /// Notes a change; [`store`](Self::store) writes it down.
    pub(super) fn note(&mut self, change: Change) {
        self.waiting.push(change);
    }

    /// Makes what was written survive a power cut.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.journal.unsynced()?.map_or(Ok(()), |entries| entries.sync_data())
    }

    /// Writes down what was noted. `policies` is everything, with that.
    pub(super) fn store<'a>(&mut self, policies: impl Iterator<Item = &'a Object>) -> io::Result<()> {
        let changes = std::mem::take(&mut self.waiting);
        if self.begun && !changes.is_empty() {
            // If it fails, the journal wants compacting.
            let _ = self.journal.append(&written(&changes));
        }
        if !self.begun || self.journal.wants_compacting() {
            let all: Vec<Change> = policies.cloned().map(Change::Put).collect();
            self.journal.compact(&written(&all))?;
            self.begun = true;
        }
        Ok(())
    }
}

fn apply(policies: &mut BTreeMap<Key, Object>, change: Change) -> Option<Object> {
    match change {
        Change::Put(policy) => policies.insert(policy.key.clone(), policy),
        Change::Delete { key, .. } => policies.remove(&key),
    }
}

fn written(changes: &[Change]) -> Vec<u8> {
    Kept { changes: changes.iter().map(change_to_wire).collect() }.encode_to_vec()
}

fn read(bytes: &[u8]) -> Vec<Result<Change, String>> {
    let open = |change| match change_from_wire(change).map_err(|error| error.to_string())? {
        Change::Put(envelope) => {
            let key = envelope.key.clone();
            Envelope::open(envelope, &Wire).map(Change::Put).map_err(|why| format!("{key}: {why}"))
        }
        Change::Delete { key, uid } => Ok(Change::Delete { key, uid }),
    };
    match Kept::decode(bytes) {
        Ok(kept) => kept.changes.into_iter().map(open).collect(),
        Err(error) => vec![Err(error.to_string())],
    }
}
