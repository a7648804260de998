//! `networking.k8s.io/v1` NetworkPolicy.
//!
//! As Kubernetes has it: absent or empty `from` and `to` are every peer, absent or empty `ports` every port; a direction is
//! selected by `policyTypes`, and without that by default (ingress always, egress if it has rules).
use super::{
    Violation,
    blocks::{masked, with_holes},
    kubernetes::metadata,
    labels::selector,
    ports::{port_name, port_protocol},
    reader::{At, Faults, Map},
    selectors::{in_namespace, or_all},
};
use crate::model::{
    Action, ClusterSelector, Enforcement, LabelSelector, Name, Peer, Peers, Policy, PortMatch, Ports, Protocol, Rule,
    Subject, Tier,
};

pub(super) fn read(map: &Map<'_>, faults: &mut Faults) -> Option<Policy> {
    let metadata = metadata(map, true, faults);
    let spec = map.required("spec", faults).and_then(|at| at.map(faults));
    map.finish(faults);
    let (spec, (namespace, name)) = (spec?, metadata?);
    let pods = spec.required("podSelector", faults).and_then(|at| selector(&at, faults));
    let ingress = rules(&spec, "ingress", "from", namespace.as_ref(), faults);
    let egress = rules(&spec, "egress", "to", namespace.as_ref(), faults);
    let types = types(&spec, faults);
    spec.finish(faults);
    let (ingress, egress) = (ingress?, egress?);
    let [selects_ingress, selects_egress] = types?.unwrap_or([true, !egress.is_empty()]);
    Some(Policy {
        name,
        namespace,
        tier: Tier::Namespace,
        priority: 0,
        subject: Subject { clusters: ClusterSelector::Own, namespaces: LabelSelector::default(), pods: pods? },
        ingress: selects_ingress.then_some(ingress),
        egress: selects_egress.then_some(egress),
        enforcement: Enforcement::Enforce,
        disabled: false,
        description: String::new(),
        owner: String::new(),
    })
}

/// Whether ingress and egress are selected; inner `None`: it does not say.
fn types(spec: &Map<'_>, faults: &mut Faults) -> Option<Option<[bool; 2]>> {
    let Some(at) = spec.optional("policyTypes") else { return Some(None) };
    let items = at.list(faults)?;
    let mut selected = [false; 2];
    for item in &items {
        selected[item.choice(&[("Ingress", 0), ("Egress", 1)], faults)?] = true;
    }
    Some((!items.is_empty()).then_some(selected))
}

fn rules(
    spec: &Map<'_>,
    key: &'static str,
    peers_key: &'static str,
    namespace: Option<&Name>,
    faults: &mut Faults,
) -> Option<Vec<Rule>> {
    let Some(at) = spec.optional(key) else { return Some(Vec::new()) };
    let items = at.list(faults)?;
    let rules: Vec<_> = items.iter().map(|item| rule(item, peers_key, namespace, faults)).collect();
    rules.into_iter().collect()
}

fn rule(at: &At<'_>, peers_key: &'static str, namespace: Option<&Name>, faults: &mut Faults) -> Option<Rule> {
    let map = at.map(faults)?;
    let (peers_at, ports_at) = (map.optional(peers_key), map.optional("ports"));
    map.finish(faults);
    let peers = peers_at.map_or(Some(Vec::new()), |at| {
        let peers: Vec<_> = at.list(faults)?.iter().map(|item| peer(item, namespace, faults)).collect();
        peers.into_iter().collect::<Option<Vec<_>>>()
    });
    let ports = ports_at.map_or(Some(Vec::new()), |at| {
        let ports: Vec<_> = at.list(faults)?.iter().map(|item| port(item, faults)).collect();
        ports.into_iter().collect::<Option<Vec<_>>>()
    });
    let (peers, ports) = (peers?, ports?);
    Some(Rule {
        name: String::new(),
        action: Action::Accept,
        peers: if peers.is_empty() { Peers::Any } else { Peers::Of(peers) },
        ports: if ports.is_empty() { Ports::Any } else { Ports::Of(ports) },
    })
}

fn peer(at: &At<'_>, namespace: Option<&Name>, faults: &mut Faults) -> Option<Peer> {
    let map = at.map(faults)?;
    let [block, namespaces, pods] = ["ipBlock", "namespaceSelector", "podSelector"].map(|key| map.optional(key));
    map.finish(faults);
    if let Some(block) = block {
        if namespaces.is_some() || pods.is_some() {
            let fix = "write two items: one that matches is enough";
            map.at.invalid("ipBlock alone", fix, faults);
        }
        return with_holes(&block.map(faults)?, masked, faults).map(|block| Peer::Networks(vec![block]));
    }
    let namespaces = match (namespaces, &pods) {
        (Some(at), _) => selector(&at, faults)?,
        // Only pods: those of the policy's own namespace.
        (None, Some(_)) => in_namespace(namespace?.as_str()),
        (None, None) => {
            let violation = map.at.violation("none of them", "podSelector, namespaceSelector or ipBlock");
            let fix = "say which, or leave the list out for every peer";
            faults.add(Violation { code: "missing-field", fix: fix.into(), ..violation });
            return None;
        }
    };
    Some(Peer::Pods { clusters: ClusterSelector::Own, namespaces, pods: or_all(pods, faults)? })
}

fn port(at: &At<'_>, faults: &mut Faults) -> Option<PortMatch> {
    let map = at.map(faults)?;
    let protocol = map.optional("protocol").map_or(Some(Protocol::Tcp), |at| at.choice(&port_protocol(), faults));
    let (port_at, end_at) = (map.optional("port"), map.optional("endPort"));
    map.finish(faults);
    let protocol = protocol?;
    let number = |at: &At<'_>, faults: &mut Faults| at.integer(1..=u16::MAX, faults);
    match (port_at, end_at) {
        (None, None) => Some(PortMatch::Protocol(protocol)),
        (Some(at), None) if !at.is_integer() => {
            Some(PortMatch::Named { protocol: Some(protocol), name: port_name(&at, faults)? })
        }
        (Some(at), None) => {
            let first = number(&at, faults)?;
            Some(PortMatch::Range { protocol, first, last: first })
        }
        (Some(at), Some(end_at)) if at.is_integer() => {
            let (first, last) = (number(&at, faults)?, number(&end_at, faults)?);
            if last < first {
                end_at.invalid(format!("at least the port, {first}"), "exchange them", faults);
            }
            Some(PortMatch::Range { protocol, first, last })
        }
        (_, Some(end_at)) => {
            end_at.invalid("endPort beside a port that is a number", "remove it, or give the first port", faults);
            None
        }
    }
}
