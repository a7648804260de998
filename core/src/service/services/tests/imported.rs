//! What is written down of the backends of imports.
use super::*;
use crate::{
    model::{BackendEndpoint, Backends, Family},
    service::{Imported, Share},
};

fn web() -> (Name, Name) {
    (name("shop"), name("web"))
}

/// Each share and its addresses, those that are ready, as text.
fn shown(imported: &Imported) -> Vec<String> {
    let one = |(share, backends): (Share, BTreeMap<IpAddr, BackendEndpoint>)| {
        let ports: Vec<String> = share.ports.iter().map(|port| format!("{}={}", port.name, port.port)).collect();
        let backends: Vec<String> = backends
            .iter()
            .map(|(address, backend)| format!("{address}{}", if backend.ready { "" } else { " not ready" }))
            .collect();
        format!("{} {:?} {}: {}", share.cluster, share.family, ports.join(","), backends.join(", "))
    };
    imported.backends(&web()).into_iter().map(one).collect()
}

#[test]
fn backends_of_every_cluster_by_cluster_family_and_ports() {
    let mut imported = Imported::new(uid(1));
    let dirty = imported.apply(&[cluster(1), cluster(2), export(1), export(2), import()]);
    assert_eq!((dirty.into_iter().collect::<Vec<_>>(), shown(&imported).len()), (vec![web()], 0));
    let mut dual = workload(2, 21, true);
    let mut other_port = workload(1, 12, true);
    for change in [&mut dual, &mut other_port] {
        let Change::Put(object) = change else { unreachable!("workload() puts") };
        let Resource::Endpoint(endpoint) = Arc::make_mut(&mut object.resource) else { unreachable!("an endpoint") };
        match endpoint.addresses[0] == IpAddr::from([10, 2, 0, 21]) {
            true => endpoint.addresses.push("fd00:2::15".parse().unwrap()),
            false => endpoint.named_ports[0].port = 9090,
        }
    }
    let dirty = imported.apply(&[workload(1, 11, false), other_port, dual]);
    assert!(dirty.contains(&web()));
    assert_eq!(
        shown(&imported),
        [
            "c1 V4 http=8080: 10.1.0.11 not ready",
            "c1 V4 http=9090: 10.1.0.12",
            "c2 V4 http=8080: 10.2.0.21",
            "c2 V6 http=8080: fd00:2::15",
        ]
    );
    assert_eq!(imported.apply(&[delete(Kind::ServiceExport, Scope::Cluster(uid(2)), "web", uid(102))]).len(), 1);
    assert!(shown(&imported).iter().all(|share| share.starts_with("c1 ")), "who exports no more has none");
    imported.apply(&[delete(Kind::ServiceImport, Scope::Fleet, "web", uid(200))]);
    assert!(shown(&imported).is_empty());
    assert!(imported.apply(&[delete(Kind::Endpoint, Scope::Cluster(uid(1)), "77", uid(77))]).is_empty());
}

#[test]
fn what_leaves_is_said_to_and_nodes_are_not_told() {
    let mut imported = Imported::new(uid(1));
    let mut listed = export(2);
    let Change::Put(object) = &mut listed else { unreachable!("export() puts") };
    let Resource::ServiceExport(resource) = Arc::make_mut(&mut object.resource) else { unreachable!("an export") };
    resource.selector.clear();
    resource.backends = vec![Backends {
        endpoints: vec![BackendEndpoint {
            addresses: vec!["10.2.9.1".parse().unwrap()],
            serving: true,
            terminating: true,
            node: "n7".into(),
            zone: "a".into(),
            hostname: "db-0".into(),
            ready: false,
        }],
        ports: vec![NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: 9 }],
    }];
    imported.apply(&[cluster(2), listed, import()]);
    let shares = imported.backends(&web());
    let ((share, backends), rest) = (shares.first_key_value().unwrap(), shares.len() - 1);
    let backend = backends.values().next().unwrap();
    assert_eq!((share.family, share.ports[0].port, rest), (Family::V4, 9, 0));
    assert_eq!((backend.ready, backend.serving, backend.terminating), (false, true, true));
    assert_eq!((backend.node.as_str(), backend.zone.as_str(), backend.hostname.as_str()), ("", "a", "db-0"));
}
