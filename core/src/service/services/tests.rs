use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    model::{
        Action, Affinity, Cluster, Endpoint, Key, Kind, NamedPort, Object, PortTarget, Protocol, Resource, Scope,
        ServiceExport, ServiceImport, ServicePort, Traits,
    },
    service::ServiceTable,
};

mod domain;
mod imported;
mod own;

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn uid(n: u8) -> Uid {
    Uid([n; 16])
}

fn put(scope: Scope, object_name: &str, id: Uid, resource: Resource) -> Change {
    let key = Key { kind: resource.kind(), scope, namespace: String::new(), name: name(object_name) };
    Change::Put(Object {
        key,
        uid: id,
        revision: 1,
        features: vec![],
        payload: Bytes::new(),
        resource: Arc::new(resource),
    })
}

fn delete(kind: Kind, scope: Scope, object_name: &str, id: Uid) -> Change {
    Change::Delete { key: Key { kind, scope, namespace: String::new(), name: name(object_name) }, uid: id }
}

fn cluster(n: u8) -> Change {
    cluster_that(n, false)
}

fn drains(n: u8) -> Change {
    cluster_that(n, true)
}

fn cluster_that(n: u8, draining: bool) -> Change {
    let cluster = Cluster {
        name: name(&format!("c{n}")),
        region: if n < 3 { "north".into() } else { "south".into() },
        labels: [].into(),
        prefixes: vec![],
        default_action: Action::Accept,
        draining,
    };
    put(Scope::Fleet, &format!("c{n}"), uid(n), Resource::Cluster(cluster))
}

fn http() -> ServicePort {
    ServicePort {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port: 80,
        target: PortTarget::Name("web".into()),
        app_protocol: String::new(),
    }
}

fn export(n: u8) -> Change {
    let export = ServiceExport {
        namespace: name("shop"),
        name: name("web"),
        created_ms: u64::from(n),
        selector: [("app".to_owned(), "web".to_owned())].into(),
        ports: vec![http()],
        affinity: Affinity::Local,
        weight: 100,
        traits: Traits::default(),
        backends: vec![],
    };
    put(Scope::Cluster(uid(n)), "web", uid(100 + n), Resource::ServiceExport(export))
}

fn import() -> Change {
    let import = ServiceImport {
        namespace: name("shop"),
        name: name("web"),
        vips: vec!["240.0.0.1".parse().unwrap(), "fdff::1".parse().unwrap()],
        ports: vec![http()],
        clusters: vec![],
        conflicts: vec![],
        traits: Traits::default(),
    };
    put(Scope::Fleet, "web", uid(200), Resource::ServiceImport(import))
}

fn workload(n: u8, id: u8, ready: bool) -> Change {
    let endpoint = Endpoint {
        namespace: name("shop"),
        name: name(&format!("web-{id}")),
        node: name("n1"),
        service_account: String::new(),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        addresses: vec![IpAddr::from([10, n, 0, id])],
        named_ports: vec![NamedPort { name: "web".into(), protocol: Protocol::Tcp, port: 8080 }],
        started_ms: u64::from(id),
        ready,
        host: None,
    };
    put(Scope::Cluster(uid(n)), &uid(id).to_string(), uid(id), Resource::Endpoint(endpoint))
}

fn frontend() -> Frontend {
    Frontend { address: "240.0.0.1".parse().unwrap(), protocol: Protocol::Tcp, port: 80 }
}

fn addresses(changed: &BTreeMap<Frontend, Option<Route>>) -> Option<Vec<String>> {
    let route = changed.get(&frontend())?.as_ref()?;
    Some(route.backends.iter().map(|backend| format!("{}:{}", backend.address, backend.port)).collect())
}

#[test]
fn a_cluster_that_drains_keeps_only_its_own_clients() {
    for (here, left) in [(1, "10.3.0.5:8080"), (2, "10.2.0.4:8080")] {
        let mut services = Services::new(uid(here), Some(name("n1")));
        let world = [cluster(1), cluster(2), cluster(3), export(2), export(3), import()];
        services.apply(world.iter().chain(&[workload(2, 4, true), workload(3, 5, true)]));
        let changed = services.apply(&[drains(2)]);
        let expected = if here == 1 { Some(vec![left.to_owned()]) } else { None };
        assert_eq!(addresses(&changed), expected, "seen from {here}");
        assert_eq!(services.frontends().find(|(at, _)| **at == frontend()).unwrap().1.backends.len(), 1, "from {here}");
    }
}

