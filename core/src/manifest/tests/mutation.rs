//! A document that loses or garbles a part is refused, or allows no more than before.
//!
//! What a specification lets be absent means something when it is: those fields are listed, each with its reason, and may
//! widen only by being left out whole.
use serde_json::Value;

use super::*;
use crate::{
    model::Scope,
    policy::{Flow, Target, Verdict, evaluate, fixture, tables::PortTable},
};

/// Absent is a statement in these places.
const OPTIONAL: [(&str, &str); 21] = [
    ("names", "an empty selector of clusters is all"),
    ("regions", "an empty selector of clusters is all"),
    ("namespaceSelector", "every namespace, or the policy's own"),
    ("podSelector", "a peer of a NetworkPolicy: every pod of the namespaces"),
    ("from", "NetworkPolicy: every peer"),
    ("to", "NetworkPolicy: every peer"),
    ("ports", "NetworkPolicy: every port"),
    ("port", "NetworkPolicy: every port of the protocol"),
    ("protocols", "every protocol"),
    ("protocol", "NetworkPolicy: TCP"),
    ("endPort", "the port alone"),
    ("policyTypes", "NetworkPolicy: by the rules that are there"),
    ("ingress", "the direction is left alone"),
    ("egress", "the direction is left alone"),
    ("except", "the whole block"),
    ("destinationPort", "every port of the protocol"),
    ("code", "every code"),
    ("type", "every type"),
    ("clusters", "the policy's own clusters"),
    ("matchLabels", "a selector without it selects more"),
    ("matchExpressions", "a selector without it selects more"),
];

const DOCUMENTS: [&str; 3] = [
    "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec:
  podSelector: {matchLabels: {app: b}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - podSelector: {matchLabels: {app: a}}
      namespaceSelector: {matchLabels: {team: red}}
    - ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.0/29]}
    ports: [{port: 80}, {protocol: UDP, port: 53, endPort: 54}, {port: web}]
  egress:
  - to: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [a]}]}}]
    ports: [{protocol: SCTP}]
",
    "apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: p}
