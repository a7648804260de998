use axle_core::{
    log::{Change, Position},
    model::{Labels, Name, Namespace, Node, Object, Resource, Scope, Uid},
};
use axle_proto::convert;

use super::*;
use crate::merged_log::{Batch, Ownership};

const CLUSTER: Uid = Uid([1; 16]);
const LOG: Uid = Uid([5; 16]);

fn open(directory: &tempfile::TempDir) -> MergedLog {
    MergedLog::open(directory.path(), Ownership::Relay { cluster: CLUSTER }, Uid([9; 16])).unwrap().0
}

fn namespace(name: &str) -> Object {
    let namespace = Namespace { name: Name::new(name).unwrap(), labels: Labels::new() };
    convert::object(Resource::Namespace(namespace), Scope::Cluster(CLUSTER), Uid([2; 16]), 1)
}

fn node(name: &str) -> (Feed, Object) {
    let name = Name::new(name).unwrap();
    let node = Node { name: name.clone(), labels: Labels::new(), addresses: vec![] };
    (Feed::Node(name), convert::object(Resource::Node(node), Scope::Cluster(CLUSTER), Uid([3; 16]), 1))
}

fn hub(revision: u64) -> Position {
    Position { epoch: Uid([8; 16]), revision, ..Position::default() }
}

/// A leader with a copy of the hub's log, a namespace of its own and a node.
fn leader(directory: &tempfile::TempDir) -> (MergedLog, Vec<Delta>) {
    let mut log = open(directory);
    log.lead(&Reign { epoch: LOG, term: 1, after: None }).unwrap();
    let (of_node, object) = node("n1");
    let mut taken = [
        log.take(&Feed::Upstream, Batch::Whole(vec![]), Some(hub(7)), Some(hub(7))),
        log.take(&Feed::Local, Batch::Whole(vec![namespace("a")]), None, None),
        log.take(&of_node, Batch::Whole(vec![object]), Some(hub(1)), None),
    ];
    (log, taken.iter_mut().map(|taken| taken.delta.take().unwrap()).collect())
}

#[test]
fn whoever_has_a_copy_goes_on_with_the_log() {
    let [one, two] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (mut first, deltas) = leader(&one);
    let mut second = open(&two);
    let objects = |log: &MergedLog| log.contents().iter().cloned().collect::<Vec<_>>();
    let at = first.contents().position();
    second.copy_whole(Snapshot { at, objects: objects(&first), origin: first.contents().origin() }).unwrap();
    assert!(second.copy(&deltas[2]).is_err(), "what does not join is not taken");
    let more = first.take(&Feed::Local, Batch::Part(vec![namespace("b")]), None, None).delta.unwrap();
    second.copy(&more).unwrap();
    let (known, lost) = (first.contents().position(), {
        let _ = first.take(&Feed::Local, Batch::Part(vec![namespace("c")]), None, None);
        first.contents().position()
    });

    // As it is on disk.
    drop(second);
    let mut second = open(&two);
    assert_eq!((second.contents().position(), second.contents().origin()), (known, Some(hub(7))));
    second.lead(&Reign { epoch: LOG, term: 2, after: Some(1) }).unwrap();
    let head = second.contents().position();
    assert!(head.term() == 2 && head.outranks(&lost), "{head:?}");
    assert!(second.contents().remembers(&at) && second.contents().remembers(&known));
    assert!(!second.contents().remembers(&lost), "it never was there");
    assert_eq!(second.fed(&Feed::Upstream), None, "the hub says everything once more");
    let (of_node, object) = node("n1");
    assert_eq!(
        second.take(&of_node, Batch::Whole(vec![object]), Some(hub(1)), None).delta,
        None,
        "which is nothing new"
    );
    // The first cannot write what the second takes for its own: not even the same is at the same place.
    let theirs = second.take(&Feed::Local, Batch::Part(vec![namespace("c")]), None, None).delta.unwrap();
    assert!(theirs.to.revision > lost.revision && theirs.to.hash != lost.hash);
    // The first stands by: what nobody else has is gone.
    first.copy_whole(Snapshot { at: head, objects: vec![namespace("a")], origin: Some(hub(7)) }).unwrap();
    assert!(!first.contents().remembers(&lost) && objects(&first) == [namespace("a")]);
    drop(first);
    assert_eq!(open(&one).contents().position(), head);
}

#[test]
fn whoever_may_lack_anything_begins_anew_in_the_same_order() {
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = leader(&directory);
    let of_first = log.contents().position();
    for (reign, why) in [
        (Reign { epoch: LOG, term: 3, after: Some(2) }, "another one led since"),
        (Reign { epoch: LOG, term: 4, after: None }, "nobody knows who led"),
    ] {
        log.lead(&reign).unwrap();
        let at = log.contents().position();
        assert!(at.outranks(&of_first) && at.term() == reign.term, "{why}");
        assert!(log.contents().is_empty() && log.contents().origin().is_none() && log.feeds.is_empty(), "{why}");
    }
    let _ = log.take(&Feed::Local, Batch::Changes(vec![Change::Put(namespace("a"))]), None, None);
    let at = log.contents().position();
    log.lead(&Reign { epoch: LOG, term: 5, after: Some(4) }).unwrap();
    assert!(log.contents().remembers(&at), "one's own log is known");
    log.lead(&Reign { epoch: Uid([6; 16]), term: 6, after: Some(5) }).unwrap();
    assert!(log.contents().is_empty(), "of another log");
}
