//! The merged log against its meaning, under random interleavings, cuts, restarts and torn disks.
mod claims;
mod services;

use std::{collections::BTreeMap, net::IpAddr};

use axle_core::{
    log::{Change, Snapshot},
    model::{Action, Cluster, Endpoint, Labels, Namespace, Node, Object, Resource, Scope},
};
use axle_proto::convert;
use proptest::prelude::*;

use super::*;

const OWN: Uid = Uid([1; 16]);
const OTHER: Uid = Uid([2; 16]);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn uid(number: u8) -> Uid {
    Uid([number.wrapping_add(10); 16])
}

fn labels(value: u8) -> Labels {
    [("v".to_owned(), value.to_string())].into()
}

fn endpoint(cluster: Uid, node: &str, number: u8, value: u8) -> Object {
    let endpoint = Endpoint {
        namespace: name("shop"),
        name: name(&format!("w{number}")),
        node: name(node),
        service_account: String::new(),
        labels: labels(value),
        addresses: vec![IpAddr::from([10, 0, 0, number])],
        named_ports: vec![],
        started_ms: 1,
        ready: true,
        host: None,
    };
    convert::object(Resource::Endpoint(endpoint), Scope::Cluster(cluster), uid(number), 1)
}

fn node(cluster: Uid, text: &str, number: u8) -> Object {
    let node = Node { name: name(text), labels: Labels::new(), addresses: vec![] };
    convert::object(Resource::Node(node), Scope::Cluster(cluster), uid(number), 1)
}

fn namespace(cluster: Uid, text: &str, value: u8) -> Object {
    let namespace = Namespace { name: name(text), labels: labels(value) };
    convert::object(Resource::Namespace(namespace), Scope::Cluster(cluster), uid(200), 1)
}

fn cluster(text: &str, number: u8) -> Object {
    let cluster = Cluster {
        name: name(text),
        region: String::new(),
        labels: Labels::new(),
        prefixes: vec![],
        default_action: Action::Accept,
        draining: false,
    };
    convert::object(Resource::Cluster(cluster), Scope::Fleet, uid(number), 1)
}

fn relay(directory: &Path) -> MergedLog {
    let (log, damage) = MergedLog::open(directory, Ownership::Relay { cluster: OWN }, Uid([9; 16])).unwrap();
    assert!(damage.is_empty(), "{damage:?}");
    log
}

fn put(object: &Object) -> Batch {
    Batch::Changes(vec![Change::Put(object.clone())])
}

#[test]
fn echoes_are_dropped_and_foreign_objects_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut relay = relay(directory.path());
    let (mine, theirs) = (endpoint(OWN, "n1", 1, 1), endpoint(OTHER, "n1", 2, 1));
    let n1 = Feed::Node(name("n1"));
    assert!(relay.take(&n1, put(&mine), Some(Position::default()), None).delta.is_some());
    assert!(relay.take(&Feed::Upstream, put(&theirs), None, None).delta.is_some());
    // What comes back from the hub, older than what the node says now, changes nothing.
    assert!(relay.take(&Feed::Upstream, put(&endpoint(OWN, "n1", 1, 7)), None, None).delta.is_none());
    let gone = Change::Delete { key: mine.key.clone(), uid: mine.uid };
    assert!(relay.take(&Feed::Upstream, Batch::Changes(vec![gone.clone()]), None, None).delta.is_none());
    assert!(relay.take(&Feed::Upstream, Batch::Whole(vec![]), None, None).delta.is_some(), "the other cluster's goes");
    assert_eq!(relay.contents().get(&mine.key), Some(&mine));
    // Another node may neither write nor delete it, nor speak of another cluster.
    let n2 = Feed::Node(name("n2"));
    let mut stolen = endpoint(OWN, "n2", 1, 1);
    stolen.key = mine.key.clone();
    for batch in [put(&stolen), put(&mine), put(&theirs), Batch::Changes(vec![gone])] {
        let taken = relay.take(&n2, batch, None, None);
        assert!(taken.delta.is_none() && taken.foreign.len() == 1, "{taken:?}");
    }
}

#[test]
fn a_log_that_was_lost_takes_its_own_part_from_above() {
    let directory = tempfile::tempdir().unwrap();
    let mut relay = relay(directory.path());
    let at = Some(Position { revision: 4, ..Position::default() });
    let [n1, n2] = ["n1", "n2"].map(|node| Feed::Node(name(node)));
    let (one, two, three) = (endpoint(OWN, "n1", 1, 1), endpoint(OWN, "n2", 2, 1), endpoint(OWN, "n2", 3, 1));
    let _ = relay.take(&n1, Batch::Whole(vec![]), at, None);
    let above = Batch::Whole(vec![one.clone(), two.clone(), three.clone(), cluster("own", 100)]);
    let taken = relay.take(&Feed::Upstream, above.clone(), at, at);
    assert!(taken.foreign.is_empty());
    assert_eq!(relay.contents().get(&one.key), None, "its node has said that it is gone");
    assert_eq!([&two, &three].map(|object| relay.contents().get(&object.key)), [Some(&two), Some(&three)]);
    // From then on its owner says what is there.
    let _ = relay.take(&n2, Batch::Whole(vec![two.clone()]), at, None);
    let _ = relay.take(&Feed::Upstream, above, at, at);
    assert_eq!([&two, &three].map(|object| relay.contents().get(&object.key)), [Some(&two), None]);
}

