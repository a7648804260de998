//! Folders of documents as a fleet.
use std::net::IpAddr;

use super::*;
use crate::{
    manifest,
    model::Kind,
    policy::{Party, Verdict, evaluate, leads, survey},
};

/// Nothing here is sent anywhere.
struct NoWire;

impl Codec for NoWire {
    fn encode(&self, _: &Resource) -> bytes::Bytes {
        bytes::Bytes::new()
    }

    fn decode(&self, _: Kind, _: &bytes::Bytes) -> Result<Resource, String> {
        Err("nothing is decoded".into())
    }
}

fn folder(name: &str, text: &str) -> Folder {
    let documents = manifest::parse(text).unwrap_or_else(|faults| panic!("{faults:#?}"));
    Folder { name: Name::new(name).unwrap(), documents }
}

fn workload(name: &str, address: &str) -> String {
    format!(
        "apiVersion: axle.dev/v1alpha1\nkind: Workload\nmetadata: {{name: {name}, namespace: shop, labels: {{app: {name}}}}}\n\
         spec: {{interface: veth, addresses: [{address}]}}\n---\n"
    )
}

const CLUSTER: &str = "apiVersion: axle.dev/v1alpha1\nkind: Cluster\nmetadata: {name: oslo, labels: {env: prod}}\n\
                       spec: {region: north, prefixes: [10.1.0.0/16], defaultAction: Deny}\n---\n";

#[test]
fn a_fleet_without_a_hub() {
    let oslo = folder("oslo", &format!("{CLUSTER}{}", workload("web", "10.1.1.1")));
    let lima = folder("lima", &(workload("db", "10.2.1.1") + &workload("cache", "10.2.1.2")));
    let policies = manifest::parse_policies(
        "apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\nmetadata: {name: p}\nspec: {tier: Admin, priority: 1, \
         subject: {namespaces: {}}, egress: [{action: Accept, to: [{clusters: {names: [lima]}, pods: {podSelector: {matchLabels: {app: db}}}}]}]}\n",
    )
    .unwrap();
    let world = world(&[oslo, lima], &policies, &[], &NoWire).unwrap();
    let verdict = |to: &str| evaluate(&world, world.flow("oslo/shop/web", to, "tcp", 80).unwrap()).verdict();
    assert_eq!((verdict("lima/shop/db"), verdict("lima/shop/cache")), (Verdict::Accept, Verdict::Deny));
    let party = |address: &str| world.party(address.parse::<IpAddr>().unwrap(), None);
    assert!(matches!(party("10.1.9.9"), Party::Unresolved { .. }), "the document's prefixes");
    assert!(matches!(party("10.2.9.9"), Party::Outside), "no more than the workloads' addresses");
    assert_eq!(
        world.namespace_labels(world.clusters().next().unwrap().0, &Name::new("shop").unwrap()).map(BTreeMap::len),
        Some(1)
    );
    assert_eq!(world.objects(Kind::Policy).count(), 1);
}

#[test]
fn a_connection_to_a_service_is_led_to_its_backends() {
    let service = "apiVersion: axle.dev/v1alpha1\nkind: Service\nmetadata: {name: web, namespace: shop}\n\
                   spec: {selector: {app: web}, clusterIPs: [10.96.0.7], ports: [{port: 80, targetPort: 8080}]}\n---\n";
    let web = |number: u8| workload(&format!("web-{number}"), &format!("10.1.1.{number}"));
    let webs = [1, 2].map(|number| web(number).replace(&format!("app: web-{number}"), "app: web")).concat();
    let oslo = folder("oslo", &format!("{service}{webs}{}{}", web(3), workload("shop", "10.1.2.1")));
    let lima = folder("lima", &workload("shop", "10.2.2.1"));
    let world = world(&[oslo, lima], &[], &[], &NoWire).unwrap();
    let led = |from: &str, to: &str, port: u32| {
        let flows = leads(&world, world.flow(from, to, "tcp", port).unwrap())?;
        Some(flows.iter().map(|flow| format!("{} {}", flow.to, flow.target.number)).collect::<Vec<_>>())
    };
    assert_eq!(led("oslo/shop/shop", "10.96.0.7", 80).unwrap(), ["10.1.1.1 8080", "10.1.1.2 8080"]);
    for (from, to, port) in [
        ("oslo/shop/shop", "10.96.0.7", 81),
        ("oslo/shop/shop", "10.1.1.1", 80),
        // An address of a service means something in its own cluster only, and to workloads.
        ("lima/shop/shop", "10.96.0.7", 80),
        ("198.51.100.7", "10.96.0.7", 80),
    ] {
        assert_eq!(led(from, to, port), None, "{from} {to} {port}");
    }
}

#[test]
fn a_workload_whose_address_begins_a_prefix_is_counted_once() {
    let fleet = [folder("lima", &(workload("db", "10.2.1.1") + &workload("cache", "10.2.1.2")))];
    let world = world(&fleet, &[], &[], &NoWire).unwrap();
    let deny = manifest::parse_policies(
        "apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\nmetadata: {name: p}\nspec: {tier: Admin, priority: 1, \
         subject: {pods: {podSelector: {matchLabels: {app: db}}}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]}\n",
    )
    .unwrap();
    let changes = survey::propose(&world, &deny, &[], &NoWire).unwrap();
    let report = survey::diff(&world, &changes).report();
    let counts: Vec<_> = report.groups[0].sources.values().chain(report.groups[0].destinations.values()).collect();
    assert_eq!((report.groups.len(), counts), (1, vec![&1, &1]), "{report:?}");
}

#[test]
fn contradictions_are_all_named() {
    let oslo = folder("oslo", &format!("{CLUSTER}{}{}", workload("web", "10.9.1.1"), workload("web", "10.1.1.1")));
    let other = folder("lima", &CLUSTER.replace("name: oslo, ", ""));
    let third = folder("rome", CLUSTER.replace("10.1.0.0/16", "10.7.0.0/16").as_str());
    let problems = world(&[oslo, other, third], &[], &[], &NoWire).unwrap_err().join("\n");
    for part in [
        "10.9.1.1, outside",
        "Workload shop/web is there a second time",
        "10.1.0.0/16 of lima overlaps",
        "rome: its Cluster document has another name",
    ] {
        assert!(problems.contains(part), "{part} in {problems}");
    }
}
