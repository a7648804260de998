use axle_core::{
    log::{Position, Snapshot},
    model::{Kind, Object, Resource, Scope},
    refusal::{Refusal, code},
    state::{Command, Decision, Owner},
};
use axle_proto::convert;

use super::common::{Hub, cluster, endpoint, export, gone, name, node, policy, put, uid};

fn two() -> (Hub, axle_core::model::Uid, axle_core::model::Uid) {
    let mut hub = Hub::new();
    let berlin = hub.add("berlin", &["10.1.0.0/16", "fd00:1::/64"]).unwrap();
    let paris = hub.add("paris", &["10.2.0.0/16"]).unwrap();
    (hub, berlin, paris)
}

#[test]
fn an_address_outside_is_refused_by_object_and_the_rest_applies() {
    let (mut hub, berlin, _) = two();
    let refused = hub.take(
        berlin,
        vec![
            put(endpoint(berlin, 1, "n1", "10.1.0.1")),
            put(endpoint(berlin, 2, "n1", "10.2.0.1")),
            put(endpoint(berlin, 3, "n1", "fd00:1::3")),
            put(endpoint(berlin, 4, "n1", "fd00:2::3")),
        ],
    );
    let names: Vec<_> = refused.iter().map(|refusal| (refusal.key.name.to_string(), refusal.code.as_str())).collect();
    assert_eq!(names, [(uid(2).to_string(), code::ADDRESS_OUTSIDE), (uid(4).to_string(), code::ADDRESS_OUTSIDE)]);
    assert!(refused[0].message.contains("10.2.0.1") && refused[0].message.contains("10.1.0.0/16"), "{}", refused[0]);
    assert_eq!(hub.state.list(Kind::Endpoint).count(), 2);
}

#[test]
fn a_spoke_writes_only_its_own_kinds_of_its_own_cluster() {
    let (mut hub, berlin, paris) = two();
    hub.take(paris, vec![put(endpoint(paris, 9, "n1", "10.2.0.9"))]);
    let theirs = endpoint(paris, 9, "n1", "10.2.0.9");
    let fleet_policy = convert::object(Resource::Policy(policy("grab")), Scope::Fleet, uid(5), 1);
    let a_cluster =
        convert::object(Resource::Cluster(cluster("eve", &["10.9.0.0/16"])), Scope::Cluster(berlin), uid(6), 1);
    let foreign = [put(endpoint(paris, 8, "n1", "10.2.0.8")), gone(&theirs), put(fleet_policy), put(a_cluster)];
    let refused = hub.take(berlin, foreign.to_vec());
    assert!(refused.iter().all(|refusal| refusal.code == code::FOREIGN_OBJECT), "{refused:?}");
    assert_eq!(refused.len(), foreign.len());
    assert_eq!(hub.state.list(Kind::Endpoint).count(), 1);

    let own_policy = convert::object(Resource::Policy(policy("own")), Scope::Cluster(berlin), uid(7), 1);
    assert_eq!(hub.take(berlin, vec![put(own_policy)]), []);
}

#[test]
fn nobody_takes_over_anothers_endpoint_by_its_uid() {
    let (mut hub, berlin, paris) = two();
    hub.take(paris, vec![put(endpoint(paris, 9, "n1", "10.2.0.9"))]);
    let refused = hub.take(berlin, vec![put(endpoint(berlin, 9, "n1", "10.1.0.9"))]);
    assert_eq!(refused.iter().map(|refusal| refusal.code.as_str()).collect::<Vec<_>>(), [code::FOREIGN_OBJECT]);
    assert_eq!(hub.state.list(Kind::Endpoint).count(), 1);

    // Its own stays its own, and a uid that is gone for the one is not lost for the other's state.
    assert_eq!(hub.take(paris, vec![put(endpoint(paris, 9, "n2", "10.2.0.10"))]), []);
    hub.take(paris, vec![gone(&endpoint(paris, 9, "n2", "10.2.0.10"))]);
    assert_eq!(hub.take(berlin, vec![put(endpoint(berlin, 9, "n1", "10.1.0.9"))]), []);
}

#[test]
fn a_node_stands_at_no_address_of_another_cluster_or_of_a_service() {
    let (mut hub, berlin, _) = two();
    let at = |address: &str| {
        let mut object = node(berlin, "n1", 1);
        let Resource::Node(mut node) = (*object.resource).clone() else { unreachable!("it is a node") };
        node.addresses = vec![address.parse().unwrap()];
        object = convert::object(Resource::Node(node), Scope::Cluster(berlin), object.uid, 1);
        put(object)
    };
    let service = hub.state.fleet().unwrap().vip4.addr().to_string();
    for taken in ["10.2.0.5", service.as_str()] {
        let refused = hub.take(berlin, vec![at(taken)]);
        assert_eq!(refused.len(), 1, "{taken}");
        assert!(refused[0].code == code::FOREIGN_OBJECT && refused[0].message.contains(taken), "{}", refused[0]);
    }
    assert_eq!(hub.take(berlin, vec![at("192.0.2.1")]), []);
    assert_eq!(hub.take(berlin, vec![at("10.1.0.1")]), []);
    assert_eq!(hub.state.list(Kind::Node).count(), 1);
}

