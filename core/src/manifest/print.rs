//! A policy as the document that would make it.
use serde_json::{Map, Value, json};

use super::API_VERSION;
use crate::model::{
    Action, ClusterSelector, Enforcement, IpBlock, LabelSelector, Operator, Peer, Peers, Policy, PortMatch, Ports,
    Protocol, Rule, Tier,
};

/// The policy as a `MeshNetworkPolicy` document that means the same, whatever document it was written as. `None` where no
/// such document does: a rule without peers or ports, or with a peer that this version does not know.
#[must_use]
pub fn print_policy(policy: &Policy) -> Option<String> {
    let tier = match policy.tier {
        Tier::Admin => "Admin",
        Tier::Baseline => "Baseline",
        Tier::Namespace => "Namespace",
    };
    let mut metadata = Map::from_iter([("name".to_owned(), json!(policy.name))]);
    metadata.extend(policy.namespace.as_ref().map(|namespace| ("namespace".to_owned(), json!(namespace))));
    let mut spec = Map::new();
    let mut put = |key: &str, value: Value| spec.insert(key.to_owned(), value);
    put("tier", json!(tier));
    if policy.tier != Tier::Namespace {
        put("priority", json!(policy.priority));
    }
    let subject = &policy.subject;
    put("subject", workloads(&subject.clusters, &subject.namespaces, &subject.pods));
    for (key, peers_key, rules) in [("ingress", "from", &policy.ingress), ("egress", "to", &policy.egress)] {
        if let Some(rules) = rules {
            put(key, rules.iter().map(|each| rule(each, peers_key)).collect::<Option<Vec<_>>>()?.into());
        }
    }
    if policy.enforcement == Enforcement::Audit {
        put("enforcement", json!("Audit"));
    }
    if policy.disabled {
        put("disabled", json!(true));
    }
    for (key, text) in [("description", &policy.description), ("owner", &policy.owner)] {
        if !text.is_empty() {
            put(key, json!(text));
        }
    }
    let document = json!({
        "apiVersion": API_VERSION, "kind": "MeshNetworkPolicy", "metadata": metadata, "spec": spec,
    });
    serde_saphyr::to_string(&document).ok()
}

fn workloads(clusters: &ClusterSelector, namespaces: &LabelSelector, pods: &LabelSelector) -> Value {
    let mut map = with_clusters(clusters);
    if *pods == LabelSelector::default() {
        map.insert("namespaces".into(), selector(namespaces));
    } else {
        let parts = json!({"namespaceSelector": selector(namespaces), "podSelector": selector(pods)});
        map.insert("pods".into(), parts);
    }
    map.into()
}

fn with_clusters(clusters: &ClusterSelector) -> Map<String, Value> {
    let value = match clusters {
        ClusterSelector::Own => return Map::new(),
        ClusterSelector::Any => json!({}),
        ClusterSelector::Names(names) => json!({ "names": names }),
        ClusterSelector::Labels(labels) => selector(labels),
    };
    Map::from_iter([("clusters".to_owned(), value)])
}

fn selector(selector: &LabelSelector) -> Value {
    let mut map = Map::new();
    if !selector.match_labels.is_empty() {
        map.insert("matchLabels".into(), json!(selector.match_labels));
    }
    if !selector.match_expressions.is_empty() {
        let each = selector.match_expressions.iter().map(|requirement| {
            let key = &requirement.key;
            match &requirement.operator {
                Operator::In(values) => json!({"key": key, "operator": "In", "values": values}),
                Operator::NotIn(values) => json!({"key": key, "operator": "NotIn", "values": values}),
                Operator::Exists => json!({"key": key, "operator": "Exists"}),
                Operator::DoesNotExist => json!({"key": key, "operator": "DoesNotExist"}),
            }
        });
        map.insert("matchExpressions".into(), each.collect());
    }
    map.into()
}

fn rule(rule: &Rule, peers_key: &str) -> Option<Value> {
    let mut map = Map::new();
    if !rule.name.is_empty() {
        map.insert("name".into(), json!(rule.name));
    }
    let action = match rule.action {
        Action::Accept => "Accept",
        Action::Deny => "Deny",
        Action::Pass => "Pass",
    };
    map.insert("action".into(), json!(action));
    let peers = match &rule.peers {
        // Every address: what `Any` means where there is no other kind of peer.
        Peers::Any => vec![json!({"networks": ["0.0.0.0/0", "::/0"]})],
        Peers::Of(peers) if peers.is_empty() => return None,
        Peers::Of(peers) => peers.iter().map(peer).collect::<Option<_>>()?,
    };
    map.insert(peers_key.to_owned(), peers.into());
    if let Ports::Of(ports) = &rule.ports {
        if ports.is_empty() {
            return None;
        }
        map.insert("protocols".into(), ports.iter().map(port).collect());
    }
    Some(map.into())
}

fn peer(peer: &Peer) -> Option<Value> {
    match peer {
        Peer::Pods { clusters, namespaces, pods } => Some(workloads(clusters, namespaces, pods)),
        Peer::Networks(blocks) if blocks.is_empty() => None,
        Peer::Networks(blocks) => Some(json!({"networks": blocks.iter().map(block).collect::<Vec<_>>()})),
        Peer::Nodes { clusters, nodes } => Some(of_clusters(clusters, "nodes", selector(nodes))),
        Peer::Service { clusters, namespace, name } => {
            Some(of_clusters(clusters, "service", json!({"namespace": namespace, "name": name})))
        }
        Peer::Identities { names, .. } if names.is_empty() => None,
        Peer::Identities { clusters, names } => Some(of_clusters(clusters, "identities", json!(names))),
        Peer::DomainNames(names) if names.is_empty() => None,
        Peer::DomainNames(names) => {
            Some(json!({"domainNames": names.iter().map(ToString::to_string).collect::<Vec<_>>()}))
        }
        Peer::Unknown(_) => None,
    }
}

fn of_clusters(clusters: &ClusterSelector, key: &str, value: Value) -> Value {
    let mut map = with_clusters(clusters);
    map.insert(key.to_owned(), value);
    map.into()
}

fn block(block: &IpBlock) -> Value {
    if block.except.is_empty() { json!(block.cidr) } else { json!({"cidr": block.cidr, "except": block.except}) }
}

fn port(port: &PortMatch) -> Value {
    let (protocol, detail) = match port {
        PortMatch::Protocol(protocol) => (protocol, json!({})),
        PortMatch::Range { protocol, first, last } if first == last => {
            (protocol, json!({"destinationPort": {"number": first}}))
        }
        PortMatch::Range { protocol, first, last } => {
            (protocol, json!({"destinationPort": {"range": {"start": first, "end": last}}}))
        }
        PortMatch::IcmpType { protocol, kind, code: None } => (protocol, json!({"type": kind})),
        PortMatch::IcmpType { protocol, kind, code: Some(code) } => (protocol, json!({"type": kind, "code": code})),
        PortMatch::Named { protocol: None, name } => return json!({ "destinationNamedPort": name }),
        PortMatch::Named { protocol: Some(protocol), name } => (protocol, json!({ "destinationNamedPort": name })),
    };
    json!({ key(*protocol): detail })
}

fn key(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
        Protocol::Icmp => "icmp",
        Protocol::Icmpv6 => "icmpv6",
    }
}
