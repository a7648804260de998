//! What a feed's batch changes in the merged log.
use std::collections::BTreeMap;

use axle_core::{
    log::{Change, Contents},
    model::{Key, Kind, Name, Object, Resource, Uid},
    refusal::{Refusal, code},
};

use super::{Feed, MergedLog, Ownership, claims::Claims};

/// What a feed says.
#[derive(Debug, Clone, PartialEq)]
pub enum Batch {
    /// What changed.
    Changes(Vec<Change>),
    /// All that there is: what is not among it is gone.
    Whole(Vec<Object>),
    /// All that could be read: what is not among it stays.
    Part(Vec<Object>),
}

/// What that means for the merged log.
#[derive(Debug, Default, PartialEq)]
pub struct Merged {
    /// What changes.
    pub changes: Vec<Change>,
    /// What the feed sent and does not own.
    pub foreign: Vec<Key>,
    /// What a node sent that claims what is another's: refused, or taken without that.
    pub claimed: Vec<Refusal>,
    /// Nodes that were removed from above.
    pub removed_nodes: Vec<Name>,
    /// What was deleted above and is not here: where it could not be read, that is over.
    pub gone: Vec<Key>,
}

/// Merges `batch` of `feed` into the log. Only the owner of an object changes it; echoes from upstream are dropped, but for
/// those whose owner was not heard of: what is known of it above counts, until it speaks for itself.
#[must_use]
pub(super) fn merge(log: &MergedLog, feed: &Feed, batch: Batch) -> Merged {
    let (contents, ownership) = (&log.contents, &log.ownership);
    let is_silent = |owner: &Feed| contents.origin().is_none() && !log.feeds.contains_key(owner);
    let claims = Claims::new(ownership.cluster(), contents, &log.endpoints);
    let mut merger = Merger { contents, ownership, feed, is_silent: &is_silent, claims, merged: Merged::default() };
    match batch {
        Batch::Changes(changes) => changes.into_iter().for_each(|change| merger.change(change)),
        Batch::Part(objects) => objects.into_iter().for_each(|object| merger.put(object)),
        Batch::Whole(objects) => merger.whole(objects),
    }
    merger.merged
}

struct Merger<'a> {
    contents: &'a Contents,
    ownership: &'a Ownership,
    feed: &'a Feed,
    is_silent: &'a dyn Fn(&Feed) -> bool,
    claims: Claims<'a>,
    merged: Merged,
}

impl Merger<'_> {
    /// Whether the feed may write an object.
    fn may_write(&self, object: &Object) -> bool {
        let owner = self.ownership.owner(object);
        owner == *self.feed || (*self.feed == Feed::Upstream && (self.is_silent)(&owner))
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Put(object) => self.put(object),
            Change::Delete { key, uid } => self.delete(key, uid),
        }
    }

    fn put(&mut self, object: Object) {
        let held = self.contents.get(&object.key);
        if !self.may_write(&object) || held.is_some_and(|held| !self.may_write(held)) {
            if *self.feed != Feed::Upstream {
                self.merged.foreign.push(object.key);
            }
            return;
        }
        if held.is_some_and(|held| same(held, &object)) {
            return;
        }
        let Feed::Node(node) = self.feed else { return self.merged.changes.push(Change::Put(object)) };
        let (key, revision) = (object.key.clone(), object.revision);
        let (left, claims) = self.claims.judge(node, object);
        if !claims.is_empty() {
            let (code, message) = (code::FOREIGN_OBJECT.into(), claims.join("; "));
            self.merged.claimed.push(Refusal { key, revision, code, message });
        }
        let left = left.filter(|object| held.is_none_or(|held| !same(held, object)));
        self.merged.changes.extend(left.map(Change::Put));
    }

    fn delete(&mut self, key: Key, uid: Uid) {
        let held = self.contents.get(&key);
        if held.is_none() && *self.feed == Feed::Upstream {
            self.merged.gone.push(key);
            return;
        }
        let Some(held) = held.filter(|held| held.uid == uid) else { return };
        match (self.ownership.owner(held), self.feed) {
            // An echo of our own delete would find nothing here: somebody above removed this node, for good.
            (Feed::Node(node), Feed::Upstream) if key.kind == Kind::Node => self.remove_node(node),
            _ if self.may_write(held) => self.merged.changes.push(Change::Delete { key, uid }),
            (_, Feed::Upstream) => {}
            _ => self.merged.foreign.push(key),
        }
    }

    fn remove_node(&mut self, node: Name) {
        let owner = Feed::Node(node.clone());
        let owned = self.contents.iter().filter(|object| self.ownership.owner(object) == owner);
        let deletes = owned.map(|object| Change::Delete { key: object.key.clone(), uid: object.uid });
        self.merged.changes.extend(deletes);
        self.merged.removed_nodes.push(node);
    }

    fn whole(&mut self, objects: Vec<Object>) {
        let listed: BTreeMap<Key, Uid> = objects.iter().map(|object| (object.key.clone(), object.uid)).collect();
        for object in objects {
            self.put(object);
        }
        for held in self.contents.iter() {
            if self.may_write(held) && !listed.contains_key(&held.key) {
                self.merged.changes.push(Change::Delete { key: held.key.clone(), uid: held.uid });
            }
        }
        self.merged.changes.sort_by(|a, b| a.key().cmp(b.key()));
    }
}

/// Whether nothing that a reader sees differs. The revision counts for policies alone, where it is part of rule ids; of
/// other objects it tells only whose log they were numbered in.
fn same(a: &Object, b: &Object) -> bool {
    let revision = a.revision == b.revision || !matches!(*a.resource, Resource::Policy(_));
    revision && a.uid == b.uid && a.payload == b.payload && a.features == b.features
}
