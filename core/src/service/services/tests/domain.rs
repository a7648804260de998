//! Names of the fleet's services.
use super::*;
use crate::{
    model::{BackendEndpoint, Backends, Family, Host},
    service::dns::Record,
};

const A: Asked = Asked::Address(Family::V4);
const AAAA: Asked = Asked::Address(Family::V6);

fn changed<R>(change: Change, spoil: impl FnOnce(&mut Resource) -> R) -> Change {
    let Change::Put(mut object) = change else { unreachable!("it puts") };
    spoil(Arc::make_mut(&mut object.resource));
    Change::Put(object)
}

fn headless(change: Change) -> Change {
    changed(change, |resource| match resource {
        Resource::ServiceImport(import) => {
            import.vips.clear();
            import.traits.headless = true;
        }
        Resource::ServiceExport(export) => export.traits.headless = true,
        other => unreachable!("{other:?}"),
    })
}

fn named(change: Change, host: &str, service: &str) -> Change {
    changed(change, |resource| {
        let Resource::Endpoint(endpoint) = resource else { unreachable!("an endpoint") };
        endpoint.host = Some(Box::new(Host { name: name(host), service: name(service) }));
    })
}

/// What a name below `clusterset.local` has, as text; `None` if it is not there.
fn ask(services: &Services, name: &str, asked: Asked) -> Option<Vec<String>> {
    match services.resolve(&format!("{name}clusterset.local."), asked) {
        Answer::Records { records, .. } => Some(
            records
                .into_iter()
                .map(|record| match record {
                    Record::Address(address) => address.to_string(),
                    Record::Service { port, target } => format!("{port} {target}"),
                    Record::Text(text) => text.into(),
                })
                .collect(),
        ),
        Answer::NoName => None,
        Answer::Elsewhere => panic!("{name} is in the domain"),
    }
}

fn texts(all: &[&str]) -> Option<Vec<String>> {
    Some(all.iter().map(ToString::to_string).collect())
}

#[test]
fn a_service_with_an_address() {
    let mut services = Services::new(uid(1), None);
    services.apply(&[cluster(1), export(1), import(), workload(1, 11, true)]);
    assert_eq!(ask(&services, "web.shop.svc.", A), texts(&["240.0.0.1"]));
    assert_eq!(ask(&services, "WEB.Shop.svc.", AAAA), texts(&["fdff::1"]), "in any case");
    let port = ask(&services, "_http._tcp.web.shop.svc.", Asked::Service);
    assert_eq!(port, texts(&["80 web.shop.svc.clusterset.local"]));
    let Answer::Records { addresses, .. } =
        services.resolve("_http._tcp.web.shop.svc.clusterset.local", Asked::Service)
    else {
        panic!("records")
    };
    assert_eq!(addresses.len(), 2, "both addresses come along");
    for there in ["", "svc.", "shop.svc.", "_tcp.web.shop.svc.", "_http._tcp.web.shop.svc."] {
        assert_eq!(ask(&services, there, A), texts(&[]), "{there} is a name without addresses");
    }
    let every = ask(&services, "web.shop.svc.", Asked::Service);
    assert_eq!(every, texts(&["80 web.shop.svc.clusterset.local"]), "each port that has a name");
    let absent = [
        "api.shop.svc.",
        "web.other.svc.",
        "other.svc.",
        "c1.web.shop.svc.",
        "10-1-0-11.c1.web.shop.svc.",
        "web.shop.",
        "_http._udp.web.shop.svc.",
        "_x._tcp.web.shop.svc.",
        "a.b.c.web.shop.svc.",
        "not_a_name.shop.svc.",
    ];
    for absent in absent {
        assert_eq!(ask(&services, absent, A), None, "{absent}");
        assert_eq!(ask(&services, absent, Asked::Service), None, "{absent}");
    }
    services.apply(&[workload(1, 11, false)]);
    assert_eq!(ask(&services, "web.shop.svc.", A), texts(&["240.0.0.1"]), "whoever stands behind it");
    services.apply(&[delete(Kind::ServiceImport, Scope::Fleet, "web", uid(200))]);
    assert_eq!(ask(&services, "web.shop.svc.", A), None, "not exported any more");
}

