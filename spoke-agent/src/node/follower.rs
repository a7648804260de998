//! From the log's revisions to the enforcement, in the same order.
use std::sync::Arc;

use axle_core::{
    log::Position,
    model::{Envelope, Kind, Scope},
};

use super::enforcement::{Enforcement, Revision, Work};
use crate::{
    merged_log::{Feed, MergedLog},
    shared_log::{Follower, Step},
};

/// Leaves the kernel alone until the log is complete: it includes a position of the hub, and this node's own inventory.
/// Else a node that lost its log would enforce a part of it, or take its own workloads' hooks away.
pub(super) struct EnforcementFollower {
    enforcement: Enforcement,
    begun: bool,
    /// What came before that and requires more than this version knows.
    unread: Vec<Envelope>,
}

impl EnforcementFollower {
    pub(super) fn new(enforcement: Enforcement) -> Self {
        Self { enforcement, begun: false, unread: Vec::new() }
    }
}

impl Follower for EnforcementFollower {
    fn follow(&mut self, log: &MergedLog, step: &Step<'_>) {
        let Step { delta, unread, gone, whole } = *step;
        let contents = log.contents();
        if self.begun {
            let changes = delta.map(|delta| delta.changes.clone()).unwrap_or_default();
            let (refused, gone) = (unread.refused.to_vec(), gone.to_vec());
            let (origin, above) = (contents.origin(), log.fed(&Feed::Upstream));
            let revision = Revision { changes, origin, above, refused, gone, whole };
            self.enforcement.ask(Work::Revise(Arc::new(revision)));
            return;
        }
        self.unread.extend_from_slice(unread.envelopes);
        let Some(origin) = contents.origin() else { return };
        let scope = Scope::Cluster(log.ownership().cluster());
        let knows_itself = contents.list_in(Kind::Node, scope).any(|node| log.ownership().is_own_node(node));
        if knows_itself {
            self.begun = true;
            self.enforcement.ask(beginning(log, origin, std::mem::take(&mut self.unread)));
        }
    }
}

/// What a restart begins with. What could not be read may be news to the enforcement even then: an agent that was killed
/// after taking a revision has not held back what came with it.
fn beginning(log: &MergedLog, origin: Position, mut unread: Vec<Envelope>) -> Work {
    let objects = log.contents().iter().cloned().collect();
    // The copy of the upstream's log came before this node was in it, and what could not be read may be gone by now.
    unread.retain(|envelope| log.unread().contains_key(&envelope.key));
    let (above, refused) = (log.fed(&Feed::Upstream), log.unread().values().cloned().collect());
    Work::Begin { objects, origin, above, refused, unread }
}

#[cfg(test)]
mod tests {
    use axle_core::{
        model::{Key, Name, Uid},
        refusal::{Refusal, code},
    };

    use super::*;
    use crate::merged_log::{Batch, Ownership};

    #[test]
    fn what_could_not_be_read_is_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let name = |text: &str| Name::new(text).unwrap();
        let open = || {
            let ownership = Ownership::Node { cluster: Uid([1; 16]), node: name("n1") };
            MergedLog::open(directory.path(), ownership, Uid([9; 16])).unwrap().0
        };
        let key = Key { kind: Kind::Policy, scope: Scope::Fleet, namespace: String::new(), name: name("p") };
        let refusal = Refusal { key, revision: 3, code: code::UNKNOWN_FEATURE.into(), message: "upgrade".into() };
        let (key, uid, features) = (refusal.key.clone(), Uid([7; 16]), vec!["later".to_owned()]);
        let envelope = Envelope { key, uid, revision: 3, features, payload: [].as_slice().into() };
        let at = |revision| Position { revision, ..Position::default() };
        let mut log = open();
        let batch = Batch::Changes(Vec::new());
        log.note_unread(&batch, std::slice::from_ref(&refusal));
        let _ = log.take(&Feed::Upstream, batch, None, Some(at(3)));
        drop(log);
        let Work::Begin { refused, unread, .. } = beginning(&open(), at(3), vec![envelope.clone()]) else {
            unreachable!()
        };
        assert_eq!((refused, unread), (vec![refusal], vec![envelope.clone()]));
        let mut log = open();
        log.note_unread(&Batch::Whole(Vec::new()), &[]);
        let _ = log.take(&Feed::Upstream, Batch::Whole(Vec::new()), Some(at(5)), Some(at(5)));
        drop(log);
        let Work::Begin { refused, unread, .. } = beginning(&open(), at(5), vec![envelope]) else { unreachable!() };
        assert!(refused.is_empty() && unread.is_empty());
    }
}
