//! A log applied.
mod follow;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use smallvec::SmallVec;

use crate::{
    log::{Change, Hash, Position, Record},
    model::{Key, Kind, Name, Object, Scope, Uid},
};

/// The objects of a log at one position, and a bounded memory of how it got there.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    position: Position,
    origin: Option<Position>,
    objects: BTreeMap<Arc<Key>, Entry>,
    /// Incarnations that were deleted since the oldest remembered step.
    tombstones: BTreeMap<Arc<Key>, SmallVec<[(Uid, u64); 1]>>,
    /// Oldest first; the last one is `position`.
    history: VecDeque<Step>,
    /// Keys in all of `history`.
    touched: usize,
    retention: Retention,
}

/// How much a log remembers of its past, so that readers that fell behind need no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Steps (revisions, where the log was followed one by one).
    pub steps: usize,
    /// Changed keys in all those steps.
    pub keys: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { steps: 65_536, keys: 1_000_000 }
    }
}

/// A place on the way and what changed on the step that led there.
#[derive(Debug, Clone)]
struct Step {
    revision: u64,
    hash: Hash,
    keys: Vec<Arc<Key>>,
}

/// An object and the revision of *this* log that last wrote it. [`Object::revision`] is the owner's, which a relay
/// passes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// In this log's numbering.
    pub changed: u64,
    /// What is there.
    pub object: Object,
}

/// A place that this log went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// Its revision.
    pub revision: u64,
    /// Its hash.
    pub hash: Hash,
}

/// An incarnation that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// The revision that deleted it, in this log's numbering.
    pub changed: u64,
    /// Its name.
    pub key: Key,
    /// Which incarnation.
    pub uid: Uid,
}

/// A delta that does not begin where the log stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the delta leads from revision {from} to {to} of epoch {epoch}, the log stands at revision {} of epoch {}; \
     wanted a delta from there: reconnect and resume",
    at.revision, at.epoch
)]
pub struct OutOfOrder {
    /// Where the log stands.
    pub at: Position,
    /// Where the delta begins.
    pub from: u64,
    /// The revision it leads to.
    pub to: u64,
    /// The epoch it is of.
    pub epoch: Uid,
}

/// What a delta replaced, so that it can be taken back.
#[derive(Debug)]
#[must_use = "it tells what changed, and undoes it"]
pub struct Applied {
    before: Position,
    origin: Option<Position>,
    /// Keys that changed, with what was there before.
    pub replaced: Vec<(Arc<Key>, Option<Entry>)>,
    buried: Vec<Arc<Key>>,
}

impl Applied {
    /// The keys that changed.
    #[must_use]
    pub fn keys(&self) -> Vec<Arc<Key>> {
        self.replaced.iter().map(|(key, _)| key.clone()).collect()
    }
}

impl Contents {
    /// An empty log of a new epoch.
    #[must_use]
    pub fn new(epoch: Uid) -> Self {
        Self::restore(Position { epoch, ..Position::default() }, None, Vec::new(), &[], Vec::new())
    }

    /// A log as it was kept: its objects, the places it went through (oldest first) and what it deleted on the way.
    /// Without history, readers that are not exactly at `position` get a snapshot.
    #[must_use]
    pub fn restore(
        position: Position,
        origin: Option<Position>,
        entries: Vec<Entry>,
        history: &[Past],
        tombstones: Vec<Tombstone>,
    ) -> Self {
        let mut contents = Self { position, origin, ..Self::default() };
        let step = |past: &Past| Step { revision: past.revision, hash: past.hash, keys: Vec::new() };
        contents.history = history.iter().filter(|past| past.revision < position.revision).map(step).collect();
        contents.history.push_back(Step { revision: position.revision, hash: position.hash, keys: Vec::new() });
        for Tombstone { changed, key, uid } in tombstones {
            let key = Arc::new(key);
            contents.remember(&key, changed);
            contents.tombstones.entry(key).or_default().push((uid, changed));
        }
        for entry in entries {
            let key = Arc::new(entry.object.key.clone());
            contents.remember(&key, entry.changed);
            contents.objects.insert(key, entry);
        }
        contents
    }

    /// A hub's log as its store keeps it: the objects (each with the revision that last wrote it) and the newest records,
    /// in order, ending at `position`.
    #[must_use]
    pub fn load(position: Position, objects: Vec<Object>, recent: &[Record]) -> Self {
        let mut history: Vec<Past> = Vec::with_capacity(recent.len());
        let mut tombstones = Vec::new();
        for record in recent {
            history.push(Past { revision: record.revision, hash: record.hash });
            for change in &record.changes {
                // What the oldest record deleted is older than the oldest place to resume from.
                if let Change::Delete { key, uid } = change {
                    tombstones.push(Tombstone { changed: record.revision, key: key.clone(), uid: *uid });
                }
            }
        }
        let entries = objects.into_iter().map(|object| Entry { changed: object.revision, object }).collect();
        Self::restore(position, None, entries, &history, tombstones)
    }

    /// The same log, remembering this much of its past from now on.
    #[must_use]
    pub fn keeping(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Where the log stands.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Where the upstream of the log's owner stood.
    #[must_use]
    pub fn origin(&self) -> Option<Position> {
        self.origin
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The object of that name.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key).map(|entry| &entry.object)
    }

    /// All objects, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = &Object> + '_ {
        self.objects.values().map(|entry| &entry.object)
    }

    /// The objects of one kind, in the order of their keys.
    pub fn list(&self, kind: Kind) -> impl Iterator<Item = &Object> + '_ {
        self.objects_from(kind, Scope::Fleet).take_while(move |object| object.key.kind == kind)
    }

    /// The objects of one kind and owner, in the order of their keys.
    pub fn list_in(&self, kind: Kind, scope: Scope) -> impl Iterator<Item = &Object> + '_ {
        self.objects_from(kind, scope).take_while(move |object| object.key.kind == kind && object.key.scope == scope)
    }

    fn objects_from(&self, kind: Kind, scope: Scope) -> impl Iterator<Item = &Object> + '_ {
        let from = Key { kind, scope, namespace: String::new(), name: Name::least() };
        self.objects.range::<Key, _>(from..).map(|(_, entry)| &entry.object)
    }

    /// The same log, showing only what `visible` lets through.
    #[must_use]
    pub fn filtered(&self, visible: impl Fn(&Key) -> bool) -> Self {
        let (mut entries, history, mut tombstones) = self.parts();
        entries.retain(|entry| visible(&entry.object.key));
        tombstones.retain(|tombstone| visible(&tombstone.key));
        Self::restore(self.position, self.origin, entries, &history, tombstones)
    }

    /// Everything needed to [`restore`](Self::restore) it: the objects, the places it went through before this one, and
    /// what it deleted on the way.
    #[must_use]
    pub fn parts(&self) -> (Vec<Entry>, Vec<Past>, Vec<Tombstone>) {
        let past = |step: &Step| Past { revision: step.revision, hash: step.hash };
        let history = self.history.iter().take(self.history.len().saturating_sub(1)).map(past).collect();
        let tombstones = self.tombstones.iter().flat_map(|(key, uids)| {
            uids.iter().map(|(uid, changed)| Tombstone { changed: *changed, key: (**key).clone(), uid: *uid })
        });
        (self.objects.values().cloned().collect(), history, tombstones.collect())
    }

    /// Notes that the step to `revision` changed `key`, if that step is remembered.
    fn remember(&mut self, key: &Arc<Key>, revision: u64) {
        if let Ok(at) = self.history.binary_search_by_key(&revision, |step| step.revision) {
            self.history[at].keys.push(key.clone());
            self.touched += 1;
        }
    }
}
