//! A session's received log on its way into the merged log.
use std::{collections::BTreeSet, sync::Arc};

use axle_core::{
    log::{Change, Delta, Position, Snapshot},
    model::{Key, Kind, Object, Uid},
    refusal::{Refusal, code},
    session::{Ack, Intake},
};
use axle_proto::v1;
use axle_transport::sync::{Goodbye, Replica};

use super::{SharedLog, Unread};
use crate::merged_log::{Batch, Feed, MergedLog, Taken};

/// What else the owner of a session wants to hear.
pub trait Hooks: Send + 'static {
    /// Something was taken.
    fn taken(&mut self, taken: &Taken) {
        let _ = taken;
    }

    /// The upstream's copy of the own log stands there, and this is what it did not take.
    fn acknowledged(&mut self, ack: Ack) {
        let _ = ack;
    }

    /// The upstream gets the own log anew: what it refused before it will refuse again, or take.
    fn begins_anew(&mut self) {}

    /// What the kernels of a peer's nodes hold.
    fn statuses(&mut self, statuses: Vec<v1::NodeStatus>) {
        let _ = statuses;
    }

    /// A whole copy was taken, not a resume.
    fn resynced(&mut self) {}

    /// What of the upstream's log is not in this one may have changed.
    fn unread(&mut self, log: &MergedLog) {
        let _ = log;
    }

    /// Why an object that came may not be taken, beside what ownership says: the code of the refusal, and the reason.
    fn check(&self, object: &Object) -> Result<(), (&'static str, String)> {
        let _ = object;
        Ok(())
    }
}

/// Where one feed's log goes.
pub struct FeedIntake<H> {
    log: Arc<SharedLog>,
    feed: Feed,
    hooks: H,
    /// Where the sender's log was at last.
    head: Option<Position>,
    /// How far the feed was taken in when this session took of it last.
    after: Option<Position>,
}

impl<H: Hooks> FeedIntake<H> {
    /// For `feed` of `log`.
    pub fn new(log: Arc<SharedLog>, feed: Feed, hooks: H) -> Self {
        let after = log.read(|log| log.fed(&feed));
        Self { log, feed, hooks, head: None, after }
    }

    fn has_begun(&self) -> bool {
        self.log.read(|log| log.contents().origin().is_some())
    }

    fn take(
        &mut self,
        (at, origin): (Position, Option<Position>),
        resumable: bool,
        unread: Unread<'_>,
        batch: impl FnOnce(&MergedLog) -> Batch,
    ) -> Result<Vec<Refusal>, Goodbye> {
        let is_behind = self.head.is_some_and(|head| at.revision < head.revision);
        let origin = match self.feed {
            // A first copy is complete at the head: a snapshot may be older, and what follows it is as much a part of it.
            Feed::Upstream if is_behind && !self.has_begun() => None,
            // What a relay has of the hub's log is the origin of its own; a node passes its relay's on.
            Feed::Upstream if self.log.read(|log| log.ownership().is_relay()) => Some(at),
            Feed::Upstream => origin,
            Feed::Local | Feed::Node(_) => None,
        };
        let at = resumable.then_some(at);
        let (taken, ()) = self.log.take_with(&self.feed, (at, origin), unread, |log| {
            // What a session that was replaced still has under way is older than what the newer one brought.
            if log.fed(&self.feed) == self.after {
                Ok((batch(log), ()))
            } else {
                Err(Goodbye::because("a newer session has gone on: reconnect, and resume from there"))
            }
        })?;
        self.after = taken.at;
        self.hooks.taken(&taken);
        if self.feed == Feed::Upstream {
            self.log.read(|log| self.hooks.unread(log));
        }
        Ok(taken.foreign.into_iter().map(|key| foreign(&self.feed, key)).chain(taken.claimed).collect())
    }

    /// Whether the other policies of a revision stay as they are, because one of them could not be read: a policy may be
    /// gone only together with what takes its place. A node sees to that itself, where it keeps what it enforces.
    fn withholds(&self, unreadable: &[Refusal]) -> bool {
        unreadable.iter().any(|refusal| refusal.key.kind == Kind::Policy)
            && self.log.read(|log| log.ownership().is_relay())
    }

