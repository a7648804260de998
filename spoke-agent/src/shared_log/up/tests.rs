//! Whoever follows the own part holds it, at any pace, and resumes by position after a restart.
use std::{collections::BTreeMap, path::Path};

use axle_core::model::{Key, Labels, Name, Namespace, Object, Resource, Scope, Uid};
use axle_proto::convert;
use proptest::prelude::*;

use super::*;
use crate::merged_log::{Batch, Feed};

const OWN: Uid = Uid([1; 16]);
const OTHER: Uid = Uid([2; 16]);

fn open(directory: &Path) -> MergedLog {
    MergedLog::open(directory, Ownership::Relay { cluster: OWN }, Uid([9; 16])).unwrap().0
}

fn namespace(cluster: Uid, number: u8, value: u8) -> Object {
    let name = Name::new(format!("n{number}")).unwrap();
    let labels: Labels = [("v".to_owned(), value.to_string())].into();
    convert::object(Resource::Namespace(Namespace { name, labels }), Scope::Cluster(cluster), Uid([number + 10; 16]), 1)
}

fn own_objects(log: &MergedLog) -> BTreeMap<Key, Uid> {
    let owned = log.contents().iter().filter(|object| log.ownership().owner(object) != Feed::Upstream);
    owned.map(|object| (object.key.clone(), object.uid)).collect()
}

#[derive(Debug, Clone)]
enum Op {
    Change { own: bool, number: u8, value: Option<u8> },
    Follow,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<bool>(), 0..5_u8, proptest::option::of(0..3_u8)).prop_map(|(own, number, value)| Op::Change { own, number, value }),
        2 => Just(Op::Follow),
        1 => Just(Op::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_own_part_is_followed_and_resumed(ops in proptest::collection::vec(op(), 1..50)) {
        let directory = tempfile::tempdir().unwrap();
        let mut log = open(directory.path());
        let mut up = own(&log);
        let mut follower = Contents::new(Uid([9; 16]));
        for op in ops.into_iter().chain([Op::Restart, Op::Follow]) {
            match op {
                Op::Change { own, number, value } => {
                    let (cluster, feed) = if own { (OWN, Feed::Local) } else { (OTHER, Feed::Upstream) };
                    let object = namespace(cluster, number, value.unwrap_or(0));
                    let change = match value {
                        Some(_) => Change::Put(object),
                        None => Change::Delete { key: object.key, uid: object.uid },
                    };
                    let before = up.position();
                    let taken = log.take(&feed, Batch::Changes(vec![change]), None, None);
                    let part = taken.delta.as_ref().and_then(|delta| part(log.ownership(), delta, before));
                    prop_assert_eq!(part.is_some(), own && taken.delta.is_some(), "what is not ours makes no revision above");
                    if let Some(part) = part {
                        let _ = up.apply(&part).unwrap();
                    }
                }
                Op::Follow => {
                    let delta = up.since(&follower.position());
                    let delta = delta.expect("the log remembers where the follower was, over any restart");
                    if delta.to != follower.position() {
                        let _ = follower.apply(&delta).unwrap();
                    }
                    let held: BTreeMap<Key, Uid> = follower.iter().map(|object| (object.key.clone(), object.uid)).collect();
                    prop_assert_eq!(held, own_objects(&log));
                }
                Op::Restart => {
                    log = open(directory.path());
                    up = own(&log);
                }
            }
        }
    }
}
