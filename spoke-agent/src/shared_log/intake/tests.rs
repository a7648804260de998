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
    fn unread(&mut self, refused: &[Refusal]) {
        self.0.lock().extend(refused.iter().map(|refusal| refusal.key.name.to_string()));
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
    assert_eq!(*hooks.0.lock(), ["x", "a", "b"]);

    // What comes later is taken; that something was never read is not forgotten by it.
    intake.apply(delta(3, vec![Change::Put(policy("c", 3))], &[])).await.unwrap();
    assert_eq!((names(), intake.held()), (vec!["a 1".to_owned(), "b 1".to_owned(), "c 3".to_owned()], None));

    let now = [policy("b", 2), policy("c", 3)];
    intake.replace(whole(4, &now, &[unreadable("x", 2)])).await.unwrap();
    assert_eq!((names().len(), intake.held()), (3, None), "it still cannot be read");
    intake.replace(whole(4, &[&now[..], &[policy("x", 2)]].concat(), &[])).await.unwrap();
    assert_eq!((names(), intake.held()), (vec!["b 2".to_owned(), "c 3".to_owned(), "x 2".to_owned()], Some(at(4))));
}