spec:
  tier: Admin
  priority: 7
  subject: {pods: {namespaceSelector: {matchLabels: {team: red}}, podSelector: {matchLabels: {app: b}}}}
  ingress:
  - action: Accept
    from: [{pods: {namespaceSelector: {matchLabels: {team: red}}, podSelector: {matchLabels: {app: a}}}}]
    protocols: [{tcp: {destinationPort: {number: 80}}}, {destinationNamedPort: dns}]
  - {action: Pass, from: [{namespaces: {matchLabels: {team: blue}}}], protocols: [{udp: {destinationPort: {range: {start: 50, end: 60}}}}]}
  - {action: Deny, from: [{namespaces: {}}]}
  egress:
  - {action: Accept, to: [{networks: [192.0.2.0/24]}, {nodes: {matchLabels: {os: linux}}}]}
  - {action: Deny, to: [{networks: [\"0.0.0.0/0\"]}]}
",
    "apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {name: p}
spec:
  tier: Baseline
  priority: 3
  enforcement: Enforce
  disabled: false
  subject: {clusters: {names: [east]}, pods: {namespaceSelector: {}, podSelector: {matchLabels: {app: b}}}}
  ingress:
  - action: Accept
    from:
    - {clusters: {regions: [region-2]}, namespaces: {matchLabels: {team: red}}}
    - {networks: [{cidr: 192.0.2.0/24, except: [192.0.2.0/29]}]}
    protocols: [{tcp: {destinationPort: {range: {start: 80, end: 81}}}}, {icmp: {type: 8, code: 0}}]
  - {action: Deny, from: [{networks: [\"0.0.0.0/0\"]}]}
",
];

const ADDRESSES: [&str; 8] =
    ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.10", "10.2.0.10", "10.2.0.11", "192.0.2.1", "192.0.2.9"];
const TARGETS: [(PortTable, u16); 8] = [
    (PortTable::Tcp, 80),
    (PortTable::Tcp, 81),
    (PortTable::Tcp, 8080),
    (PortTable::Udp, 53),
    (PortTable::Udp, 60),
    (PortTable::Sctp, 80),
    (PortTable::Icmp, 8 << 8),
    (PortTable::Icmp, 8 << 8 | 1),
];

/// What the document's policy decides, for the workloads `b`, between all addresses.
fn verdicts(policy: Policy) -> Vec<Verdict> {
    let mut world = fixture::world();
    for (cluster, n) in [(fixture::EAST, 1), (fixture::WEST, 2)] {
        fixture::namespace(&mut world, cluster, "shop", &[("team", "red")]);
        fixture::namespace(&mut world, cluster, "back", &[("team", "blue")]);
        let first = if n == 1 { 2 } else { 10 };
        fixture::workload(&mut world, cluster, "shop", &format!("10.{n}.0.{first}"), &[("app", "b")]);
        fixture::workload(&mut world, cluster, "shop", &format!("10.{n}.0.{}", first + 1), &[("app", "a")]);
    }
    fixture::workload(&mut world, fixture::EAST, "back", "10.1.0.10", &[("app", "a")]);
    fixture::put_policy(&mut world, Scope::Cluster(fixture::EAST), policy);
    let mut all = Vec::new();
    for (from, to) in ADDRESSES.iter().flat_map(|from| ADDRESSES.iter().map(move |to| (from, to))) {
        for (table, number) in TARGETS {
            let flow = Flow { from: from.parse().unwrap(), to: to.parse().unwrap(), target: Target { table, number } };
            all.push(evaluate(&world, flow).verdict());
        }
    }
    all
}

/// Every place of a value, and what it is called there.
fn places(value: &Value, here: String, all: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let place = format!("{here}/{}", key.replace('~', "~0").replace('/', "~1"));
                all.push(place.clone());
                places(value, place, all);
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| places(item, format!("{here}/{at}"), all));
        }
        _ => {}
    }
}

/// The documents that this one becomes when the field at `place` is lost, misspelt, null or of another type.
fn mutants(whole: &Value, place: &str) -> Vec<(&'static str, Value)> {
    let (parent, key) = place.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    let with = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut mutant = whole.clone();
        change(mutant.pointer_mut(parent).unwrap().as_object_mut().unwrap());
        mutant
    };
    let misspelt = |map: &mut serde_json::Map<String, Value>| {
        let value = map.remove(&key).unwrap();
        map.insert(format!("{key}x"), value);
    };
    vec![
        ("lost", with(&|map| drop(map.remove(&key)))),
        ("misspelt", with(&misspelt)),
        ("null", with(&|map| drop(map.insert(key.clone(), Value::Null)))),
        ("empty", with(&|map| drop(map.insert(key.clone(), Value::Object(Default::default()))))),
        ("a text", with(&|map| drop(map.insert(key.clone(), Value::String("\u{0} ?".into()))))),
        ("a number", with(&|map| drop(map.insert(key.clone(), Value::from(-1))))),
    ]
}

#[test]
fn a_lost_or_garbled_part_never_allows_more() {
    let (mut asked, mut taken) = (0, 0);
    for text in DOCUMENTS {
        let whole: Value = serde_saphyr::from_str(text).unwrap();
        let before = verdicts(parse_policies(text).unwrap().remove(0));
        let mut all = Vec::new();
        places(&whole, String::new(), &mut all);
        for place in all {
            let field = place.rsplit('/').next().unwrap();
            for (how, mutant) in mutants(&whole, &place) {
                asked += 1;
                let Ok(policies) = parse_policies(&mutant.to_string()) else { continue };
                taken += 1;
                // A label is data, as is what an empty selector or port says: not garbled, but another statement.
                let is_data = place.contains("/matchLabels/") || how == "empty";
                let is_optional = how == "lost" && OPTIONAL.iter().any(|(optional, _)| *optional == field);
                if is_data || is_optional {
                    continue;
                }
                let after = verdicts(policies.into_iter().next().unwrap());
                let wider = before.iter().zip(&after).any(|(before, after)| after > before);
                assert!(!wider, "{how}: {place} allows more:\n{mutant:#}");
            }
        }
    }
    assert!(asked > 300 && taken > 20, "{asked} asked, {taken} taken");
}
