//! `MeshNetworkPolicy`: the shape of ClusterNetworkPolicy (`policy.networking.k8s.io/v1alpha2`), with cluster selectors
//! on subject and peers, networks and nodes as peers of both directions, ICMP types and audit.
//!
//! Absent is not empty: without `clusters` a selector is about the policy's own clusters, with `clusters: {}` about all;
//! an absent `protocols` is every protocol, an empty one is refused.
use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    Violation,
    inventory::port_name,
    labels::selector,
    reader::{At, Faults, Map},
};
use crate::model::{
    Action, ClusterSelector, Enforcement, IpBlock, LabelSelector, Peer, Peers, Policy, PortMatch, Ports, Protocol,
    Rule, Subject, Tier,
};

/// The lowest priority.
pub(crate) const MAX_PRIORITY: u16 = 1000;
/// The longest rule name, as ClusterNetworkPolicy has it.
const MAX_RULE_NAME: usize = 100;

pub(super) fn read(map: &Map<'_>, faults: &mut Faults) -> Option<Policy> {
    let name = map.required("metadata", faults).and_then(|at| {
        let metadata = at.map(faults)?;
        let name = metadata.required("name", faults).and_then(|at| at.name(faults));
        metadata.finish(faults);
        name
    });
    let spec = map.required("spec", faults).and_then(|at| at.map(faults));
    map.finish(faults);
    let spec = spec?;
    let tiers = [("Admin", Tier::Admin), ("Baseline", Tier::Baseline)];
    let tier = spec.required("tier", faults).and_then(|at| at.choice(&tiers, faults));
    let priority = spec.required("priority", faults).and_then(|at| at.integer(0..=MAX_PRIORITY, faults));
    let subject = spec.required("subject", faults).and_then(|at| subject(&at, faults));
    let ingress = spec.optional("ingress").map(|at| rules(&at, "from", faults));
    let egress = spec.optional("egress").map(|at| rules(&at, "to", faults));
    let modes = [("Enforce", Enforcement::Enforce), ("Audit", Enforcement::Audit)];
    let enforcement = spec.optional("enforcement").map_or(Some(Enforcement::Enforce), |at| at.choice(&modes, faults));
    let disabled = spec.optional("disabled").map_or(Some(false), |at| at.bool(faults));
    let mut text = |key| spec.optional(key).map_or(Some(""), |at| at.text(faults));
    let (description, owner) = (text("description"), text("owner"));
    spec.finish(faults);
    if ingress.is_none() && egress.is_none() {
        let violation = spec.at.violation("neither ingress nor egress", "rules for at least one direction");
        faults.add(Violation { code: "missing-field", fix: "add ingress or egress".into(), ..violation });
    }
    Some(Policy {
        name: name?,
        namespace: None,
        tier: tier?,
        priority: priority?,
        subject: subject?,
        ingress: transpose(ingress)?,
        egress: transpose(egress)?,
        enforcement: enforcement?,
        disabled: disabled?,
        description: description?.to_owned(),
        owner: owner?.to_owned(),
    })
}

/// An absent direction is fine, a faulty one is not.
fn transpose(rules: Option<Option<Vec<Rule>>>) -> Option<Option<Vec<Rule>>> {
    match rules {
        None => Some(None),
        Some(rules) => rules.map(Some),
    }
}

fn subject(at: &At<'_>, faults: &mut Faults) -> Option<Subject> {
    let map = at.map(faults)?;
    let clusters = clusters(&map, faults);
    let found = one_of(&map, &["namespaces", "pods"], faults);
    let workloads = workloads(&map, faults);
    map.finish(faults);
    found?;
    let (namespaces, pods) = workloads??;
    Some(Subject { clusters: clusters?, namespaces, pods })
}

/// Exactly one of these fields, or a violation.
fn one_of(map: &Map<'_>, keys: &[&'static str], faults: &mut Faults) -> Option<&'static str> {
    match map.present(keys)[..] {
        [one] => Some(one),
        [] => {
            let violation = map.at.violation("none of them", format!("one of {}", keys.join(", ")));
            let fix = "say which; `namespaces: {}` is every workload".into();
            faults.add(Violation { code: "missing-field", fix, ..violation });
            None
        }
        ref several => {
            let violation = map.at.violation(several.join(" and "), format!("exactly one of {}", keys.join(", ")));
            faults.add(Violation { fix: "use one, or write two items".into(), ..violation });
            None
        }
    }
}