#[test]
fn the_origin_moves_on_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut relay = relay(directory.path());
    let at = |revision| Some(Position { revision, ..Position::default() });
    let taken = relay.take(&Feed::Upstream, Batch::Changes(vec![]), at(4), at(4));
    assert!(taken.delta.is_some_and(|delta| delta.changes.is_empty() && delta.origin == at(4)));
    assert!(relay.take(&Feed::Upstream, Batch::Changes(vec![]), at(4), at(4)).delta.is_none());
    assert_eq!(relay.fed(&Feed::Upstream), at(4));
}

#[test]
fn a_node_removed_at_the_hub_goes_with_its_workloads() {
    let directory = tempfile::tempdir().unwrap();
    let mut relay = relay(directory.path());
    let (one, two) = (node(OWN, "n1", 1), node(OWN, "n2", 2));
    let at = Some(Position { revision: 1, ..Position::default() });
    for (feed, object) in [("n1", &one), ("n2", &two), ("n2", &endpoint(OWN, "n2", 3, 1))] {
        let _ = relay.take(&Feed::Node(name(feed)), put(object), at, None);
    }
    let gone = Change::Delete { key: two.key.clone(), uid: two.uid };
    let taken = relay.take(&Feed::Upstream, Batch::Changes(vec![gone]), None, None);
    assert_eq!(taken.removed_nodes, [name("n2")]);
    assert_eq!(relay.contents().iter().collect::<Vec<_>>(), [&one]);
    let again = self::relay(directory.path());
    assert_eq!((again.fed(&Feed::Node(name("n2"))), again.fed(&Feed::Node(name("n1")))), (None, at));
}

/// What a feed's owner holds, as a log of its own.
struct Source {
    log: Contents,
}

impl Source {
    fn new(number: u8) -> Self {
        Self { log: Contents::new(Uid([number; 16])) }
    }

    fn change(&mut self, change: Change) {
        let held = self.log.get(change.key()).map(|object| object.uid);
        let empty = matches!(&change, Change::Delete { uid, .. } if held != Some(*uid));
        if !empty {
            let delta = Delta::next(&self.log.position(), vec![change], None);
            let _ = self.log.apply(&delta).unwrap();
        }
    }

    /// What a session would hand over to a log that stands at `held`.
    fn serve(&self, held: Option<Position>) -> Batch {
        match held.and_then(|held| self.log.since(&held)) {
            Some(delta) => Batch::Changes(delta.changes),
            None => Batch::Whole(self.log.iter().cloned().collect()),
        }
    }
}

#[derive(Debug, Clone)]
enum Op {
    /// An endpoint at the hub, of the own cluster (an echo, maybe stale) or another; deleted if there is no value.
    Hub {
        own: bool,
        number: u8,
        value: Option<u8>,
    },
    Node {
        second: bool,
        number: u8,
        value: Option<u8>,
    },
    Local {
        value: Option<u8>,
    },
    /// The feed's batch arrives: 0 the hub's, 1 and 2 the nodes', 3 the inventory.
    Deliver(u8),
    /// A follower of the relay's log reads on.
    Follow,
    /// The process is killed; with a power cut the newest bytes on disk are gone.
    Restart {
        lost: Option<prop::sample::Index>,
    },
    /// The feed's owner begins its log anew with what it holds.
    Renew(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let value = || proptest::option::of(0..3_u8);
    prop_oneof![
        4 => (any::<bool>(), 0..6_u8, value()).prop_map(|(own, number, value)| Op::Hub { own, number, value }),
        4 => (any::<bool>(), 0..4_u8, value()).prop_map(|(second, number, value)| Op::Node { second, number, value }),
        1 => value().prop_map(|value| Op::Local { value }),
        6 => (0..4_u8).prop_map(Op::Deliver),
        2 => Just(Op::Follow),
        1 => proptest::option::of(any::<prop::sample::Index>()).prop_map(|lost| Op::Restart { lost }),
        1 => (0..3_u8).prop_map(Op::Renew),
    ]
}

struct World {
    directory: tempfile::TempDir,
    relay: MergedLog,
    sources: [Source; 3],
    namespace: Option<Object>,
    follower: Contents,
    epoch: u8,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let relay = relay(directory.path());
        let mut sources = [Source::new(20), Source::new(21), Source::new(22)];
        sources[0].change(Change::Put(cluster("own", 100)));
        sources[1].change(Change::Put(node(OWN, "n1", 101)));
        sources[2].change(Change::Put(node(OWN, "n2", 102)));
        Self { directory, relay, sources, namespace: None, follower: Contents::new(Uid([99; 16])), epoch: 30 }
    }

