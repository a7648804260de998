use axle_core::{
    model::Kind,
    state::{Command, Decision, RejectionKind},
};

use super::common::{Hub, endpoint, export, name, node, put};

#[test]
fn prefixes_that_overlap_are_refused_with_both_sides_named() {
    let mut hub = Hub::new();
    hub.add("berlin", &["10.1.0.0/16", "fd00:1::/64"]).unwrap();
    for (prefixes, other) in [
        (["10.1.0.0/16"], "10.1.0.0/16 of cluster berlin"),
        (["10.1.4.0/24"], "10.1.0.0/16 of cluster berlin"),
        (["10.0.0.0/8"], "10.1.0.0/16 of cluster berlin"),
        (["fd00:1::/96"], "fd00:1::/64 of cluster berlin"),
        (["100.96.0.0/16"], "100.96.0.0/29 of the fleet's service addresses"),
        (["fd00:96::/64"], "fd00:96::/124 of the fleet's service addresses"),
        (["0.0.0.0/0"], "10.1.0.0/16 of cluster berlin"),
    ] {
        let error = hub.add("paris", &prefixes).unwrap_err();
        assert_eq!((error.kind, error.code), (RejectionKind::Conflict, "overlapping_prefix"), "{error}");
        assert!(error.to_string().contains(other), "{error}");
        assert_eq!(error.at, "prefixes[0]");
    }
    let error = hub.add("paris", &["10.2.0.0/16", "10.2.128.0/17"]).unwrap_err();
    assert!(error.to_string().contains("of the same cluster"), "{error}");
    hub.add("paris", &["10.2.0.0/16"]).unwrap();
    assert_eq!(hub.keys(Kind::Cluster), ["Cluster/berlin", "Cluster/paris"]);
}

#[test]
fn a_cluster_needs_a_name_of_its_own_and_clean_prefixes() {
    let mut hub = Hub::new();
    hub.add("berlin", &["10.1.0.0/16"]).unwrap();
    assert_eq!(hub.add("berlin", &["10.2.0.0/16"]).unwrap_err().code, "duplicate_name");
    assert_eq!(hub.add("paris", &[]).unwrap_err().code, "no_prefix");
    let error = hub.add("paris", &["10.2.0.1/16"]).unwrap_err();
    assert_eq!((error.code, error.fix.as_str()), ("host_bits", "write 10.2.0.0/16"));
    assert_eq!(hub.records.len(), 2, "nothing of what was refused is written");
}

#[test]
fn a_removed_cluster_takes_all_it_owns_along_and_nothing_else() {
    let mut hub = Hub::new();
    let berlin = hub.add("berlin", &["10.1.0.0/16"]).unwrap();
    let paris = hub.add("paris", &["10.2.0.0/16"]).unwrap();
    for (cluster, address) in [(berlin, "10.1.0.1"), (paris, "10.2.0.1")] {
        let all = vec![
            put(node(cluster, "n1", 20)),
            put(endpoint(cluster, cluster.0[0], "n1", address)),
            put(export(cluster, "web", 5, 80)),
        ];
        assert_eq!(hub.take(cluster, all), []);
    }
    assert_eq!(hub.import("shop", "web").unwrap().clusters.len(), 2);
    hub.write(Command::RemoveCluster { name: name("berlin") }).unwrap();
    for kind in [Kind::Cluster, Kind::Node, Kind::Endpoint, Kind::ServiceExport] {
        assert_eq!(hub.state.list(kind).count(), 1, "{kind:?}");
    }
    assert_eq!(hub.import("shop", "web").unwrap().clusters, [paris]);
    hub.write(Command::RemoveCluster { name: name("paris") }).unwrap();
    assert_eq!(hub.import("shop", "web"), None);
    assert_eq!(hub.state.contents().len(), 1, "the fleet's settings remain");

    let error = hub.write(Command::RemoveCluster { name: name("paris") }).unwrap_err();
    assert_eq!((error.kind, error.code), (RejectionKind::NotFound, "unknown_cluster"));
    let again = hub.add("berlin", &["10.1.0.0/16"]).unwrap();
    assert_ne!(again, berlin, "another incarnation");
}

#[test]
fn a_cluster_drains_and_stays_after_all() {
    let mut hub = Hub::new();
    let berlin = hub.add("berlin", &["10.1.0.0/16"]).unwrap();
    hub.take(berlin, vec![put(export(berlin, "web", 5, 80))]);
    let drains = |hub: &Hub| hub.state.cluster(&name("berlin")).unwrap().1.draining;
    for draining in [true, false] {
        let before = hub.records.len();
        for _ in 0..2 {
            hub.write(Command::DrainCluster { name: name("berlin"), draining }).unwrap();
        }
        assert_eq!((drains(&hub), hub.records.len()), (draining, before + 1), "the second time changes nothing");
        assert_eq!(hub.state.cluster(&name("berlin")).unwrap().0, berlin, "the same incarnation");
        assert!(hub.import("shop", "web").is_some(), "who asks for it still finds its address");
    }
    let error = hub.write(Command::DrainCluster { name: name("oslo"), draining: true }).unwrap_err();
    assert_eq!(error.code, "unknown_cluster");
}

#[test]
fn a_removed_node_takes_its_endpoints_along() {
    let mut hub = Hub::new();
    let berlin = hub.add("berlin", &["10.1.0.0/16"]).unwrap();
    let all = [
        node(berlin, "n1", 1),
        node(berlin, "n2", 2),
        endpoint(berlin, 3, "n1", "10.1.0.3"),
        endpoint(berlin, 4, "n2", "10.1.0.4"),
    ];
    hub.take(berlin, all.into_iter().map(put).collect());
    let remove = |node: &str| Command::RemoveNode { cluster: name("berlin"), node: name(node) };
    hub.write(remove("n1")).unwrap();
    assert_eq!(hub.state.list(Kind::Node).count(), 1);
    let left: Vec<_> = hub.state.list(Kind::Endpoint).map(|object| object.uid.0[0]).collect();
    assert_eq!(left, [4]);
    assert_eq!(hub.write(remove("n1")).unwrap_err().code, "unknown_node");
}

#[test]
fn a_repeated_request_is_answered_and_not_done_again() {
    let mut hub = Hub::new();
    let mut request = hub.request(Command::AddCluster { cluster: super::common::cluster("berlin", &["10.1.0.0/16"]) });
    request.request_id = "one".into();
    let Ok(Decision::Write { record, .. }) = hub.ask(&request) else { panic!("written") };
    assert_eq!(hub.ask(&request), Ok(Decision::Repeated { revision: record.revision }));
    // Another asker's id is another id.
    request.actor = "user:other".into();
    assert_eq!(hub.ask(&request).unwrap_err().code, "duplicate_name");
}

#[test]
fn a_fleet_begins_once() {
    let mut hub = Hub::new();
    let fleet = hub.state.fleet().unwrap().clone();
    let records = hub.records.len();
    hub.write(Command::Begin { fleet: fleet.clone() }).unwrap();
    assert_eq!(hub.records.len(), records, "the same settings change nothing");
    let other = axle_core::model::Fleet { vip4: "100.97.0.0/16".parse().unwrap(), ..fleet };
    assert_eq!(hub.write(Command::Begin { fleet: other }).unwrap_err().code, "already_begun");
}
