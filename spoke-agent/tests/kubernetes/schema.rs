//! What the schema of MeshNetworkPolicy refuses, the reader refuses too; and what it lets through that the reader refuses,
//! it keeps for the reader to see.
use axle_core::manifest::parse_policies;
use serde_json::Value;

use crate::stage::{Stage, yaml};

fn policy(spec: &str) -> Value {
    yaml(&format!(
        "{{apiVersion: axle.dev/v1alpha1, kind: MeshNetworkPolicy, metadata: {{name: p}}, spec: {{{spec}}}}}"
    ))
}

const ADMIN: &str = "tier: Admin, priority: 1, subject: {namespaces: {}}";

fn ingress(rule: &str) -> Value {
    policy(&format!("{ADMIN}, ingress: [{{action: Accept, {rule}}}]"))
}

fn egress(action: &str, peer: &str) -> Value {
    policy(&format!("{ADMIN}, egress: [{{action: {action}, to: [{peer}]}}]"))
}

fn port(port: &str) -> Value {
    ingress(&format!("from: [{{namespaces: {{}}}}], protocols: [{port}]"))
}

fn bad() -> Vec<(Value, &'static str)> {
    vec![
        (policy("tier: Admin, priority: 1, subject: {namespaces: {}}"), "add ingress or egress"),
        (policy("priority: 1, subject: {namespaces: {}}, ingress: []"), "spec.tier"),
        (policy("tier: Upper, priority: 1, subject: {namespaces: {}}, ingress: []"), "Unsupported value: \"Upper\""),
        (policy("tier: Admin, subject: {namespaces: {}}, ingress: []"), "priority is wanted in the tiers Admin"),
        (policy("tier: Admin, priority: 1001, subject: {namespaces: {}}, ingress: []"), "less than or equal to 1000"),
        (policy("tier: Namespace, priority: 1, subject: {namespaces: {}}, ingress: []"), "and in no other"),
        (
            policy("tier: Namespace, subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}]}]"),
            "every rule of the tier Namespace accepts",
        ),
        (policy("tier: Admin, priority: 1, ingress: []"), "spec.subject"),
        (policy("tier: Admin, priority: 1, subject: {}, ingress: []"), "exactly one of namespaces and pods"),
        (policy("tier: Admin, priority: 1, subject: {pods: {}}, ingress: []"), "spec.subject.pods.podSelector"),
        (policy(&format!("{ADMIN}, ingress: null")), "add ingress or egress"),
        (policy(&format!("{ADMIN}, ingress: [], enforcement: Maybe")), "Unsupported value: \"Maybe\""),
        (policy(&format!("{ADMIN}, ingress: [{{from: [{{namespaces: {{}}}}]}}]")), "spec.ingress[0].action"),
        (ingress("from: []"), "spec.ingress[0].from"),
        (ingress("from: [{}]"), "(oneOf)"),
        (ingress("from: [{namespaces: {}, nodes: {}}]"), "exactly one of namespaces, pods, networks"),
        (ingress("from: [{namespaces: {}, networks: [10.0.0.0/8]}]"), "(oneOf)"),
        (ingress("from: [{clusters: {}, networks: [10.0.0.0/8]}]"), "must not validate the schema (not)"),
        (egress("Accept", "{clusters: {}, domainNames: [a.example.com]}"), "an address is where it is"),
        (ingress("from: [{clusters: {names: [a], regions: [b]}, namespaces: {}}]"), "a name says all"),
        (ingress("from: [{clusters: {names: []}, namespaces: {}}]"), "names"),
        (ingress("from: [{domainNames: [a.example.com]}]"), "egress rules only"),
        (ingress("from: [{service: {namespace: a}}]"), "service.name"),
        (ingress("from: [{identities: [x]}]"), "identities[0]"),
        (
            ingress("from: [{namespaces: {matchExpressions: [{key: a, operator: In}]}}]"),
            "values are wanted with In and NotIn",
        ),
        (
            ingress("from: [{namespaces: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}]"),
            "values are wanted with In and NotIn",
        ),
        (ingress("from: [{namespaces: {matchExpressions: [{key: a, operator: Like}]}}]"), "operator"),
        (egress("Deny", "{domainNames: [a.example.com]}"), "rules that accept only"),
        (egress("Pass", "{service: {namespace: a, name: b}}"), "rules that accept only"),
        (egress("Accept", "{domainNames: [com]}"), "domainNames[0]"),
        (egress("Accept", "{domainNames: [\"a.*.example.com\"]}"), "domainNames[0]"),
        (ingress("from: [{namespaces: {}}], protocols: []"), "protocols"),
        (port("{}"), "exactly one of tcp, udp, sctp"),
        (port("{tcp: {}, udp: {}}"), "exactly one of tcp, udp, sctp"),
        (port("{tcp: {destinationPort: {}}}"), "exactly one of number and range"),
        (port("{tcp: {destinationPort: {number: 0}}}"), "greater than or equal to 1"),
        (port("{tcp: {destinationPort: {number: 65536}}}"), "less than or equal to 65535"),
        (port("{tcp: {destinationPort: {range: {start: 9, end: 8}}}}"), "exchange them"),
        (port("{tcp: {destinationPort: {number: 1}, destinationNamedPort: a}}"), "one of destinationPort and"),
        (port("{destinationNamedPort: \"80\"}"), "destinationNamedPort"),
        (port("{destinationNamedPort: a--b}"), "destinationNamedPort"),
        (port("{icmp: {code: 1}}"), "add type"),
        (port("{icmp: {type: 256}}"), "less than or equal to 255"),
    ]
}