#[test]
fn a_full_account_sweeps_only_what_its_owner_owns() {
    let (mut hub, berlin, paris) = two();
    hub.write(Command::PutPolicies { policies: vec![policy("fleet")] }).unwrap();
    hub.take(
        berlin,
        vec![
            put(node(berlin, "n1", 1)),
            put(endpoint(berlin, 2, "n1", "10.1.0.2")),
            put(endpoint(berlin, 3, "n1", "10.1.0.3")),
            put(endpoint(berlin, 5, "n1", "10.1.0.5")),
        ],
    );
    hub.take(paris, vec![put(endpoint(paris, 4, "n1", "10.2.0.4"))]);
    let at = Position { epoch: uid(77), revision: 5, ..Position::default() };
    let snapshot = Snapshot { at, objects: vec![endpoint(berlin, 3, "n1", "10.1.0.3")], origin: None };
    // A newer version of one cannot be read: it stays as it was.
    let unread = endpoint(berlin, 5, "n1", "10.1.0.5");
    let refused = Refusal { key: unread.key, revision: 9, code: code::UNKNOWN_FEATURE.into(), message: String::new() };
    let after = hub.state.intake(berlin);
    hub.write(Command::TakeSnapshot { cluster: berlin, after, snapshot, refused: vec![refused] }).unwrap();
    let mut left: Vec<u8> = hub.state.list(Kind::Endpoint).map(|object| object.uid.0[0]).collect();
    left.sort_unstable();
    assert_eq!((left, hub.state.list(Kind::Node).count()), (vec![3, 4, 5], 0));
    assert_eq!(hub.state.list(Kind::Policy).count(), 1);
    assert_eq!(hub.state.intake(berlin), Some(at));
    assert_eq!(hub.records.last().unwrap().changes.len(), 2, "what stays is not written again");
}

#[test]
fn what_a_cluster_already_said_moves_its_intake_alone() {
    let (mut hub, berlin, _) = two();
    let web = endpoint(berlin, 1, "n1", "10.1.0.1");
    hub.take(berlin, vec![put(web.clone())]);
    let mut later: Object = web.clone();
    later.revision = 99;
    for changes in [vec![], vec![put(later)], vec![gone(&endpoint(berlin, 2, "n1", "10.1.0.2"))]] {
        assert_eq!(hub.take(berlin, changes), []);
        assert!(hub.records.last().unwrap().changes.is_empty());
    }
    let at = hub.state.intake(berlin).unwrap();
    assert_eq!(at.revision, 4);
    // The same place once more is nothing at all.
    let snapshot = Snapshot { at, objects: vec![web.clone()], origin: None };
    let request = hub.request(Command::TakeSnapshot { cluster: berlin, after: Some(at), snapshot, refused: vec![] });
    assert_eq!(hub.ask(&request), Ok(Decision::Nothing { refused: vec![] }));
    hub.take(berlin, vec![gone(&web)]);
    assert_eq!(hub.state.list(Kind::Endpoint).count(), 0);
}

#[test]
fn a_removed_clusters_spoke_is_refused() {
    let (mut hub, berlin, _) = two();
    hub.write(Command::RemoveCluster { name: name("berlin") }).unwrap();
    let command = hub.next(berlin, vec![]);
    let error = hub.write(command).unwrap_err();
    assert_eq!(error.code, "unknown_cluster");
}

#[test]
fn a_node_speaks_for_itself_and_its_endpoints_alone() {
    let (mut hub, berlin, _) = two();
    let all = [
        node(berlin, "n1", 1),
        node(berlin, "n2", 2),
        endpoint(berlin, 3, "n1", "10.1.0.3"),
        endpoint(berlin, 4, "n2", "10.1.0.4"),
    ];
    hub.take(berlin, all.iter().cloned().map(put).collect());
    let there = hub.state.contents();
    let n1 = Owner::Node(berlin, name("n1"));
    assert!(n1.allows(&put(all[0].clone()), there).is_ok());
    assert!(n1.allows(&put(all[2].clone()), there).is_ok());
    assert!(n1.allows(&gone(&all[2]), there).is_ok());
    let stolen = endpoint(berlin, 4, "n1", "10.1.0.4");
    for change in
        [put(all[1].clone()), put(all[3].clone()), gone(&all[3]), put(stolen), put(export(berlin, "web", 1, 80))]
    {
        assert_eq!(n1.allows(&change, there).unwrap_err().code, code::FOREIGN_OBJECT, "{change:?}");
    }
    let swept = n1.sweep(&[], &[], there);
    assert_eq!(swept, [gone(&all[0]), gone(&all[2])]);
}
