//! The conformance suite of ClusterNetworkPolicy, as data: its world, policies, steps and probes. Where it is from is said
//! in the file NOTICE beside it.
use std::collections::BTreeMap;

use axle_core::{
    model::{Policy, Protocol, Resource, Scope},
    policy::{Flow, Target, evaluate},
};
use serde_json::Value;

use super::bench::{Bench, ROOMY};

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn pairs(value: &Value) -> Vec<(&str, &str)> {
    value.as_object().expect("labels").iter().map(|(key, value)| (key.as_str(), text(value))).collect()
}

/// The suite's world; its namespaces carry its names in their labels only.
fn world(world: &Value) -> (Bench, BTreeMap<String, String>) {
    let mut bench = Bench::new(ROOMY);
    bench.cluster("suite", &[], &["10.244.0.0/16"]);
    bench.node("suite", "n1", &[], "172.18.0.9");
    for (of, node) in world["nodes"].as_object().expect("nodes") {
        bench.node("suite", of, &pairs(&node["labels"]), text(&node["ips"][0]));
    }
    for (of, labels) in world["namespaces"].as_object().expect("namespaces") {
        bench.namespace("suite", &namespace(of), &pairs(labels));
    }
    let mut addresses = BTreeMap::new();
    for (at, pod) in world["pods"].as_object().expect("pods") {
        let (of, name) = at.split_once('/').expect("namespace/name");
        bench.workload(&format!("suite/{}/{name}", namespace(of)), &pairs(&pod["labels"]), text(&pod["ip"]));
        addresses.insert(at.clone(), text(&pod["ip"]).to_owned());
    }
    (bench, addresses)
}

fn namespace(of: &str) -> String {
    format!("network-policy-conformance-{of}")
}

/// A policy as users write it: the data has `null` for an empty pod selector.
fn document(value: &Value) -> String {
    value.to_string().replace("\"podSelector\":null", "\"podSelector\":{}")
}

fn probe(bench: &Bench, addresses: &BTreeMap<String, String>, step: &Value, title: &str) {
    let protocol = match text(&step["protocol"]) {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        other => panic!("{other}"),
    };
    let address = |key: &str| addresses[text(&step[key])].parse().expect("an address");
    let number = u16::try_from(step["port"].as_u64().expect("a port")).expect("a port");
    let flow = Flow { from: address("from"), to: address("to"), target: Target { table: protocol.into(), number } };
    assert_eq!(Some(bench.verdict(flow)), step["allow"].as_bool(), "{title}: {step}");
    let decision = evaluate(&bench.world, flow);
    for by in step["decidedBy"].as_array().expect("who decides") {
        let by: Vec<_> = by.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
        let (Some(rule), true) = (by.last(), by.iter().any(|word| matches!(*word, "Accept" | "Deny"))) else {
            continue;
        };
        let side = if by[0] == "egress" { decision.egress } else { decision.ingress };
        if rule.contains('[') {
            assert_eq!(side.and_then(|side| bench.decider(&side)).as_deref(), Some(*rule), "{title}: {step}");
        }
    }
}

#[test]
fn every_probe_of_the_suite() {
    let all: Value = serde_json::from_str(include_str!("cnp_vectors.json")).expect("JSON");
    let (mut tests, mut probes) = (0, 0);
    let (mut bench, addresses) = world(&all["world"]);
    let suite = bench.scope("suite");
    for test in all["tests"].as_array().expect("tests") {
        tests += 1;
        bench.clear();
        for policy in ["cnp", "np"].iter().flat_map(|kind| test["initial"][kind].as_array().expect("policies")) {
            bench.apply(suite, &document(policy));
        }
        let steps = test["subtests"].as_array().expect("subtests").iter();
        for step in steps.flat_map(|subtest| subtest["steps"].as_array().expect("steps")) {
            match text(&step["op"]) {
                "replaceCNP" => bench.apply(suite, &document(&step["cnp"])),
                "setNamespaceLabels" => {
                    bench.namespace("suite", &namespace(text(&step["namespace"])), &pairs(&step["labels"]));
                }
                "deleteNetworkPolicy" => {
                    let keep: Vec<_> = cluster_policies(&bench, suite);
                    bench.clear();
                    for policy in keep {
                        bench.put(suite, &policy.title(), Resource::Policy(policy));
                    }
                }
                "probe" => {
                    probes += 1;
                    probe(&bench, &addresses, step, text(&test["test"]));
                }
                other => panic!("{other}"),
            }
        }
    }
    assert_eq!((tests, probes), (24, 301), "all of them");
}

fn cluster_policies(bench: &Bench, scope: Scope) -> Vec<Policy> {
    let of_cluster =
        bench.world.policies().filter(|(object, policy)| object.key.scope == scope && policy.namespace.is_none());
    of_cluster.map(|(_, policy)| policy.clone()).collect()
}
