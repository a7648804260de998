//! The cluster's own services.
use super::*;
use crate::model::{BackendEndpoint, Backends, Distribution, EndpointSlice, Internal, Node, Service, Traffic};

const VIP: &str = "10.96.0.7";

fn web(traffic: Traffic) -> Service {
    Service {
        namespace: name("shop"),
        name: name("web"),
        selector: [].into(),
        addresses: vec![VIP.parse().unwrap(), "fd96::7".parse().unwrap()],
        ports: vec![http()],
        traffic,
        global: None,
    }
}

fn service(service: Service) -> Change {
    put(Scope::Cluster(uid(1)), "web", uid(150), Resource::Service(service))
}

/// A backend of a node, whose number is its zone's too; ready, serving, terminating.
fn backend(id: u8, node: u8, (ready, serving, terminating): (bool, bool, bool)) -> BackendEndpoint {
    BackendEndpoint {
        addresses: vec![IpAddr::from([10, 1, 0, id]), IpAddr::from([10, 1, 1, id])],
        ready,
        serving,
        terminating,
        node: format!("n{node}"),
        zone: format!("z{node}"),
        hostname: String::new(),
    }
}

const UP: (bool, bool, bool) = (true, true, false);
const GOING: (bool, bool, bool) = (false, true, true);
const DOWN: (bool, bool, bool) = (false, false, false);

fn slice(n: u8, endpoints: Vec<BackendEndpoint>) -> Change {
    let ports = vec![NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }];
    let slice = EndpointSlice {
        namespace: name("shop"),
        name: name(&format!("web-{n}")),
        service: name("web"),
        backends: Backends { endpoints, ports },
    };
    put(Scope::Cluster(uid(1)), &format!("web-{n}"), uid(160 + n), Resource::EndpointSlice(slice))
}

fn node(n: u8) -> Change {
    let labels = [("topology.kubernetes.io/zone".to_owned(), format!("z{n}"))].into();
    let node = Node { name: name(&format!("n{n}")), labels, addresses: vec![] };
    put(Scope::Cluster(uid(1)), &format!("n{n}"), uid(170 + n), Resource::Node(node))
}

fn at(changed: &BTreeMap<Frontend, Option<Route>>, address: &str) -> Option<Vec<String>> {
    let frontend = Frontend { address: address.parse().unwrap(), protocol: Protocol::Tcp, port: 80 };
    let route = changed.get(&frontend)?.as_ref()?;
    Some(route.backends.iter().map(|backend| format!("{}:{}", backend.address, backend.port)).collect())
}

fn routes(traffic: Traffic, endpoints: Vec<BackendEndpoint>) -> Vec<String> {
    let mut services = Services::new(uid(1), Some(name("n1")));
    let changed = services.apply(&[cluster(1), node(1), node(2), service(web(traffic)), slice(1, endpoints)]);
    at(&changed, VIP).unwrap()
}

#[test]
fn slices_come_and_go() {
    let mut services = Services::new(uid(1), Some(name("n1")));
    let changed = services.apply(&[cluster(1), service(web(Traffic::default()))]);
    assert_eq!(at(&changed, VIP).unwrap(), [""; 0], "nobody yet: refused");
    assert_eq!(changed.len(), 2, "a frontend per family");
    let changed = services.apply(&[slice(1, vec![backend(11, 1, UP), backend(12, 2, DOWN)])]);
    assert_eq!(
        at(&changed, VIP).unwrap(),
        ["10.1.0.11:8080"],
        "the first address of who is ready, at the slice's port"
    );
    assert_eq!(changed.len(), 1, "nothing for the other family");
    let changed = services.apply(&[slice(2, vec![backend(13, 2, UP)])]);
    assert_eq!(at(&changed, VIP).unwrap(), ["10.1.0.11:8080", "10.1.0.13:8080"]);
    let scope = Scope::Cluster(uid(1));
    let changed = services.apply(&[delete(Kind::EndpointSlice, scope, "web-1", uid(161))]);
    assert_eq!(at(&changed, VIP).unwrap(), ["10.1.0.13:8080"]);
    let changed = services.apply(&[delete(Kind::Service, scope, "web", uid(150))]);
    assert!(changed.len() == 2 && changed.values().all(Option::is_none), "{changed:?}");
}

#[test]
fn who_goes_serves_while_nobody_else_does() {
    let traffic = Traffic::default();
    assert_eq!(routes(traffic, vec![backend(11, 1, GOING), backend(12, 2, UP)]), ["10.1.0.12:8080"]);
    assert_eq!(routes(traffic, vec![backend(11, 1, GOING), backend(12, 2, DOWN)]), ["10.1.0.11:8080"]);
    assert_eq!(routes(traffic, vec![backend(11, 1, DOWN)]), [""; 0]);
}

