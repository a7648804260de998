//! Changes being gathered for one record, seen over the state that they will change.
use std::collections::BTreeMap;

use crate::{
    codec::Codec,
    log::{Change, Contents, Intake, Position, Record},
    model::{Key, Kind, Object, Resource, Scope, Uid},
    refusal::Refusal,
    state::{Decision, Request},
};

pub(super) struct Draft<'s> {
    contents: &'s Contents,
    codec: &'s dyn Codec,
    entropy: [u8; 32],
    drawn: u64,
    changes: BTreeMap<Key, Change>,
    kept: bool,
}

impl<'s> Draft<'s> {
    pub(super) fn new(contents: &'s Contents, codec: &'s dyn Codec, entropy: [u8; 32]) -> Self {
        Self { contents, codec, entropy, drawn: 0, changes: BTreeMap::new(), kept: false }
    }

    /// The object of that name as it will be.
    pub(super) fn get(&self, key: &Key) -> Option<&Object> {
        match self.changes.get(key) {
            Some(Change::Put(object)) => Some(object),
            Some(Change::Delete { .. }) => None,
            None => self.contents.get(key),
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && !self.kept
    }

    /// The keys that change so far.
    pub(super) fn changed(&self, kind: Kind) -> impl Iterator<Item = &Key> + '_ {
        self.changes.keys().filter(move |key| key.kind == kind)
    }

    /// Writes a resource under its own name, keeping the uid of what is there. Returns its uid.
    pub(super) fn write(&mut self, resource: Resource, scope: Scope) -> Uid {
        // An endpoint's name follows from its uid, so it has none to keep; the hub itself writes none.
        let uid = self.get(&Key::of(&resource, scope, Uid::default())).map(|object| object.uid);
        let uid = uid.unwrap_or_else(|| self.draw());
        self.put(Object::new(resource, scope, uid, 0, self.codec));
        uid
    }

    /// Writes an object, unless it is there just so.
    pub(super) fn put(&mut self, object: Object) {
        let there = self.contents.get(&object.key).is_some_and(|there| there.same_as(&object));
        if there {
            self.changes.remove(&object.key);
        } else {
            self.changes.insert(object.key.clone(), Change::Put(object));
        }
    }

    /// Deletes what is there now.
    pub(super) fn delete(&mut self, key: &Key) {
        match self.contents.get(key) {
            Some(object) => {
                self.changes.insert(key.clone(), Change::Delete { key: key.clone(), uid: object.uid });
            }
            None => {
                self.changes.remove(key);
            }
        }
    }

    /// Writes the record also if nothing changes.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    fn draw(&mut self) -> Uid {
        let mut hasher = blake3::Hasher::new_keyed(&self.entropy);
        hasher.update(&self.drawn.to_le_bytes());
        self.drawn += 1;
        let mut uid = Uid::default();
        hasher.finalize_xof().fill(&mut uid.0);
        uid
    }

    pub(super) fn decided(self, request: &Request, refused: Vec<Refusal>, intake: Option<(Uid, Position)>) -> Decision {
        let mut changes = Vec::with_capacity(self.changes.len());
        for (key, change) in self.changes {
            // A log that is loaded from its records knows an incarnation to be gone only if a record says so.
            if let (Change::Put(new), Some(old)) = (&change, self.contents.get(&key))
                && new.uid != old.uid
            {
                changes.push(Change::Delete { key, uid: old.uid });
            }
            changes.push(change);
        }
        let record = Record {
            revision: 0,
            hash: crate::log::Hash::default(),
            time_ms: request.time_ms,
            actor: request.actor.clone(),
            request_id: request.request_id.clone(),
            action: request.command.action(),
            changes,
            intake: intake.map(|(cluster, position)| Intake { cluster, position }),
        };
        Decision::Write { record: record.sealed(&self.contents.position()), refused }
    }
}
