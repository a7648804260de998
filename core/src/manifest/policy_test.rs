//! `PolicyTest`: assertions about who may talk to whom.
use super::{
    Violation,
    labels::labels,
    reader::{At, Faults, Map},
};
use crate::model::{Action, Assertion, ExpectedRule, Name, PolicyTest, Protocol, TestEnd};

const PROTOCOLS: [(&str, Protocol); 5] = [
    ("TCP", Protocol::Tcp),
    ("UDP", Protocol::Udp),
    ("SCTP", Protocol::Sctp),
    ("ICMP", Protocol::Icmp),
    ("ICMPv6", Protocol::Icmpv6),
];

pub(super) fn read(map: &Map<'_>, faults: &mut Faults) -> Option<PolicyTest> {
    let name = map.required("metadata", faults).and_then(|at| {
        let metadata = at.map(faults)?;
        let name = metadata.required("name", faults).and_then(|at| at.name(faults));
        metadata.finish(faults);
        name
    });
    let spec = map.required("spec", faults).and_then(|at| at.map(faults));
    map.finish(faults);
    let spec = spec?;
    let description = spec.optional("description").map_or(Some(""), |at| at.text(faults));
    let assertions = spec.required("assertions", faults).and_then(|at| {
        let items = at.some_list("say what must hold", faults)?;
        items.iter().map(|item| assertion(item, faults)).collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()
    });
    spec.finish(faults);
    Some(PolicyTest { name: name?, description: description?.to_owned(), assertions: assertions? })
}

fn assertion(at: &At<'_>, faults: &mut Faults) -> Option<Assertion> {
    let map = at.map(faults)?;
    let name = map.optional("name").map_or(Some(""), |at| at.text(faults));
    let from = map.required("from", faults).and_then(|at| end(&at, faults));
    let to = map.required("to", faults).and_then(|at| end(&at, faults));
    let protocol = map.optional("protocol").map_or(Some(Protocol::Tcp), |at| at.choice(&PROTOCOLS, faults));
    let port = protocol.and_then(|protocol| port(&map, protocol, faults));
    let verdicts = [("Accept", Action::Accept), ("Deny", Action::Deny)];
    let verdict = map.required("verdict", faults).and_then(|at| at.choice(&verdicts, faults));
    let rule = map.optional("rule").map(|at| rule(&at, faults));
    map.finish(faults);
    Some(Assertion {
        name: name?.to_owned(),
        from: from?,
        to: to?,
        protocol: protocol?,
        port: port?,
        verdict: verdict?,
        rule: match rule {
            None => None,
            Some(rule) => Some(rule?),
        },
    })
}

/// `port`, or of ICMP `type` and `code`.
fn port(map: &Map<'_>, protocol: Protocol, faults: &mut Faults) -> Option<u16> {
    if matches!(protocol, Protocol::Icmp | Protocol::Icmpv6) {
        let kind: Option<u8> = map.required("type", faults).and_then(|at| at.integer(0..=u8::MAX, faults));
        let code = map.optional("code").map_or(Some(0), |at| at.integer(0..=u8::MAX, faults));
        return Some(u16::from_be_bytes([kind?, code?]));
    }
    map.required("port", faults).and_then(|at| at.integer(1..=u16::MAX, faults))
}

/// `workload`, `address`, or `labels` with `namespace` and perhaps `clusters`.
fn end(at: &At<'_>, faults: &mut Faults) -> Option<TestEnd> {
    let map = at.map(faults)?;
    let given = map.present(&["workload", "labels", "address"]);
    let workload = map.optional("workload").map(|at| workload(&at, faults));
    let address = map.optional("address").map(|at| at.parsed("an IPv4 or IPv6 address", faults));
    let by_labels = map.optional("labels").map(|at| labels(&at, faults));
    let found = match given[..] {
        ["workload"] => workload?,
        ["address"] => address?.map(TestEnd::Address),
        ["labels"] => {
            let namespace = map.required("namespace", faults).and_then(|at| at.name(faults));
            let clusters = map.optional("clusters").map_or(Some(Vec::new()), |at| {
                let items = at.some_list("name the clusters, or leave clusters out for all", faults)?;
                items.iter().map(|item| item.name(faults)).collect()
            });
            by_labels?.zip(namespace).zip(clusters).map(|((labels, namespace), clusters)| TestEnd::Labels {
                clusters,
                namespace,
                labels,
            })
        }
        _ => {
            let violation = map.at.violation(
                if given.is_empty() { "none of them".into() } else { given.join(" and ") },
                "exactly one of workload, labels, address",
            );
            let fix = "write {workload: CLUSTER/NAMESPACE/NAME}, {namespace: N, labels: {…}} or {address: A}".into();
            faults.add(Violation { code: "missing-field", fix, ..violation });
            None
        }
    };
    map.finish(faults);
    found
}

fn workload(at: &At<'_>, faults: &mut Faults) -> Option<TestEnd> {
    let parts: Vec<_> = at.text(faults)?.split('/').map(Name::new).collect();
    let [Ok(cluster), Ok(namespace), Ok(name)] = parts.as_slice() else {
        at.invalid("CLUSTER/NAMESPACE/NAME", "name both cluster and namespace", faults);
        return None;
    };
    Some(TestEnd::Workload { cluster: cluster.clone(), namespace: namespace.clone(), name: name.clone() })
}

/// `POLICY` or `POLICY/RULE`, the policy with its namespace before it if it has one.
fn rule(at: &At<'_>, faults: &mut Faults) -> Option<ExpectedRule> {
    let text = at.text(faults)?;
    let (policy, rule) = text.split_once('/').map_or((text, None), |(policy, rule)| (policy, Some(rule)));
    match (Name::new(policy), rule) {
        (Ok(policy), rule) if rule.is_none_or(|rule| !rule.is_empty()) => {
            Some(ExpectedRule { policy, rule: rule.map(str::to_owned) })
        }
        _ => {
            at.invalid(
                "[NAMESPACE/]POLICY, or [NAMESPACE/]POLICY/RULE with the rule's name or its place as ingress[0]",
                "",
                faults,
            );
            None
        }
    }
}