#[test]
fn a_local_policy_never_leaves_the_node() {
    let traffic = Traffic { internal: Internal::Local, ..Traffic::default() };
    assert_eq!(routes(traffic, vec![backend(11, 1, UP), backend(12, 2, UP)]), ["10.1.0.11:8080"]);
    assert_eq!(routes(traffic, vec![backend(12, 2, UP)]), [""; 0]);
    assert_eq!(routes(traffic, vec![backend(11, 1, GOING), backend(12, 2, UP)]), ["10.1.0.11:8080"]);
}

#[test]
fn a_preference_is_no_more_than_that() {
    let traffic = |distribution| Traffic { distribution: Some(distribution), ..Traffic::default() };
    let here = || vec![backend(11, 1, UP), backend(12, 2, UP)];
    let zone = || vec![BackendEndpoint { zone: "z1".into(), ..backend(13, 2, UP) }, backend(12, 2, UP)];
    for distribution in [Distribution::PreferClose, Distribution::PreferSameZone, Distribution::PreferSameNode] {
        assert_eq!(routes(traffic(distribution), here()), ["10.1.0.11:8080"], "{distribution:?}");
        assert_eq!(routes(traffic(distribution), zone()), ["10.1.0.13:8080"], "{distribution:?}");
        assert_eq!(routes(traffic(distribution), vec![backend(12, 2, UP)]), ["10.1.0.12:8080"], "{distribution:?}");
    }
}

/// First the cluster, as the service's affinity says, then the zone within it.
#[test]
fn an_import_prefers_the_zone_among_those_that_serve() {
    let listed = |n: u8, endpoints: Vec<BackendEndpoint>| {
        let Change::Put(mut object) = export(n) else { unreachable!("export() puts") };
        let Resource::ServiceExport(export) = Arc::make_mut(&mut object.resource) else { unreachable!("an export") };
        export.selector.clear();
        let ports = vec![NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }];
        export.backends = vec![Backends { endpoints, ports }];
        Change::Put(object)
    };
    let Change::Put(mut object) = import() else { unreachable!("import() puts") };
    let Resource::ServiceImport(import) = Arc::make_mut(&mut object.resource) else { unreachable!("an import") };
    import.traits.traffic.distribution = Some(Distribution::PreferClose);
    let mut services = Services::new(uid(1), Some(name("n1")));
    let far = listed(2, vec![backend(21, 1, UP), backend(22, 2, UP)]);
    let near = listed(1, vec![backend(11, 1, UP), backend(12, 2, UP)]);
    let changed = services.apply(&[cluster(1), cluster(2), Change::Put(object), near, far]);
    assert_eq!(addresses(&changed).unwrap().len(), 2, "its own zone is not known yet");
    let changed = services.apply(&[node(1)]);
    assert_eq!(addresses(&changed).unwrap(), ["10.1.0.11:8080"]);
    let changed = services.apply(&[listed(1, vec![backend(12, 2, UP)])]);
    assert_eq!(addresses(&changed).unwrap(), ["10.1.0.12:8080"], "a preference is no more than that");
    let changed = services.apply(&[listed(1, vec![])]);
    assert_eq!(addresses(&changed).unwrap(), ["10.1.0.21:8080"], "so it is in the next cluster");
}

/// Of a workload its node says where it is, in every cluster.
#[test]
fn a_workload_of_another_cluster_is_where_its_node_is() {
    let mut services = Services::new(uid(1), Some(name("n1")));
    let Change::Put(mut object) = import() else { unreachable!("import() puts") };
    let Resource::ServiceImport(import) = Arc::make_mut(&mut object.resource) else { unreachable!("an import") };
    import.traits.traffic.distribution = Some(Distribution::PreferSameZone);
    let of = |n: u8, number: u8, zone: &str| {
        let labels = [("topology.kubernetes.io/zone".to_owned(), zone.to_owned())].into();
        let node = Node { name: name(&format!("n{number}")), labels, addresses: vec![] };
        put(Scope::Cluster(uid(n)), &format!("n{number}"), uid(180 + number), Resource::Node(node))
    };
    let on = |id: u8, number: u8| {
        let Change::Put(mut object) = workload(2, id, true) else { unreachable!("workload() puts") };
        let Resource::Endpoint(endpoint) = Arc::make_mut(&mut object.resource) else { unreachable!("an endpoint") };
        endpoint.node = name(&format!("n{number}"));
        Change::Put(object)
    };
    let world = [cluster(1), cluster(2), Change::Put(object), export(2), on(21, 2), on(22, 3), of(2, 2, "a")];
    let changed = services.apply(world.iter().chain(&[of(2, 3, "b"), of(1, 1, "b")]));
    assert_eq!(addresses(&changed).unwrap(), ["10.2.0.22:8080"]);
    let changed = services.apply(&[of(2, 2, "b")]);
    assert_eq!(addresses(&changed).unwrap().len(), 2);
}

