use std::{collections::BTreeSet, net::IpAddr};

use axle_core::{
    model::{Resource, ServicePort},
    refusal::code,
};
use axle_proto::convert::object;

use super::common::{Hub, endpoint, export, gone, put};

fn fleet(services: u8) -> (Hub, axle_core::model::Uid, axle_core::model::Uid) {
    let mut hub = Hub::new();
    let berlin = hub.add("berlin", &["10.1.0.0/16"]).unwrap();
    let paris = hub.add("paris", &["10.2.0.0/16"]).unwrap();
    for number in 0..services {
        hub.take(berlin, vec![put(export(berlin, &format!("s{number}"), 1, 80))]);
    }
    (hub, berlin, paris)
}

fn vips(hub: &Hub, service: &str) -> Vec<IpAddr> {
    hub.import("shop", service).unwrap().vips.clone()
}

#[test]
fn an_import_keeps_its_addresses_as_long_as_it_exists() {
    let (mut hub, berlin, paris) = fleet(1);
    let before = vips(&hub, "s0");
    assert!(matches!(before[..], [IpAddr::V4(_), IpAddr::V6(_)]), "one of each family: {before:?}");
    hub.take(paris, vec![put(export(paris, "s0", 0, 81))]);
    assert_eq!(hub.import("shop", "s0").unwrap().clusters, [paris, berlin], "the oldest export first");
    hub.take(berlin, vec![gone(&export(berlin, "s0", 1, 80))]);
    assert_eq!(vips(&hub, "s0"), before);
    assert_eq!(hub.import("shop", "s0").unwrap().ports[0].port, 81);
}

#[test]
fn which_address_a_service_gets_does_not_depend_on_the_order() {
    let add = |order: &[&str]| {
        // A range so large that no two of these meet.
        let mut hub = Hub::with_ranges("100.96.0.0/12", "fd00:96::/64");
        let berlin = hub.add("berlin", &["10.1.0.0/16"]).unwrap();
        order.iter().for_each(|service| drop(hub.take(berlin, vec![put(export(berlin, service, 1, 80))])));
        (vips(&hub, "a"), vips(&hub, "b"), vips(&hub, "c"))
    };
    assert_eq!(add(&["a", "b", "c"]), add(&["c", "a", "b"]));
}

#[test]
fn addresses_are_never_shared_and_not_reused_while_there_are_others() {
    let (mut hub, berlin, _) = fleet(4);
    let all: BTreeSet<IpAddr> = (0..4).flat_map(|n| vips(&hub, &format!("s{n}"))).collect();
    assert_eq!(all.len(), 8);
    let given_up = vips(&hub, "s0");
    hub.take(berlin, vec![gone(&export(berlin, "s0", 1, 80))]);
    // The range has six IPv4 addresses: three in use, one given up, two fresh.
    // The first would get its old address again, if that did not rest.
    for service in ["s0", "t2"] {
        hub.take(berlin, vec![put(export(berlin, service, 1, 80))]);
        assert!(!vips(&hub, service).contains(&given_up[0]), "{service}");
    }
    hub.take(berlin, vec![put(export(berlin, "t3", 1, 80))]);
    assert!(vips(&hub, "t3").contains(&given_up[0]), "no other is left");
}

#[test]
fn a_service_of_too_many_ports_is_refused_and_keeps_what_it_had() {
    let (mut hub, berlin, _) = fleet(1);
    let mut many = export(berlin, "s0", 1, 80);
    let Resource::ServiceExport(mut one) = (*many.resource).clone() else { unreachable!("it is an export") };
    let port = one.ports[0].clone();
    one.ports = (1..=101).map(|n| ServicePort { name: format!("p{n}"), port: n, ..port.clone() }).collect();
    many = object(Resource::ServiceExport(one), many.key.scope, many.uid, 2);
    let refused = hub.take(berlin, vec![put(many)]);
    assert_eq!(refused[0].code, code::INVALID_OBJECT);
    assert!(refused[0].message.contains("101 ports") && refused[0].message.contains("at most 100"), "{}", refused[0]);
    assert_eq!(hub.import("shop", "s0").unwrap().ports.len(), 1);
}

#[test]
fn an_object_as_large_as_a_log_is_refused() {
    let (mut hub, berlin, _) = fleet(0);
    let mut large = endpoint(berlin, 1, "n1", "10.1.0.1");
    let Resource::Endpoint(mut one) = (*large.resource).clone() else { unreachable!("it is an endpoint") };
    one.labels.insert("note".into(), "x".repeat(1 << 20));
    large = object(Resource::Endpoint(one), large.key.scope, large.uid, 1);
    let refused = hub.take(berlin, vec![put(large)]);
    assert!(refused[0].code == code::INVALID_OBJECT && refused[0].message.contains("1048576"), "{}", refused[0]);
}

#[test]
fn a_range_that_is_used_up_is_said_and_takes_no_traffic_astray() {
    let (hub, _, _) = fleet(7);
    let without: Vec<_> =
        (0..7).map(|n| hub.import("shop", &format!("s{n}")).unwrap()).filter(|i| i.vips.len() < 2).collect();
    assert_eq!(without.len(), 1);
    let [conflict] = &without[0].conflicts[..] else { panic!("one conflict: {:?}", without[0].conflicts) };
    assert_eq!(conflict.reason, "NoAddress");
    assert!(conflict.message.contains("100.96.0.0/29"), "{}", conflict.message);
    assert!(without[0].vips[0].is_ipv6(), "the other family still has one");
}
