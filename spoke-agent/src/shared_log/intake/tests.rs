//! A relay that cannot read a policy.
use std::net::IpAddr;

use axle_core::{
    manifest::parse_policies,
    model::{Action, Cluster, Labels, Name, Node, Resource, Scope, Uid},
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
    Intake { taken, refused: refused.to_vec(), unread: vec![] }
}

fn delta(revision: u64, changes: Vec<Change>, refused: &[Refusal]) -> Vec<Intake<Delta>> {
    let taken = Delta { from: revision - 1, to: at(revision), changes, origin: None };
    vec![Intake { taken, refused: refused.to_vec(), unread: vec![] }]
}

#[tokio::test]
async fn a_policy_is_not_gone_before_what_takes_its_place_can_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let log = relay(&directory);
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

fn node(name: &str, address: [u8; 4]) -> Object {
    let uid = Uid([name.as_bytes()[1]; 16]);
    let name = Name::new(name).unwrap();
    let node = Node { name, labels: Labels::new(), addresses: vec![IpAddr::from(address)] };
    convert::object(Resource::Node(node), Scope::Cluster(Uid([1; 16])), uid, 1)
}

fn relay(directory: &tempfile::TempDir) -> Arc<SharedLog> {
    let ownership = Ownership::Relay { cluster: Uid([1; 16]) };
    SharedLog::new(MergedLog::open(directory.path(), ownership, Uid([9; 16])).unwrap().0)
}

#[tokio::test]
async fn late_words_of_a_session_that_was_replaced_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let log = relay(&directory);
    let n1 = Feed::Node(Name::new("n1").unwrap());
    let session = || FeedIntake::new(log.clone(), n1.clone(), Unread::default());
    let mut first = session();
    first.replace(whole(1, &[node("n1", [192, 0, 2, 1])], &[])).await.unwrap();
    let mut second = session();
    second.apply(delta(2, vec![Change::Put(node("n1", [192, 0, 2, 2]))], &[])).await.unwrap();
    let late = first.apply(delta(2, vec![Change::Put(node("n1", [192, 0, 2, 3]))], &[])).await.unwrap_err();
    assert!(late.reason.contains("newer session"), "{late}");
    first.replace(whole(1, &[], &[])).await.unwrap_err();
    let held = log.read(|log| log.contents().iter().cloned().collect::<Vec<_>>());
    assert_eq!((held, second.held()), (vec![node("n1", [192, 0, 2, 2])], Some(at(2))));
    second.apply(delta(3, vec![gone(&node("n1", [192, 0, 2, 2]))], &[])).await.unwrap();
    assert!(log.read(|log| log.contents().iter().next().is_none()));
}

/// A machine that was replaced under a new name, with the old address.
#[tokio::test]
async fn what_was_refused_because_of_another_node_is_said_again() {
    let directory = tempfile::tempdir().unwrap();
    let log = relay(&directory);
    let session = |name: &str| FeedIntake::new(log.clone(), Feed::Node(Name::new(name).unwrap()), Unread::default());
    let (old, new) = (node("n1", [192, 0, 2, 1]), node("n2", [192, 0, 2, 1]));
    session("n1").replace(whole(1, std::slice::from_ref(&old), &[])).await.unwrap();
    let mut second = session("n2");
    let refused = second.replace(whole(7, std::slice::from_ref(&new), &[])).await.unwrap();
    assert!(refused.len() == 1 && refused[0].message.contains(": axle node remove CLUSTER n1;"), "{refused:?}");
    second.apply(delta(8, vec![], &[])).await.unwrap();
    assert_eq!(second.held(), None, "the next session begins with everything");
    let mut above = FeedIntake::new(log.clone(), Feed::Upstream, Unread::default());
    above.replace(whole(1, &[], &[])).await.unwrap();
    above.apply(delta(2, vec![gone(&old)], &[])).await.unwrap();
    let mut again = session("n2");
    assert_eq!(again.replace(whole(8, std::slice::from_ref(&new), &[])).await.unwrap(), []);
    assert_eq!(again.held(), Some(at(8)));
    assert!(log.read(|log| log.contents().iter().eq([&new])));
}

#[tokio::test]
async fn the_removal_of_its_own_cluster_is_not_taken_and_that_of_another_is() {
    let directory = tempfile::tempdir().unwrap();
    let log = relay(&directory);
    let mut intake = FeedIntake::new(log.clone(), Feed::Upstream, Unread::default());
    let [own, other] = [1, 2].map(cluster);
    intake.replace(whole(1, &[own.clone(), other.clone(), policy("a", 1)], &[])).await.unwrap();
    intake.apply(delta(2, vec![gone(&other)], &[])).await.unwrap();
    let end = intake.apply(delta(3, vec![gone(&policy("a", 1)), gone(&own)], &[])).await.unwrap_err();
    assert!(end.to_string().contains("this cluster was removed"), "{end}");
    assert!(intake.replace(whole(4, &[other], &[])).await.is_err());
    let left: Vec<_> = log.read(|log| log.contents().iter().map(|object| object.key.kind).collect());
    assert_eq!(left, [own.key.kind, Kind::Policy], "what is in force stays");
}

fn cluster(number: u8) -> Object {
    let cluster = Cluster {
        name: Name::new(format!("c{number}")).unwrap(),
        region: String::new(),
        labels: Labels::new(),
        prefixes: vec![format!("10.{number}.0.0/16").parse().unwrap()],
        default_action: Action::Accept,
        draining: false,
    };
    convert::object(Resource::Cluster(cluster), Scope::Fleet, Uid([number; 16]), 1)
}
