//! What one node may not take from another.
use super::*;

/// What one node says of itself, in a relay's log where another node runs `w1` and stands at 192.0.2.1.
#[test]
fn a_node_takes_neither_anothers_uid_nor_its_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let mut relay = relay(directory.path());
    let (n1, n2) = (Feed::Node(name("n1")), Feed::Node(name("n2")));
    let at = |who: &str, number: u8, address: [u8; 4]| {
        let node = Node { name: name(who), labels: Labels::new(), addresses: vec![IpAddr::from(address)] };
        convert::object(Resource::Node(node), Scope::Cluster(OWN), uid(number), 1)
    };
    let elsewhere = |who: &str, number: u8| {
        let Resource::Endpoint(mut one) = (*endpoint(OWN, who, number, 1).resource).clone() else { unreachable!() };
        one.namespace = name("evil");
        convert::object(Resource::Endpoint(one), Scope::Cluster(OWN), uid(number), 1)
    };
    for (feed, object) in [(&n1, at("n1", 101, [192, 0, 2, 1])), (&n1, endpoint(OWN, "n1", 1, 1))] {
        assert!(relay.take(feed, put(&object), None, None).delta.is_some());
    }
    let before = relay.contents().clone();
    let taken = relay.take(&n2, put(&elsewhere("n2", 1)), None, None);
    assert!(taken.delta.is_none() && taken.claimed[0].message.contains("another endpoint's"), "{taken:?}");
    let again = relay.take(&n2, Batch::Whole(vec![elsewhere("n2", 1)]), None, None);
    assert_eq!((again.claimed.len(), again.delta), (1, None));
    assert!(relay.contents().iter().eq(before.iter()));
    // A node is one without the addresses that are another's.
    let Resource::Cluster(mut other) = (*cluster("other", 100).resource).clone() else { unreachable!() };
    other.prefixes = vec!["10.1.0.0/16".parse().unwrap()];
    let other = convert::object(Resource::Cluster(other), Scope::Fleet, uid(100), 1);
    let _ = relay.take(&Feed::Upstream, put(&other), None, None);
    for (theirs, whose) in [
        ([192, 0, 2, 1], "node n1's"),
        ([10, 0, 0, 1], "workload shop/w1's"),
        ([10, 1, 0, 1], "a range of cluster other"),
    ] {
        let claim = |own: &[[u8; 4]]| {
            let addresses = own.iter().map(|address| IpAddr::from(*address)).collect();
            let node = Node { name: name("n2"), labels: Labels::new(), addresses };
            convert::object(Resource::Node(node), Scope::Cluster(OWN), uid(102), 1)
        };
        let taken = relay.take(&n2, put(&claim(&[[192, 0, 2, 2], theirs])), None, None);
        assert!(taken.claimed.len() == 1 && taken.claimed[0].message.contains(whose), "{taken:?}");
        let left = claim(&[[192, 0, 2, 2]]);
        assert_eq!((&taken.claimed[0].key, relay.contents().get(&left.key)), (&left.key, Some(&left)));
        let again = relay.take(&n2, Batch::Whole(vec![claim(&[theirs, [192, 0, 2, 2]])]), None, None);
        assert_eq!((again.claimed.len(), again.delta), (1, None));
    }
    // In the same breath, and after a restart.
    let twice = Batch::Changes(vec![Change::Put(endpoint(OWN, "n2", 2, 1)), Change::Put(elsewhere("n2", 2))]);
    assert_eq!(relay.take(&n2, twice, None, None).claimed.len(), 1);
    drop(relay);
    let mut relay = self::relay(directory.path());
    assert_eq!(relay.take(&n2, put(&elsewhere("n2", 1)), None, None).claimed.len(), 1);
    // What is its own stays its own, and what another gave up is free.
    assert!(relay.take(&n1, put(&endpoint(OWN, "n1", 1, 2)), None, None).delta.is_some());
    let gone = Batch::Whole(vec![at("n1", 101, [192, 0, 2, 1])]);
    assert!(relay.take(&n1, gone, None, None).delta.is_some());
    assert!(relay.take(&n2, put(&elsewhere("n2", 1)), None, None).delta.is_some());
    let taken = relay.take(&n2, put(&at("n2", 102, [10, 0, 0, 1])), None, None);
    assert!(taken.delta.is_some() && taken.claimed.is_empty(), "{taken:?}");
}