    /// Takes out of a revision what it withholds. Where several revisions came as one, each object knows its own.
    fn withhold(&self, changes: &mut Vec<Change>, unreadable: &[Refusal]) -> Vec<Refusal> {
        if !self.withholds(unreadable) {
            return Vec::new();
        }
        let policies = changes.extract_if(.., |change| change.key().kind == Kind::Policy);
        policies.map(|change| withheld(&change, newest(unreadable))).collect()
    }

    /// Takes out of a whole copy what it withholds. What could not be read before either was its own revision's matter: what
    /// was withheld with it stays so, and all else is taken.
    fn withhold_whole(&self, objects: &mut Vec<Object>, unreadable: &[Refusal]) -> Vec<Refusal> {
        if !self.withholds(unreadable) || !self.has_begun() {
            return Vec::new();
        }
        self.log.read(|log| {
            let is_known = |key: &Key, revision| log.unread().get(key).is_some_and(|known| known.revision == revision);
            let is_news = unreadable.iter().any(|refusal| !is_known(&refusal.key, refusal.revision));
            let keys = objects.iter().map(|object| &object.key).chain(unreadable.iter().map(|refusal| &refusal.key));
            let listed: BTreeSet<Key> = keys.cloned().collect();
            let stays = |object: &Object| {
                let is_withheld = is_news || is_known(&object.key, object.revision);
                object.key.kind == Kind::Policy && is_withheld && log.contents().get(&object.key) != Some(object)
            };
            let newer: Vec<Change> = objects.extract_if(.., |object| stays(object)).map(Change::Put).collect();
            let is_gone = |object: &&Object| {
                let is_withheld = is_news || log.unread().contains_key(&object.key);
                object.key.kind == Kind::Policy
                    && is_withheld
                    && log.ownership().owner(object) == Feed::Upstream
                    && !listed.contains(&object.key)
            };
            let gone = log.contents().iter().filter(is_gone);
            let gone = gone.map(|policy| Change::Delete { key: policy.key.clone(), uid: policy.uid });
            newer.into_iter().chain(gone).map(|change| withheld(&change, newest(unreadable))).collect()
        })
    }

    /// A node that has seen more of the hub's log than its relay waits for it: what the relay has not heard of may be what
    /// forbids something.
    fn is_newer(&self, origin: Option<Position>) -> Result<(), Goodbye> {
        let held = self.log.read(|log| log.contents().origin());
        match held.filter(|_| self.feed == Feed::Upstream).zip(origin) {
            Some((held, origin)) if held.epoch == origin.epoch && origin.revision < held.revision => {
                let (has, wanted) = (origin.revision, held.revision);
                let why =
                    format!("the relay is at revision {has} of the hub, this node at {wanted}: it waits for the relay");
                Err(Goodbye::because(why))
            }
            _ => Ok(()),
        }
    }

    /// The cluster of this log is no member any more: that ends the session, and what is in force stays so. Taken over it
    /// would leave workloads of a cluster that nobody knows, which may do nothing.
    fn stays_member(&self, is_removed: impl FnOnce(&MergedLog, Uid) -> bool) -> Result<(), Goodbye> {
        let is_removed = self.feed == Feed::Upstream && self.log.read(|log| is_removed(log, log.ownership().cluster()));
        if is_removed { Err(Goodbye::because("this cluster was removed: what is in force stays so")) } else { Ok(()) }
    }

    /// Leaves out what may not be taken.
    fn sift(&self, objects: &mut Vec<Object>, refused: &mut Vec<Refusal>) {
        objects.retain(|object| match self.hooks.check(object) {
            Ok(()) => true,
            Err((code, message)) => {
                let (key, revision) = (object.key.clone(), object.revision);
                refused.push(Refusal { key, revision, code: code.into(), message });
                false
            }
        });
    }
}

/// The revision of the newest of them.
fn newest(refused: &[Refusal]) -> u64 {
    refused.iter().map(|refusal| refusal.revision).max().unwrap_or_default()
}