    fn change(&mut self, source: usize, object: &Object, value: Option<u8>) {
        let change = match value {
            Some(_) => Change::Put(object.clone()),
            None => Change::Delete { key: object.key.clone(), uid: object.uid },
        };
        self.sources[source].change(change);
    }

    fn deliver(&mut self, feed: u8) {
        match feed {
            0 => {
                let batch = self.sources[0].serve(self.relay.fed(&Feed::Upstream));
                let at = self.sources[0].log.position();
                let _ = self.relay.take(&Feed::Upstream, batch, Some(at), Some(at));
            }
            1 | 2 => {
                let feed_of = Feed::Node(name(if feed == 1 { "n1" } else { "n2" }));
                let source = &self.sources[usize::from(feed)];
                let batch = source.serve(self.relay.fed(&feed_of));
                let taken = self.relay.take(&feed_of, batch, Some(source.log.position()), None);
                assert!(taken.foreign.is_empty(), "{taken:?}");
            }
            _ => {
                let _ =
                    self.relay.take(&Feed::Local, Batch::Whole(self.namespace.iter().cloned().collect()), None, None);
            }
        }
    }

    fn follow(&mut self) {
        let log = self.relay.contents();
        match log.since(&self.follower.position()) {
            Some(delta) if delta.to == self.follower.position() => {}
            Some(delta) => drop(self.follower.apply(&delta).unwrap()),
            None => drop(self.follower.replace(
                Snapshot { at: log.position(), objects: log.iter().cloned().collect(), origin: log.origin() },
                &[],
            )),
        }
    }

    fn restart(&mut self, lost: Option<prop::sample::Index>) {
        let path = self.directory.path().join("entries");
        if let Some(lost) = lost {
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..lost.index(bytes.len() + 1)]).unwrap();
        }
        // After a power cut the log may grow again to positions that it once had: the hash tells them apart.
        self.relay = MergedLog::open(self.directory.path(), Ownership::Relay { cluster: OWN }, Uid([9; 16])).unwrap().0;
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Hub { own, number, value } => {
                // A uid is one endpoint's in the whole fleet.
                let (of, number) = if own { (OWN, number) } else { (OTHER, number + 150) };
                self.change(0, &endpoint(of, "n1", number, value.unwrap_or(0)), value);
            }
            Op::Node { second, number, value } => {
                let (source, node) = if second { (2, "n2") } else { (1, "n1") };
                let number = if second { number + 50 } else { number };
                self.change(source, &endpoint(OWN, node, number, value.unwrap_or(0)), value);
            }
            Op::Local { value } => self.namespace = value.map(|value| namespace(OWN, "shop", value)),
            Op::Deliver(feed) => self.deliver(feed),
            Op::Follow => self.follow(),
            Op::Restart { lost } => self.restart(lost),
            Op::Renew(source) => {
                self.epoch += 1;
                let source = &mut self.sources[usize::from(source)];
                let objects = source.log.iter().cloned().map(Change::Put).collect();
                source.log = Contents::new(Uid([self.epoch; 16]));
                let _ = source.log.apply(&Delta::next(&source.log.position(), objects, None)).unwrap();
            }
        }
    }

    fn wanted(&self) -> BTreeMap<Key, Object> {
        let ownership = Ownership::Relay { cluster: OWN };
        let above = self.sources[0].log.iter().filter(|object| ownership.owner(object) == Feed::Upstream);
        let below = self.sources[1..].iter().flat_map(|source| source.log.iter());
        above.chain(below).chain(&self.namespace).map(|object| (object.key.clone(), object.clone())).collect()
    }
}

fn objects(contents: &Contents) -> BTreeMap<Key, Object> {
    contents.iter().map(|object| (object.key.clone(), object.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Once every feed has arrived: the log is the hub's view without the own cluster, and what the cluster says; whoever
    /// follows the log, at any pace and through restarts, holds the same; and a restart changes nothing.
    #[test]
    fn the_merged_log_is_the_sum_of_its_feeds(ops in proptest::collection::vec(op(), 1..60)) {
        let mut world = World::new();
        for op in ops {
            world.step(op);
        }
        for feed in 0..4 {
            world.deliver(feed);
        }
        world.follow();
        prop_assert_eq!(objects(world.relay.contents()), world.wanted());
        prop_assert_eq!(objects(&world.follower), world.wanted());
        prop_assert_eq!(world.follower.position(), world.relay.contents().position());
        let before = world.relay.contents().position();
        world.restart(None);
        prop_assert_eq!(world.relay.contents().position(), before);
        prop_assert_eq!(objects(world.relay.contents()), world.wanted());
        for feed in 0..4 {
            world.deliver(feed);
        }
        prop_assert_eq!(world.relay.contents().position(), before, "nothing new after a restart, nothing sent again");
        prop_assert_eq!(world.relay.contents().origin(), Some(world.sources[0].log.position()));
    }
}