/// The selectors of `namespaces` or of `pods`: outer `None` where neither is there, inner where they are faulty.
fn workloads(map: &Map<'_>, faults: &mut Faults) -> Option<Option<(LabelSelector, LabelSelector)>> {
    let namespaces = map.optional("namespaces").map(|at| Some((selector(&at, faults)?, LabelSelector::default())));
    let pods = map.optional("pods").map(|at| {
        let map = at.map(faults)?;
        let mut part = |key| map.optional(key).map_or(Some(LabelSelector::default()), |at| selector(&at, faults));
        let (namespaces, pods) = (part("namespaceSelector"), part("podSelector"));
        map.finish(faults);
        Some((namespaces?, pods?))
    });
    namespaces.or(pods)
}

/// `clusters`: absent is the policy's own; `names` or a label selector say which; empty is all.
fn clusters(map: &Map<'_>, faults: &mut Faults) -> Option<ClusterSelector> {
    let Some(at) = map.optional("clusters") else { return Some(ClusterSelector::Own) };
    let inner = at.map(faults)?;
    if inner.present(&["names"]).is_empty() {
        let selector = selector_or_names(&inner, &at, faults)?;
        let all = selector == LabelSelector::default();
        return Some(if all { ClusterSelector::Any } else { ClusterSelector::Labels(selector) });
    }
    let names = inner.optional("names").and_then(|at| {
        let items = at.some_list("name the clusters, or write `clusters: {}` for all", faults)?;
        items.iter().map(|item| item.name(faults)).collect::<Option<Vec<_>>>()
    });
    inner.finish(faults);
    names.map(ClusterSelector::Names)
}

/// A label selector where `names` would have been right too, so that a misspelt `names` is recognised.
fn selector_or_names(map: &Map<'_>, at: &At<'_>, faults: &mut Faults) -> Option<LabelSelector> {
    let known = map.present(&["matchLabels", "matchExpressions"]).len();
    if map.entries().count() == known {
        return selector(at, faults);
    }
    for key in ["names", "matchLabels", "matchExpressions"] {
        map.optional(key);
    }
    map.finish(faults);
    None
}

fn rules(at: &At<'_>, peers_key: &'static str, faults: &mut Faults) -> Option<Vec<Rule>> {
    let items = at.list(faults)?;
    items.iter().map(|item| rule(item, peers_key, faults)).collect::<Vec<_>>().into_iter().collect()
}

fn rule(at: &At<'_>, peers_key: &'static str, faults: &mut Faults) -> Option<Rule> {
    let map = at.map(faults)?;
    let name = map.optional("name").map_or(Some(""), |at| {
        let name = at.text(faults)?;
        if name.chars().count() > MAX_RULE_NAME {
            at.invalid(format!("at most {MAX_RULE_NAME} characters"), "", faults);
        }
        Some(name)
    });
    let actions = [("Accept", Action::Accept), ("Deny", Action::Deny), ("Pass", Action::Pass)];
    let action = map.required("action", faults).and_then(|at| at.choice(&actions, faults));
    let peers = map.required(peers_key, faults).and_then(|at| {
        let fix = "for every address write `networks: [0.0.0.0/0, \"::/0\"]`, for every workload `namespaces: {}`";
        let items = at.some_list(fix, faults)?;
        items.iter().map(|item| peer(item, faults)).collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()
    });
    let ports = map.optional("protocols").map_or(Some(Ports::Any), |at| {
        let items = at.some_list("leave protocols out for every protocol", faults)?;
        let ports = items.iter().map(|item| port(item, faults)).collect::<Vec<_>>();
        ports.into_iter().collect::<Option<Vec<_>>>().map(Ports::Of)
    });
    map.finish(faults);
    Some(Rule { name: name?.to_owned(), action: action?, peers: Peers::Of(peers?), ports: ports? })
}

fn peer(at: &At<'_>, faults: &mut Faults) -> Option<Peer> {
    let map = at.map(faults)?;
    let found = one_of(&map, &["namespaces", "pods", "networks", "nodes"], faults);
    let clusters = clusters(&map, faults);
    let workloads = workloads(&map, faults);
    let networks = map.optional("networks");
    let nodes = map.optional("nodes").map(|at| selector(&at, faults));
    map.finish(faults);
    match found? {
        "networks" => {
            if !map.present(&["clusters"]).is_empty() {
                map.at.invalid("networks without clusters", "remove clusters: a network is where it is", faults);
            }
            let items = networks?.some_list("give at least one network", faults)?;
            let blocks = items.iter().map(|item| block(item, faults)).collect::<Vec<_>>();
            blocks.into_iter().collect::<Option<Vec<_>>>().map(Peer::Networks)
        }
        "nodes" => Some(Peer::Nodes { clusters: clusters?, nodes: nodes?? }),
        _ => {
            let (namespaces, pods) = workloads??;
            Some(Peer::Pods { clusters: clusters?, namespaces, pods })
        }
    }
}