fn good() -> Vec<Value> {
    vec![
        policy("tier: Namespace, subject: {clusters: {}, pods: {podSelector: {}}}, ingress: [], egress: []"),
        policy(&format!("{ADMIN}, egress: [], enforcement: Audit, disabled: true, description: d, owner: o")),
        ingress("name: x, from: [{clusters: {regions: [eu], matchLabels: {a: b}}, pods: {podSelector: {}}}]"),
        ingress("from: [{networks: [10.0.0.0/8, {cidr: \"fd00::/8\", except: [\"fd00:1::/32\"]}]}]"),
        egress("Accept", "{domainNames: [\"*.example.com.\"]}, {service: {namespace: a, name: b}}"),
        egress("Deny", "{identities: [\"0123456789abcdef0123456789abcdef\"]}, {clusters: {names: [a]}, nodes: {}}"),
        port("{tcp: {}}, {udp: {destinationPort: {range: {start: 5, end: 5}}}}, {sctp: {destinationNamedPort: a1}}"),
        port("{icmp: {}}, {icmpv6: {type: 128, code: 0}}, {destinationNamedPort: 9p-a}"),
    ]
}

#[tokio::test]
async fn the_schema_is_as_strict_as_it_can_be_and_never_stricter_than_the_reader() {
    let stage = Stage::new().await;
    for (document, why) in bad() {
        let refused = stage.judge(&document).await.map(|object| object.data).unwrap_err();
        assert!(refused.contains(why), "{why:?} in {refused}");
        assert!(parse_policies(&document.to_string()).is_err(), "the reader takes {document}");
    }
    for document in good() {
        parse_policies(&document.to_string()).unwrap_or_else(|violations| panic!("{document}: {violations:?}"));
        stage.judge(&document).await.unwrap_or_else(|error| panic!("{document}: {error}"));
    }
    // Without its only field a selector would select everything, and a rule be about every protocol.
    let misspelt =
        policy("tier: Admin, priority: 1, subject: {pods: {podSelector: {matchLabel: {a: b}}}}, ingress: []");
    let nothing = ingress("from: [{namespaces: {}}], protocols: null");
    for document in [misspelt, nothing] {
        let kept = stage.judge(&document).await.unwrap().data["spec"].clone();
        assert_eq!(kept, document["spec"], "for the reader to see");
        assert!(parse_policies(&document.to_string()).is_err(), "and to refuse");
    }
    let export = yaml(
        "{apiVersion: multicluster.x-k8s.io/v1beta1, kind: ServiceExport, metadata: {name: a, namespace: default}}",
    );
    stage.judge(&export).await.expect("an export needs no specification");
}