#[test]
fn from_local_to_remote_and_back() {
    let mut services = Services::new(uid(1), Some(name("n1")));
    let world = [
        cluster(1),
        cluster(2),
        cluster(3),
        export(1),
        export(2),
        import(),
        workload(1, 11, true),
        workload(2, 21, true),
    ];
    let changed = services.apply(&world);
    assert_eq!(addresses(&changed).unwrap(), ["10.1.0.11:8080"], "the local one");
    assert_eq!(changed.len(), 2, "both families have a frontend");
    let changed = services.apply(&[workload(1, 11, false)]);
    assert_eq!(addresses(&changed).unwrap(), ["10.2.0.21:8080"], "not ready: the region's");
    assert_eq!(changed.len(), 1, "the other family did not change");
    let changed = services.apply(&[delete(Kind::Endpoint, Scope::Cluster(uid(2)), &uid(21).to_string(), uid(21))]);
    assert_eq!(addresses(&changed).unwrap(), [""; 0], "nobody: refused, but still a service");
    let changed = services.apply(&[workload(1, 11, true)]);
    assert_eq!(addresses(&changed).unwrap(), ["10.1.0.11:8080"]);
    assert!(services.apply(&[workload(1, 11, true)]).is_empty(), "the same again changes nothing");
    let changed = services.apply(&[delete(Kind::ServiceImport, Scope::Fleet, "web", uid(200))]);
    assert_eq!(changed.values().collect::<Vec<_>>(), [&None, &None]);
    assert_eq!(services.frontends().count(), 0);
}

#[test]
fn a_workload_of_another_namespace_or_without_the_port_is_no_backend() {
    let mut services = Services::new(uid(1), Some(name("n1")));
    let mut elsewhere = workload(1, 12, true);
    let mut portless = workload(1, 13, true);
    for (change, spoil) in [(&mut elsewhere, 0), (&mut portless, 1)] {
        let Change::Put(object) = change else { unreachable!("workload() puts") };
        let Resource::Endpoint(endpoint) = Arc::make_mut(&mut object.resource) else { unreachable!("an endpoint") };
        if spoil == 0 {
            endpoint.namespace = name("other");
        } else {
            endpoint.named_ports.clear();
        }
    }
    let changed = services.apply(&[cluster(1), export(1), import(), workload(1, 11, true), elsewhere, portless]);
    assert_eq!(addresses(&changed).unwrap(), ["10.1.0.11:8080"]);
}

#[test]
fn a_delete_of_an_older_incarnation_changes_nothing() {
    let mut services = Services::new(uid(1), Some(name("n1")));
    services.apply(&[cluster(1), export(1), import(), workload(1, 11, true)]);
    let stale = delete(Kind::Endpoint, Scope::Cluster(uid(1)), &uid(11).to_string(), uid(99));
    assert!(services.apply(&[stale]).is_empty());
}

fn any_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        10 => own::any_change(),
        6 => (1u8..4, 10u8..16, any::<bool>()).prop_map(|(n, id, ready)| workload(n, id, ready)),
        4 => (1u8..4, 10u8..16).prop_map(|(n, id)| delete(Kind::Endpoint, Scope::Cluster(uid(n)), &uid(id).to_string(), uid(id))),
        1 => (1u8..4).prop_map(cluster),
        2 => (1u8..4).prop_map(export),
        1 => (1u8..4).prop_map(|n| delete(Kind::ServiceExport, Scope::Cluster(uid(n)), "web", uid(100 + n))),
        1 => (1u8..4).prop_map(|n| delete(Kind::Cluster, Scope::Fleet, &format!("c{n}"), uid(n))),
        2 => Just(import()),
        1 => Just(delete(Kind::ServiceImport, Scope::Fleet, "web", uid(200))),
    ]
}

proptest! {
    /// The increments add up to what the same objects give at once, in any order and in any batches.
    #[test]
    fn increments_add_up(changes in prop::collection::vec(any_change(), 0..60), batch in 1usize..5) {
        let mut services = Services::new(uid(1), Some(name("n1")));
        let mut kept = BTreeMap::new();
        for batch in changes.chunks(batch) {
            for (frontend, backends) in services.apply(batch) {
                match backends {
                    Some(backends) => kept.insert(frontend, backends),
                    None => kept.remove(&frontend),
                };
            }
        }
        let shown: ServiceTable = services.frontends().map(|(frontend, backends)| (*frontend, backends.clone())).collect();
        prop_assert_eq!(&kept, &shown);
        let mut fresh = Services::new(uid(1), Some(name("n1")));
        let rest: Vec<_> = services.objects.all().rev().collect();
        fresh.apply(&rest);
        prop_assert_eq!(shown, fresh.frontends().map(|(frontend, backends)| (*frontend, backends.clone())).collect());
    }
}
