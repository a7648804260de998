//! Small logs for tests: namespaces with one label each.
use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    codec::Codec,
    log::{Change, Contents, Delta, Position},
    model::{Key, Kind, Labels, Name, Namespace, Object, Resource, Scope, Uid},
};

/// Namespaces as text: the name, then the value of the label `v`.
pub(crate) struct Text;

impl Codec for Text {
    fn encode(&self, resource: &Resource) -> Bytes {
        match resource {
            Resource::Namespace(it) => format!("{}\n{}", it.name, it.labels.get("v").map_or("", String::as_str)).into(),
            other => panic!("only namespaces here, got {other:?}"),
        }
    }

    fn decode(&self, kind: Kind, payload: &Bytes) -> Result<Resource, String> {
        assert_eq!(kind, Kind::Namespace);
        let text = std::str::from_utf8(payload).map_err(|error| error.to_string())?;
        let (name, value) = text.split_once('\n').ok_or("no line break")?;
        Ok(Resource::Namespace(namespace(name, value)))
    }
}

fn namespace(name: &str, value: &str) -> Namespace {
    let labels = Labels::from([("v".to_owned(), value.to_owned())]);
    Namespace { name: Name::new(name).unwrap(), labels }
}

pub(crate) fn object(number: u8, incarnation: u64, value: u8) -> Object {
    let resource = Resource::Namespace(namespace(&format!("n{number}"), &value.to_string()));
    let mut uid = Uid::default();
    uid.0[0] = number;
    uid.0[8..].copy_from_slice(&incarnation.to_be_bytes());
    Object::new(resource, Scope::Cluster(Uid([7; 16])), uid, 0, &Text)
}

pub(crate) fn key(number: u8) -> Key {
    object(number, 0, 0).key
}

/// What one revision does to one object.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    Write(u8),
    Delete,
    /// A new incarnation under the same name.
    Renew(u8),
}

/// One revision: numbers of objects and what happens to each.
pub(crate) type Ops = Vec<(u8, Op)>;

pub(crate) fn ops() -> impl Strategy<Value = Ops> {
    let op = prop_oneof![any::<u8>().prop_map(Op::Write), Just(Op::Delete), any::<u8>().prop_map(Op::Renew)];
    proptest::collection::btree_map(0_u8..6, op, 0..4).prop_map(|ops| ops.into_iter().collect())
}

/// The next revision of `contents` that does `ops`.
pub(crate) fn next(contents: &Contents, ops: &Ops) -> Delta {
    let revision = contents.position().revision + 1;
    let changes = ops.iter().filter_map(|(number, op)| {
        let there = contents.get(&key(*number));
        match op {
            Op::Write(value) => {
                let incarnation = there.map_or(revision, |object| {
                    let bytes = object.uid.0[8..].try_into().unwrap();
                    u64::from_be_bytes(bytes)
                });
                Some(Change::Put(object(*number, incarnation, *value)))
            }
            Op::Renew(value) => Some(Change::Put(object(*number, revision, *value))),
            Op::Delete => there.map(|object| Change::Delete { key: object.key.clone(), uid: object.uid }),
        }
    });
    Delta::next(&contents.position(), changes.collect(), None)
}

pub(crate) fn objects(contents: &Contents) -> Vec<Object> {
    contents.iter().cloned().collect()
}

pub(crate) fn start(epoch: u8) -> Contents {
    Contents::restore(Position { epoch: Uid([epoch; 16]), ..Position::default() }, None, vec![], &[], vec![])
}
