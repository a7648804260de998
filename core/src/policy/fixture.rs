//! A small world for tests: two clusters (`east` 10.1/16, `west` 10.2/16) with a node each, and what a test adds.
use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;

use super::{Flow, Target, World, tables::PortTable};
use crate::{
    log::Change,
    manifest,
    model::{
        Action, Cluster, Endpoint, Fleet, Key, Labels, Name, NamedPort, Namespace, Node, Object, Policy, Protocol,
        Resource, Scope, Uid,
    },
};

pub(crate) const EAST: Uid = Uid([1; 16]);
pub(crate) const WEST: Uid = Uid([2; 16]);

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn put(world: &mut World, scope: Scope, object_name: &str, uid: Uid, resource: Resource) {
    let key = Key { kind: resource.kind(), scope, namespace: String::new(), name: name(object_name) };
    let resource = Arc::new(resource);
    world.apply(&Change::Put(Object { key, uid, revision: 7, features: vec![], payload: Bytes::new(), resource }));
}

/// The two clusters, one node each (`n1` at .0.0.1), no workloads, no policies.
pub(crate) fn world() -> World {
    let mut world = World::default();
    let fleet =
        Fleet { vip4: "240.0.0.0/8".parse().unwrap(), vip6: "fdff::/64".parse().unwrap(), excluded_label_keys: vec![] };
    put(&mut world, Scope::Fleet, "fleet", Uid([0; 16]), Resource::Fleet(fleet));
    for (n, uid, cluster_name) in [(1u8, EAST, "east"), (2, WEST, "west")] {
        cluster(&mut world, uid, cluster_name, n, Action::Accept);
        let addresses = vec![IpAddr::from([10, n, 0, 1])];
        let node = Node { name: name("n1"), labels: labels(&[("os", "linux")]), addresses };
        put(&mut world, Scope::Cluster(uid), "n1", Uid([n + 10; 16]), Resource::Node(node));
    }
    world
}

pub(crate) fn cluster(world: &mut World, uid: Uid, cluster_name: &str, n: u8, default_action: Action) {
    let cluster = Cluster {
        name: name(cluster_name),
        region: format!("region-{n}"),
        labels: labels(&[("env", if n == 1 { "prod" } else { "test" })]),
        prefixes: vec![format!("10.{n}.0.0/16").parse().unwrap(), format!("fd00:{n}::/32").parse().unwrap()],
        default_action,
        draining: false,
    };
    put(world, Scope::Fleet, cluster_name, uid, Resource::Cluster(cluster));
}

pub(crate) fn namespace(world: &mut World, cluster: Uid, namespace: &str, pairs: &[(&str, &str)]) {
    let mut labels = labels(pairs);
    labels.insert(manifest::NAMESPACE_NAME_LABEL.into(), namespace.into());
    let resource = Resource::Namespace(Namespace { name: name(namespace), labels });
    put(world, Scope::Cluster(cluster), namespace, Uid([200; 16]), resource);
}

/// A workload on node `n1`; its last byte of address is its uid. Named ports: `web` TCP 80, `dns` UDP 53.
pub(crate) fn workload(world: &mut World, cluster: Uid, namespace: &str, address: &str, pairs: &[(&str, &str)]) -> Uid {
    let address: IpAddr = address.parse().unwrap();
    let mut uid = [cluster.0[0]; 16];
    match address {
        IpAddr::V4(v4) => uid[12..].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => uid[2..].copy_from_slice(&v6.octets()[2..]),
    }
    let port = |port_name: &str, protocol, port| NamedPort { name: port_name.into(), protocol, port };
    let endpoint = Endpoint {
        namespace: name(namespace),
        name: name("w"),
        node: name("n1"),
        service_account: String::new(),
        labels: labels(pairs),
        addresses: vec![address],
        named_ports: vec![port("web", Protocol::Tcp, 80), port("dns", Protocol::Udp, 53)],
        started_ms: 1,
        ready: true,
        host: None,
    };
    put(world, Scope::Cluster(cluster), &Uid(uid).to_string(), Uid(uid), Resource::Endpoint(endpoint));
    Uid(uid)
}

/// A policy of tier, priority and rules, about every workload that the subject selects; written as people write it.
pub(crate) fn policy(world: &mut World, scope: Scope, policy_name: &str, spec: &str) -> Uid {
    let text = format!(
        "apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\nmetadata: {{name: {policy_name}}}\nspec: {{{spec}}}\n"
    );
    let mut policies = manifest::parse_policies(&text).unwrap_or_else(|faults| panic!("{text}: {faults:#?}"));
    put_policy(world, scope, policies.remove(0))
}

pub(crate) fn put_policy(world: &mut World, scope: Scope, policy: Policy) -> Uid {
    let mut uid = [0; 16];
    for (byte, c) in uid.iter_mut().zip(policy.name.as_str().bytes()) {
        *byte = c;
    }
    let policy_name = policy.name.clone();
    put(world, scope, policy_name.as_str(), Uid(uid), Resource::Policy(policy));
    Uid(uid)
}

pub(crate) fn flow(from: &str, to: &str, table: PortTable, number: u16) -> Flow {
    Flow { from: from.parse().unwrap(), to: to.parse().unwrap(), target: Target { table, number } }
}

pub(crate) fn tcp(from: &str, to: &str, port: u16) -> Flow {
    flow(from, to, PortTable::Tcp, port)
}