/// Refuses a policy that came with what cannot be read, at `revision` if it does not say its own.
fn withheld(change: &Change, revision: u64) -> Refusal {
    Refusal {
        key: change.key().clone(),
        revision: if let Change::Put(policy) = change { policy.revision } else { revision },
        code: code::UNKNOWN_FEATURE.into(),
        message: "its revision has policies that this version of the relay cannot read: upgrade it".into(),
    }
}

fn foreign(feed: &Feed, key: Key) -> Refusal {
    let who = match feed {
        Feed::Node(name) => format!("node {name}"),
        Feed::Upstream | Feed::Local => "the sender".into(),
    };
    let message = format!("{key} is not {who}'s to write: a node speaks for itself and its workloads");
    Refusal { key, revision: 0, code: code::FOREIGN_OBJECT.into(), message }
}

impl<H: Hooks> Replica for FeedIntake<H> {
    fn head(&mut self, head: Position) {
        self.head = Some(head);
    }

    /// Not before what the upstream knows of the own log was taken from there.
    fn may_serve(&self) -> bool {
        self.has_begun()
    }

    fn held(&self) -> Option<Position> {
        self.log.read(|log| log.fed(&self.feed))
    }

    async fn apply(&mut self, deltas: Vec<Intake<Delta>>) -> Result<Vec<Refusal>, Goodbye> {
        let mut refused = Vec::new();
        for Intake { taken: delta, refused: unreadable, unread: envelopes } in deltas {
            self.stays_member(|_, own| {
                let ends = |change: &Change| matches!(change, Change::Delete { key, uid } if key.kind == Kind::Cluster && *uid == own);
                delta.changes.iter().any(ends)
            })?;
            let mut changes = Vec::with_capacity(delta.changes.len());
            for change in delta.changes {
                match change {
                    Change::Put(object) => {
                        let mut one = vec![object];
                        self.sift(&mut one, &mut refused);
                        changes.extend(one.into_iter().map(Change::Put));
                    }
                    delete => changes.push(delete),
                }
            }
            let withheld = self.withhold(&mut changes, &unreadable);
            refused.extend(withheld.iter().cloned());
            let unread = [unreadable, withheld].concat();
            // What was not read is wanted again once this program can: until then the feed begins with everything.
            let resumable = unread.is_empty() && self.held().is_some();
            let batch = |_: &MergedLog| Batch::Changes(changes);
            let unread = Unread { refused: &unread, envelopes: &envelopes };
            refused.extend(self.take((delta.to, delta.origin), resumable, unread, batch)?);
        }
        Ok(refused)
    }

    async fn replace(&mut self, snapshot: Intake<Snapshot>) -> Result<Vec<Refusal>, Goodbye> {
        let Intake { taken: Snapshot { at, mut objects, origin }, refused: unreadable, unread: envelopes } = snapshot;
        self.stays_member(|log, own| {
            let is_it = |object: &Object| object.key.kind == Kind::Cluster && object.uid == own;
            log.contents().list(Kind::Cluster).any(is_it) && !objects.iter().any(is_it)
        })?;
        let mut refused = Vec::new();
        self.is_newer(origin)?;
        self.sift(&mut objects, &mut refused);
        self.hooks.resynced();
        let withheld = self.withhold_whole(&mut objects, &unreadable);
        refused.extend(withheld.iter().cloned());
        let all = [unreadable, withheld].concat();
        let unread = Unread { refused: &all, envelopes: &envelopes };
        let more = self.take((at, origin), all.is_empty(), unread, |log| {
            // What is there and was not read stays as it was.
            let stays = |object: &&Object| all.iter().any(|refusal| refusal.key == object.key);
            objects.extend(log.contents().iter().filter(stays).cloned());
            Batch::Whole(objects)
        })?;
        refused.extend(more);
        Ok(refused)
    }

    fn begins_anew(&mut self) {
        self.hooks.begins_anew();
    }

    fn acknowledged(&mut self, ack: Ack) {
        self.hooks.acknowledged(ack);
    }

    fn statuses(&mut self, statuses: Vec<v1::NodeStatus>) {
        self.hooks.statuses(statuses);
    }
}

#[cfg(test)]
mod tests;
