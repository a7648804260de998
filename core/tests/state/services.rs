use std::{collections::BTreeSet, net::IpAddr};

use axle_core::{
    model::{
        BackendEndpoint, Backends, EndpointSlice, Family, Name, Object, Resource, Scope, Service, ServiceExport,
        ServicePort, Traffic, Traits, Uid,
    },
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

/// The export with other traits and backends.
fn with(export: Object, traits: Traits, backends: Vec<Backends>) -> Object {
    let Resource::ServiceExport(one) = (*export.resource).clone() else { unreachable!("it is an export") };
    object(Resource::ServiceExport(ServiceExport { traits, backends, ..one }), export.key.scope, export.uid, 2)
}

#[test]
fn the_oldest_export_decides_about_addresses() {
    let (mut hub, berlin, paris) = fleet(0);
    let families = |families| Traits { families, ..Traits::default() };
    let only6 = with(export(berlin, "s", 1, 80), families(vec![Family::V6]), vec![]);
    hub.take(berlin, vec![put(only6)]);
    assert!(matches!(vips(&hub, "s")[..], [IpAddr::V6(_)]));
    hub.take(berlin, vec![put(with(export(berlin, "s", 1, 80), families(vec![Family::V6, Family::V4]), vec![]))]);
    let both = vips(&hub, "s");
    assert!(matches!(both[..], [IpAddr::V6(_), IpAddr::V4(_)]), "in its order: {both:?}");
    let headless = Traits { headless: true, ..Traits::default() };
    hub.take(paris, vec![put(with(export(paris, "s", 2, 80), headless.clone(), vec![]))]);
    assert_eq!(vips(&hub, "s"), both, "a younger export changes nothing");
    let conflicts = |hub: &Hub| -> Vec<_> {
        hub.import("shop", "s").unwrap().conflicts.iter().map(|one| (one.cluster, one.reason.clone())).collect()
    };
    assert!(conflicts(&hub).contains(&(berlin, "TypeConflict".into())));
    assert!(conflicts(&hub).contains(&(paris, "TypeConflict".into())));
    hub.take(berlin, vec![gone(&export(berlin, "s", 1, 80))]);
    assert_eq!(vips(&hub, "s"), [] as [IpAddr; 0], "a headless service has none");
    assert!(hub.import("shop", "s").unwrap().traits.headless);
    assert_eq!(conflicts(&hub), []);
}

#[test]
fn a_listed_backend_is_its_clusters_own() {
    let (mut hub, berlin, _) = fleet(0);
    let at = |address: &str| Backends {
        endpoints: vec![BackendEndpoint { addresses: vec![address.parse().unwrap()], ..BackendEndpoint::default() }],
        ports: vec![],
    };
    let listing = |address| put(with(export(berlin, "s", 1, 80), Traits::default(), vec![at(address)]));
    let refused = hub.take(berlin, vec![listing("10.2.0.9")]);
    assert_eq!(refused[0].code, code::ADDRESS_OUTSIDE);
    assert!(refused[0].message.contains("10.2.0.9") && refused[0].message.contains("berlin"), "{}", refused[0]);
    assert_eq!(hub.take(berlin, vec![listing("10.1.0.9")]), []);
}

#[test]
fn a_clusters_own_services_are_not_taken() {
    let (mut hub, berlin, _) = fleet(0);
    let (namespace, name) = (Name::new("shop").unwrap(), Name::new("s").unwrap());
    let service = Service {
        namespace: namespace.clone(),
        name: name.clone(),
        selector: [].into(),
        addresses: vec!["10.96.0.1".parse().unwrap()],
        ports: vec![],
        traffic: Traffic::default(),
        global: None,
    };
    let slice = EndpointSlice { namespace, name: name.clone(), service: name, backends: Backends::default() };
    let own = [Resource::Service(service), Resource::EndpointSlice(slice)];
    let own = own.map(|resource| put(object(resource, Scope::Cluster(berlin), Uid([77; 16]), 1)));
    let refused = hub.take(berlin, own.into());
    assert_eq!(refused.iter().map(|refusal| &*refusal.code).collect::<Vec<_>>(), [code::FOREIGN_OBJECT; 2]);
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