#[test]
fn a_headless_service_leads_to_its_backends() {
    let mut services = Services::new(uid(1), None);
    let exports = [headless(export(1)), headless(export(2)), headless(import())];
    services.apply(&[cluster(1), cluster(2)]);
    services.apply(&exports);
    assert_eq!(ask(&services, "web.shop.svc.", A), None, "nobody is ready");
    assert_eq!(ask(&services, "_http._tcp.web.shop.svc.", Asked::Service), None);
    services.apply(&[
        named(workload(1, 11, true), "web-0", "web"),
        named(workload(2, 21, true), "web-0", "web"),
        named(workload(1, 12, false), "web-1", "web"),
        named(workload(1, 13, true), "api-0", "api"),
    ]);
    assert_eq!(services.frontends().count(), 0, "no address leads to it");
    assert_eq!(ask(&services, "web.shop.svc.", A), texts(&["10.1.0.11", "10.1.0.13", "10.2.0.21"]));
    assert_eq!(ask(&services, "web.shop.svc.", AAAA), texts(&[]));
    assert_eq!(ask(&services, "web-0.c1.web.shop.svc.", A), texts(&["10.1.0.11"]));
    assert_eq!(ask(&services, "web-0.c2.web.shop.svc.", A), texts(&["10.2.0.21"]));
    assert_eq!(
        ask(&services, "10-1-0-13.c1.web.shop.svc.", A),
        texts(&["10.1.0.13"]),
        "a name in another service's domain"
    );
    for absent in ["c1.web.shop.svc.", "web-1.c1.web.shop.svc.", "api-0.c1.web.shop.svc.", "web-0.c3.web.shop.svc."] {
        assert_eq!(ask(&services, absent, A), None, "{absent}");
    }
    let mut ports = ask(&services, "_http._tcp.web.shop.svc.", Asked::Service).unwrap();
    ports.sort();
    let wanted =
        ["10-1-0-13.c1", "web-0.c1", "web-0.c2"].map(|name| format!("8080 {name}.web.shop.svc.clusterset.local"));
    assert_eq!(ports, wanted);
    let mut every = ask(&services, "web.shop.svc.", Asked::Service).unwrap();
    every.sort();
    assert_eq!(every, wanted, "the same of the service's own name");
}

#[test]
fn backends_that_somebody_lists_have_names_too() {
    let mut services = Services::new(uid(1), None);
    let backend = |last: u8, ready, hostname: &str| BackendEndpoint {
        addresses: vec![IpAddr::from([10, 1, 9, last]), "fd00:1::9".parse().unwrap()],
        ready,
        hostname: hostname.into(),
        ..BackendEndpoint::default()
    };
    let listed = changed(headless(export(1)), |resource| {
        let Resource::ServiceExport(export) = resource else { unreachable!("an export") };
        export.selector.clear();
        let ports = vec![NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: 9 }];
        export.backends =
            vec![Backends { endpoints: vec![backend(1, true, "db-0"), backend(2, false, "db-1")], ports }];
    });
    services.apply(&[cluster(1), listed, headless(import()), workload(1, 11, true)]);
    assert_eq!(ask(&services, "web.shop.svc.", A), texts(&["10.1.9.1"]));
    assert_eq!(ask(&services, "db-0.c1.web.shop.svc.", AAAA), texts(&["fd00:1::9"]));
    let port = ask(&services, "_http._tcp.web.shop.svc.", Asked::Service);
    assert_eq!(port, texts(&["9 db-0.c1.web.shop.svc.clusterset.local"]), "one name for both families");
}

#[test]
fn an_address_is_a_label_as_kubernetes_writes_it() {
    let mut services = Services::new(uid(1), None);
    services.apply(&[cluster(1), headless(export(1)), headless(import())]);
    for (address, label) in [
        ("10.1.0.11", "10-1-0-11"),
        ("fd00:1::b", "fd00-1--b"),
        ("fd00:1::", "fd00-0001-0000-0000-0000-0000-0000-0000"),
        ("::b", "0000-0000-0000-0000-0000-0000-0000-000b"),
    ] {
        services.apply(&[changed(workload(1, 11, true), |resource| {
            let Resource::Endpoint(endpoint) = resource else { unreachable!("an endpoint") };
            endpoint.addresses = vec![address.parse().unwrap()];
        })]);
        let asked = if address.contains(':') { AAAA } else { A };
        assert_eq!(ask(&services, &format!("{label}.c1.web.shop.svc."), asked), texts(&[address]));
    }
}

#[test]
fn the_domain_says_its_version_and_knows_its_border() {
    let services = Services::new(uid(1), None);
    assert_eq!(ask(&services, "dns-version.", Asked::Text), texts(&["1.0.0"]));
    assert_eq!(ask(&services, "dns-version.", A), texts(&[]));
    assert_eq!(ask(&services, "", Asked::Other), texts(&[]));
    for elsewhere in ["web.shop.svc.cluster.local", "local", "", "notclusterset.local", "example.com."] {
        assert_eq!(services.resolve(elsewhere, A), Answer::Elsewhere, "{elsewhere}");
    }
}