/// A network: `10.0.0.0/8`, or `{cidr, except}`.
fn block(at: &At<'_>, faults: &mut Faults) -> Option<IpBlock> {
    if at.is_text() {
        return Some(IpBlock { cidr: cidr(at, faults)?, except: Vec::new() });
    }
    let map = at.map(faults)?;
    let outer = map.required("cidr", faults).and_then(|at| cidr(&at, faults));
    let holes = map.optional("except").map_or(Some(Vec::new()), |at| at.list(faults));
    map.finish(faults);
    let (outer, holes) = (outer?, holes?);
    let mut except = BTreeSet::new();
    for at in holes {
        let hole = cidr(&at, faults)?;
        if !outer.contains(&hole) || hole == outer {
            at.invalid(format!("a part of {outer}"), "remove it, or widen cidr", faults);
        }
        except.insert(hole);
    }
    Some(IpBlock { cidr: outer, except: except.into_iter().collect() })
}

fn cidr(at: &At<'_>, faults: &mut Faults) -> Option<IpNet> {
    let want = "a network such as 10.0.0.0/8 or fd00::/8";
    let net: IpNet = at.parsed(want, faults)?;
    if net.addr() != net.network() {
        at.invalid("a network without host bits", format!("write {}", net.trunc()), faults);
        return None;
    }
    Some(net)
}

/// The protocols that have ports, by name.
pub(super) fn port_protocol() -> [(&'static str, Protocol); 3] {
    [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)]
}

fn port(at: &At<'_>, faults: &mut Faults) -> Option<PortMatch> {
    let map = at.map(faults)?;
    let found = one_of(&map, &["tcp", "udp", "sctp", "icmp", "icmpv6", "destinationNamedPort"], faults);
    let transport = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("sctp", Protocol::Sctp)]
        .into_iter()
        .filter_map(|(key, protocol)| Some(numbered(&map.optional(key)?, protocol, faults)))
        .collect::<Vec<_>>();
    let icmp = [("icmp", Protocol::Icmp), ("icmpv6", Protocol::Icmpv6)]
        .into_iter()
        .filter_map(|(key, protocol)| Some(icmp_type(&map.optional(key)?, protocol, faults)))
        .collect::<Vec<_>>();
    let named = map.optional("destinationNamedPort").map(|at| port_name(&at, faults));
    map.finish(faults);
    match found? {
        "destinationNamedPort" => Some(PortMatch::Named { protocol: None, name: named?? }),
        "icmp" | "icmpv6" => icmp.into_iter().next()?,
        _ => transport.into_iter().next()?,
    }
}

/// `{}` is every port; `destinationPort` has `number` or `range`.
fn numbered(at: &At<'_>, protocol: Protocol, faults: &mut Faults) -> Option<PortMatch> {
    let map = at.map(faults)?;
    let port = map.optional("destinationPort");
    map.finish(faults);
    let Some(port) = port else { return Some(PortMatch::Protocol(protocol)) };
    let map = port.map(faults)?;
    let found = one_of(&map, &["number", "range"], faults);
    let number = map.optional("number").and_then(|at| at.integer(1..=u16::MAX, faults));
    let range = map.optional("range").and_then(|at| {
        let map = at.map(faults)?;
        let first = map.required("start", faults).and_then(|at| at.integer(1..=u16::MAX, faults));
        let last = map.required("end", faults).and_then(|at| at.integer(1..=u16::MAX, faults));
        map.finish(faults);
        let (first, last) = (first?, last?);
        if first > last {
            faults.add(Violation {
                fix: "exchange them".into(),
                ..map.at.violation(format!("start {first} after end {last}"), "start not greater than end")
            });
        }
        Some((first, last))
    });
    map.finish(faults);
    let (first, last) = if found? == "number" { (number?, number?) } else { range? };
    Some(PortMatch::Range { protocol, first, last })
}

/// `{}` is every type.
fn icmp_type(at: &At<'_>, protocol: Protocol, faults: &mut Faults) -> Option<PortMatch> {
    let map = at.map(faults)?;
    let code_at = map.optional("code");
    let kind_at = if code_at.is_some() { map.required("type", faults) } else { map.optional("type") };
    map.finish(faults);
    let code = code_at.map_or(Some(None), |at| at.integer(0..=u8::MAX, faults).map(Some));
    match kind_at {
        None => code?.is_none().then_some(PortMatch::Protocol(protocol)),
        Some(at) => Some(PortMatch::IcmpType { protocol, kind: at.integer(0..=u8::MAX, faults)?, code: code? }),
    }
}
