//! What older readers are served.
use axle_core::{
    log::Change,
    model::{Labels, Name, Namespace, Object, Resource, Scope, Service, Traffic, feature},
};
use axle_proto::convert;

use super::*;
use crate::merged_log::Ownership;

const OWN: Uid = Uid([1; 16]);

fn service(number: u8) -> Object {
    let service = Service {
        namespace: Name::new("shop").unwrap(),
        name: Name::new(format!("s{number}")).unwrap(),
        selector: Labels::new(),
        addresses: vec![],
        ports: vec![],
        traffic: Traffic::default(),
        global: None,
    };
    convert::object(Resource::Service(service), Scope::Cluster(OWN), Uid([number; 16]), 1)
}

fn namespace(number: u8) -> Object {
    let namespace = Namespace { name: Name::new(format!("n{number}")).unwrap(), labels: Labels::new() };
    convert::object(Resource::Namespace(namespace), Scope::Cluster(OWN), Uid([number; 16]), 1)
}

/// Who does not know the number of a kind cannot read a message with it, and would end the session again and again.
#[tokio::test]
async fn who_does_not_know_a_kind_is_not_sent_it() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = MergedLog::open(directory.path(), Ownership::Relay { cluster: OWN }, Uid([9; 16])).unwrap();
    let log = SharedLog::new(log);
    let take = |object: Object| {
        let batch = Batch::Changes(vec![Change::Put(object)]);
        let made = log.take_with(&Feed::Local, (None, None), Unread::default(), |_| Ok::<_, ()>((batch, ())));
        made.unwrap().0.delta.unwrap()
    };
    let kinds = |view: &View| view.read(|log| log.iter().map(|object| object.key.kind).collect::<Vec<_>>());
    take(service(1));
    let knows = [feature::CLUSTER_SERVICES.to_owned(), "more".to_owned()];
    let (new, old) = (log.down_for(&knows), log.down_for(&[]));
    assert_eq!((kinds(&new), kinds(&old)), (vec![Kind::Service], vec![]));
    take(service(2));
    take(namespace(3));
    assert_eq!(kinds(&new), [Kind::Namespace, Kind::Service, Kind::Service]);
    assert_eq!(kinds(&old), [Kind::Namespace]);
    assert_eq!(new.position(), old.position(), "both are at one place of the log");
    assert!(Arc::ptr_eq(&old, &log.down_for(&[])), "all of them share one");
}
