//! Services of a cluster, and who did not know them.
use axle_core::model::{Service, Traffic};

use super::*;

fn service(number: u8) -> Object {
    let service = Service {
        namespace: name("shop"),
        name: name("web"),
        selector: Labels::new(),
        addresses: vec![IpAddr::from([10, 96, 0, number])],
        ports: vec![],
        traffic: Traffic::default(),
        global: None,
    };
    convert::object(Resource::Service(service), Scope::Cluster(OWN), uid(number), 1)
}

#[test]
fn a_clusters_own_services_are_its_relays_and_go_nowhere_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = relay(directory.path());
    log.take(&Feed::Upstream, put(&cluster("berlin", 1)), None, Some(Position::default()));
    for foreign in [Feed::Upstream, Feed::Node(name("n1"))] {
        assert!(log.take(&foreign, put(&service(1)), None, None).delta.is_none(), "{foreign:?}");
    }
    let delta = log.take(&Feed::Local, put(&service(1)), None, None).delta.unwrap();
    let put = &delta.changes[0];
    let delete = Change::Delete { key: put.key().clone(), uid: uid(1) };
    assert!(!log.ownership().goes_up(put) && !log.ownership().goes_up(&delete));
    let node = Ownership::Node { cluster: OWN, node: name("n1") };
    assert_eq!(node.owner(&service(1)), Feed::Upstream, "nodes get it");
    assert!(!node.goes_up(put) && !node.goes_up(&delete));
}

/// An older agent was not sent what it does not know, though it went on to the same place of the log.
#[test]
fn a_log_of_an_agent_that_knew_less_begins_with_everything() {
    let directory = tempfile::tempdir().unwrap();
    let node = || Ownership::Node { cluster: OWN, node: name("n1") };
    let open = || MergedLog::open(directory.path(), node(), Uid([9; 16])).unwrap().0;
    let at = Some(Position::default());
    let mut log = open();
    log.take(&Feed::Upstream, put(&cluster("berlin", 1)), at, at);
    log.compact().unwrap();
    drop(log);
    assert_eq!(open().fed(&Feed::Upstream), at);
    let (mut journal, found) = Journal::open(directory.path()).unwrap();
    let known = kept::as_if_older(&found.state.unwrap());
    journal.compact(&known).unwrap();
    drop(journal);
    let mut log = open();
    assert_eq!(log.fed(&Feed::Upstream), None);
    log.take(&Feed::Upstream, put(&cluster("berlin", 1)), at, at);
    log.take(&Feed::Upstream, put(&cluster("paris", 2)), at, at);
    drop(log);
    assert_eq!(open().fed(&Feed::Upstream), at, "once");
}