#[test]
fn a_selector_selects_workloads_and_other_clusters_mean_nothing() {
    let mut services = Services::new(uid(1), Some(name("n1")));
    let foreign = put(Scope::Cluster(uid(2)), "web", uid(151), Resource::Service(web(Traffic::default())));
    assert!(services.apply(&[cluster(1), cluster(2), foreign]).is_empty());
    let selecting = Service { selector: [("app".to_owned(), "web".to_owned())].into(), ..web(Traffic::default()) };
    let changed = services.apply(&[service(selecting), workload(1, 11, true), workload(2, 12, true)]);
    assert_eq!(at(&changed, VIP).unwrap(), ["10.1.0.11:8080"]);
    let changed = services.apply(&[workload(1, 11, false)]);
    assert_eq!(at(&changed, VIP).unwrap(), [""; 0]);
}

#[test]
fn a_global_service_leads_to_the_fleets_backends() {
    let mut services = Services::new(uid(1), Some(name("n1")));
    let global = Service { global: Some(Affinity::None), ..web(Traffic::default()) };
    let world = [cluster(1), cluster(2), export(2), service(global), slice(1, vec![backend(11, 1, UP)])];
    let changed = services.apply(&world);
    assert_eq!(at(&changed, VIP).unwrap(), ["10.1.0.11:8080"], "no import yet: its own");
    let changed = services.apply(&[import(), workload(2, 21, true)]);
    let both = ["10.1.0.11:8080", "10.2.0.21:8080"];
    assert_eq!(at(&changed, VIP).unwrap(), both, "nothing is exported here: its own all the same");
    assert_eq!(addresses(&changed).unwrap(), both[1..], "which the fleet's address does not lead to");
    let changed = services.apply(&[delete(Kind::ServiceImport, Scope::Fleet, "web", uid(200))]);
    assert_eq!(at(&changed, VIP).unwrap(), ["10.1.0.11:8080"]);
}

#[test]
fn an_address_has_one_service_at_a_time() {
    let mut services = Services::new(uid(1), Some(name("n1")));
    let another = Service { name: name("api"), ..web(Traffic { sticky_s: Some(9), ..Traffic::default() }) };
    let another = put(Scope::Cluster(uid(1)), "api", uid(151), Resource::Service(another));
    services.apply(&[cluster(1), service(web(Traffic::default())), slice(1, vec![backend(11, 1, UP)])]);
    let changed = services.apply(&[another]);
    assert_eq!(at(&changed, VIP).unwrap(), [""; 0], "the first by name");
    let changed = services.apply(&[delete(Kind::Service, Scope::Cluster(uid(1)), "api", uid(151))]);
    assert_eq!(at(&changed, VIP).unwrap(), ["10.1.0.11:8080"], "the other is still there");
}

/// Changes of everything that own services are made of.
pub(super) fn any_change() -> impl Strategy<Value = Change> {
    let state = prop_oneof![Just(UP), Just(GOING), Just(DOWN)];
    let endpoint = (10u8..14, 1u8..3, state).prop_map(|(id, node, state)| backend(id, node, state));
    let sticky = prop_oneof![Just(None), Just(Some(9))];
    let scope = Scope::Cluster(uid(1));
    prop_oneof![
        4 => (1u8..3, prop::collection::vec(endpoint, 0..3)).prop_map(|(n, endpoints)| slice(n, endpoints)),
        1 => (1u8..3).prop_map(move |n| delete(Kind::EndpointSlice, scope, &format!("web-{n}"), uid(160 + n))),
        2 => (sticky, any::<[bool; 4]>()).prop_map(|(sticky_s, [local, close, selects, global])| {
            let internal = if local { Internal::Local } else { Internal::Cluster };
            let distribution = close.then_some(Distribution::PreferSameNode);
            let selector = if selects { [("app".to_owned(), "web".to_owned())].into() } else { [].into() };
            let global = global.then_some(Affinity::Remote);
            service(Service { selector, global, ..web(Traffic { sticky_s, internal, distribution }) })
        }),
        1 => Just(delete(Kind::Service, scope, "web", uid(150))),
        1 => (1u8..3).prop_map(node),
        1 => (1u8..3).prop_map(move |n| delete(Kind::Node, scope, &format!("n{n}"), uid(170 + n))),
    ]
}
