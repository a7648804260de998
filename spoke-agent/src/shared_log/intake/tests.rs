//! A relay that cannot read a policy.
use axle_core::{
    manifest::parse_policies,
    model::{Resource, Scope, Uid},
};
use axle_proto::convert;

use super::*;
use crate::merged_log::Ownership;

#[derive(Clone, Default)]
struct Unread(Arc<parking_lot::Mutex<Vec<String>>>);

impl Hooks for Unread {
    fn unread(&mut self, log: &MergedLog) {
        *self.0.lock() = log.unread().keys().map(|key| key.name.to_string()).collect();
    }
}

fn policy(name: &str, revision: u64) -> Object {
    let text = format!(
        "apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\nmetadata: {{name: {name}}}\n\
         spec: {{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, ingress: [{{action: Deny, from: [{{pods: {{podSelector: {{}}}}}}]}}]}}\n"
    );
    let policy = parse_policies(&text).unwrap().remove(0);
    let mut uid = [0; 16];
    uid[..name.len()].copy_from_slice(name.as_bytes());
    convert::object(Resource::Policy(policy), Scope::Fleet, Uid(uid), revision)
}

fn gone(object: &Object) -> Change {
    Change::Delete { key: object.key.clone(), uid: object.uid }
}

fn unreadable(name: &str, revision: u64) -> Refusal {
    Refusal { key: policy(name, revision).key, revision, code: code::UNKNOWN_FEATURE.into(), message: String::new() }
}

fn at(revision: u64) -> Position {
    Position { revision, ..Position::default() }
}

fn whole(revision: u64, objects: &[Object], refused: &[Refusal]) -> Intake<Snapshot> {
    let taken = Snapshot { at: at(revision), objects: objects.to_vec(), origin: None };
    Intake { taken, refused: refused.to_vec() }
}

fn delta(revision: u64, changes: Vec<Change>, refused: &[Refusal]) -> Vec<Intake<Delta>> {
    let taken = Delta { from: revision - 1, to: at(revision), changes, origin: None };
    vec![Intake { taken, refused: refused.to_vec() }]
}

#[tokio::test]
async fn a_policy_is_not_gone_before_what_takes_its_place_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let ownership = Ownership::Relay { cluster: Uid([1; 16]) };
    let log = SharedLog::new(MergedLog::open(directory.path(), ownership, Uid([9; 16])).unwrap().0);
    let hooks = Unread::default();
    let mut intake = FeedIntake::new(log.clone(), Feed::Upstream, hooks.clone());
    let names = || -> Vec<String> {
        log.read(|log| log.contents().iter().map(|object| format!("{} {}", object.key.name, object.revision)).collect())
    };
    intake.replace(whole(1, &[policy("a", 1), policy("b", 1)], &[])).await.unwrap();
    assert_eq!((names(), intake.held()), (vec!["a 1".to_owned(), "b 1".to_owned()], Some(at(1))));

    let changes = vec![gone(&policy("a", 1)), Change::Put(policy("b", 2))];
    let refused = intake.apply(delta(2, changes, &[unreadable("x", 2)])).await.unwrap();
    assert_eq!(names(), ["a 1", "b 1"], "none of the revision takes effect");
    assert_eq!(refused.len(), 2, "and those that could be read are refused by name: {refused:?}");
    assert_eq!(*hooks.0.lock(), ["a", "b", "x"]);

    // What comes later is taken; that something was never read is not forgotten by it.
    intake.apply(delta(3, vec![Change::Put(policy("c", 3))], &[])).await.unwrap();
    assert_eq!((names(), intake.held()), (vec!["a 1".to_owned(), "b 1".to_owned(), "c 3".to_owned()], None));

    let now = [policy("b", 2), policy("c", 3)];
    intake.replace(whole(4, &now, &[unreadable("x", 2)])).await.unwrap();
    assert_eq!((names().len(), intake.held()), (3, None), "it still cannot be read");
    intake.replace(whole(4, &[&now[..], &[policy("x", 2)]].concat(), &[])).await.unwrap();
    assert_eq!((names(), intake.held()), (vec!["b 2".to_owned(), "c 3".to_owned(), "x 2".to_owned()], Some(at(4))));
}

/// Two whole copies with one policy that cannot be read: what came between them is not that one's matter, and what is
/// held back is named with its own revision, on disk too.
#[tokio::test]
async fn what_a_whole_copy_withholds_is_refused_by_name_and_nothing_else_is_withheld() {
    let directory = tempfile::tempdir().unwrap();
    let ownership = || Ownership::Relay { cluster: Uid([1; 16]) };
    let open = || SharedLog::new(MergedLog::open(directory.path(), ownership(), Uid([9; 16])).unwrap().0);
    let held = |log: &SharedLog| -> Vec<(String, u64)> {
        log.read(|log| log.contents().iter().map(|one| (one.key.name.to_string(), one.revision)).collect())
    };
    let unread = |log: &SharedLog| -> Vec<(String, u64)> {
        log.read(|log| log.unread().values().map(|one| (one.key.name.to_string(), one.revision)).collect())
    };
    let named = |names: &[(&str, u64)]| -> Vec<(String, u64)> {
        names.iter().map(|(name, revision)| ((*name).to_owned(), *revision)).collect()
    };
    let log = open();
    let mut intake = FeedIntake::new(log.clone(), Feed::Upstream, Unread::default());
    intake.replace(whole(1, &[policy("a", 1), policy("b", 1)], &[])).await.unwrap();
    intake.apply(delta(10, vec![Change::Put(policy("a", 10))], &[unreadable("x", 10)])).await.unwrap();
    drop(intake);
    drop(log);

    // In a session after a restart: z came alone, while there was no session.
    let log = open();
    assert_eq!(unread(&log), named(&[("a", 10), ("x", 10)]));
    let mut intake = FeedIntake::new(log.clone(), Feed::Upstream, Unread::default());
    let now = [policy("a", 10), policy("b", 1), policy("z", 15)];
    let refused = intake.replace(whole(20, &now, &[unreadable("x", 10)])).await.unwrap();
    assert_eq!(held(&log), named(&[("a", 1), ("b", 1), ("z", 15)]));
    assert_eq!((unread(&log), refused.len()), (named(&[("a", 10), ("x", 10)]), 1), "{refused:?}");

    // Another one that cannot be read: nobody knows what came with it.
    let now = [policy("a", 10), policy("c", 25), policy("z", 22)];
    let refused = intake.replace(whole(30, &now, &[unreadable("x", 10), unreadable("y", 25)])).await.unwrap();
    assert_eq!(held(&log), named(&[("a", 1), ("b", 1), ("z", 15)]));
    let all = [("a", 10), ("b", 25), ("c", 25), ("x", 10), ("y", 25), ("z", 22)];
    assert_eq!((unread(&log), refused.len()), (named(&all), 4), "{refused:?}");

    // A policy that could not be read and is gone is nobody's worry any more; that others wait for it is not forgotten.
    let [x, y] = ["x", "y"].map(|name| gone(&policy(name, 0)));
    intake.apply(delta(31, vec![x, y], &[])).await.unwrap();
    assert_eq!((unread(&log).len(), intake.held()), (4, None));
    intake.replace(whole(31, &now, &[])).await.unwrap();
    assert_eq!((held(&log), unread(&log)), (named(&[("a", 10), ("c", 25), ("z", 22)]), Vec::new()));
    assert_eq!(intake.held(), Some(at(31)));
}
