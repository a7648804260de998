//! A session's received log on its way into the merged log.
use std::sync::Arc;

use axle_core::{
    log::{Change, Delta, Position, Snapshot},
    model::{Key, Kind, Object},
    refusal::{Refusal, code},
    session::{Ack, Intake},
};
use axle_proto::v1;
use axle_transport::sync::{Goodbye, Replica};

use super::SharedLog;
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

    /// What the kernels of a peer's nodes hold.
    fn statuses(&mut self, statuses: Vec<v1::NodeStatus>) {
        let _ = statuses;
    }

    /// A whole copy was taken, not a resume.
    fn resynced(&mut self) {}

    /// These came and are not in the log, because this program cannot read them or what came with them.
    fn unread(&mut self, refused: &[Refusal]) {
        let _ = refused;
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
}

impl<H: Hooks> FeedIntake<H> {
    /// For `feed` of `log`.
    pub fn new(log: Arc<SharedLog>, feed: Feed, hooks: H) -> Self {
        Self { log, feed, hooks, head: None }
    }

    fn has_begun(&self) -> bool {
        self.log.read(|log| log.contents().origin().is_some())
    }

    fn take(
        &mut self,
        (at, origin): (Position, Option<Position>),
        resumable: bool,
        refused: &[Refusal],
        batch: impl FnOnce(&MergedLog) -> Batch,
    ) -> Vec<Refusal> {
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
        let (taken, ()) = self.log.take_with(&self.feed, (at, origin), refused, |log| (batch(log), ()));
        self.hooks.taken(&taken);
        self.hooks.unread(refused);
        let claimed = taken.claimed.into_iter().map(|(key, message)| refused_as_foreign(key, message));
        taken.foreign.into_iter().map(|key| foreign(&self.feed, key)).chain(claimed).collect()
    }

    /// Whether the other policies of a revision stay as they are, because one of them could not be read: a policy may be
    /// gone only together with what takes its place. A node sees to that itself, where it keeps what it enforces.
    fn withholds(&self, unreadable: &[Refusal]) -> bool {
        unreadable.iter().any(|refusal| refusal.key.kind == Kind::Policy)
            && self.log.read(|log| log.ownership().is_relay())
    }

    /// Takes out of a revision what it withholds.
    fn withhold(&self, changes: &mut Vec<Change>, unreadable: &[Refusal]) -> Vec<Refusal> {
        if !self.withholds(unreadable) {
            return Vec::new();
        }
        let revision = unreadable.iter().map(|refusal| refusal.revision).max().unwrap_or_default();
        let policies = changes.extract_if(.., |change| change.key().kind == Kind::Policy);
        let message = "its revision has policies that this version of the relay cannot read: upgrade it";
        let refuse = |change: Change| Refusal {
            key: change.key().clone(),
            revision,
            code: code::UNKNOWN_FEATURE.into(),
            message: message.into(),
        };
        policies.map(refuse).collect()
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

fn foreign(feed: &Feed, key: Key) -> Refusal {
    let who = match feed {
        Feed::Node(name) => format!("node {name}"),
        Feed::Upstream | Feed::Local => "the sender".into(),
    };
    let message = format!("{key} is not {who}'s to write: a node speaks for itself and its workloads");
    refused_as_foreign(key, message)
}

fn refused_as_foreign(key: Key, message: String) -> Refusal {
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
        for Intake { taken: delta, refused: unreadable } in deltas {
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
            refused.extend(self.take((delta.to, delta.origin), resumable, &unread, batch));
        }
        Ok(refused)
    }

    async fn replace(&mut self, snapshot: Intake<Snapshot>) -> Result<Vec<Refusal>, Goodbye> {
        let Intake { taken: Snapshot { at, mut objects, origin }, refused: unreadable } = snapshot;
        let mut refused = Vec::new();
        self.sift(&mut objects, &mut refused);
        self.hooks.resynced();
        let stays = self.withholds(&unreadable) && self.has_begun();
        let more = self.take((at, origin), unreadable.is_empty(), &unreadable, |log| {
            let is_policy = |object: &Object| object.key.kind == Kind::Policy;
            if stays {
                objects.retain(|object| !is_policy(object));
            }
            // What is there and could not be read stays as it was.
            let unread = |object: &&Object| unreadable.iter().any(|refusal| refusal.key == object.key);
            objects
                .extend(log.contents().iter().filter(|object| unread(object) || stays && is_policy(object)).cloned());
            Batch::Whole(objects)
        });
        refused.extend(more);
        Ok(refused)
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
