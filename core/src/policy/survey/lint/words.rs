//! What can be said of a policy by reading it, and looking up the names in it.
use std::collections::BTreeSet;

use super::{Finding, Weight, rule_id};
use crate::{
    manifest::{NAMESPACE_NAME_LABEL, suggest},
    model::{
        Action, ClusterSelector, Kind, LabelSelector, Name, Operator, Peer, Peers, PortMatch, Ports, Rule, Scope, Tier,
    },
    policy::{
        RuleId, World,
        evaluate::{Step, Written},
        survey::course::rules,
        tables::Direction,
    },
};

/// Findings about one policy.
struct Reader<'w, 'f> {
    world: &'w World,
    written: Written<'w>,
    rule: Option<RuleId>,
    findings: &'f mut Vec<Finding>,
}

pub(super) fn read<'w>(world: &'w World, written: Written<'w>, findings: &mut Vec<Finding>) {
    let policy = written.1;
    let mut reader = Reader { world, written, rule: None, findings };
    reader.clusters(&policy.subject.clusters);
    reader.namespaces(&policy.subject.namespaces);
    for direction in [Direction::Ingress, Direction::Egress] {
        let Some(rules) = rules(policy, direction) else { continue };
        reader.rule = None;
        if rules.is_empty() && policy.tier != Tier::Namespace {
            let why = format!("its {direction} has no rules, which outside the namespace tier says nothing");
            reader.add("no_rules", Weight::Warning, why, "add rules, or leave the direction out");
        }
        for (index, rule) in (0u32..).zip(rules) {
            reader.rule = Some(rule_id(written, direction, index));
            reader.rule(rule);
        }
    }
}

impl Reader<'_, '_> {
    fn add(&mut self, code: &'static str, weight: Weight, why: impl Into<String>, fix: impl Into<String>) {
        let policy = self.written.0.key.clone();
        self.findings.push(Finding { code, weight, policy, rule: self.rule, why: why.into(), fix: fix.into() });
    }

    fn rule(&mut self, rule: &Rule) {
        self.action(rule);
        match &rule.peers {
            Peers::Any => {}
            Peers::Of(peers) if peers.is_empty() => {
                self.add("no_peers", Weight::Warning, "it has no peers, so it matches nothing", "name its peers");
            }
            Peers::Of(peers) => peers.iter().for_each(|peer| self.peer(rule, peer)),
        }
        match &rule.ports {
            Ports::Any => {}
            Ports::Of(ports) if ports.is_empty() => {
                self.add("no_ports", Weight::Warning, "it has no ports, so it matches nothing", "name its ports");
            }
            Ports::Of(ports) => ports.iter().for_each(|port| self.port(port)),
        }
    }

    fn action(&mut self, rule: &Rule) {
        let (object, policy) = self.written;
        match (Step::of(object.key.scope, policy.tier), rule.action) {
            (Step::Namespace, Action::Deny | Action::Pass) => self.add(
                "action_without_meaning",
                Weight::Warning,
                "in the namespace tier only rules that accept mean something",
                "move it to an Admin or Baseline policy",
            ),
            (Step::FleetBaseline, Action::Pass) => self.add(
                "pass_to_nobody",
                Weight::Note,
                "it passes, and after the fleet's Baseline only the cluster's default action is left",
                "say Accept or Deny, unless the default is meant",
            ),
            _ => {}
        }
    }

    fn peer(&mut self, rule: &Rule, peer: &Peer) {
        match peer {
            Peer::Pods { clusters, namespaces, .. } => {
                self.clusters(clusters);
                self.namespaces(namespaces);
            }
            Peer::Nodes { clusters, .. } | Peer::Identities { clusters, .. } => self.clusters(clusters),
            Peer::Service { clusters, namespace, name } => {
                self.clusters(clusters);
                self.service(namespace, name);
            }
            Peer::Networks(_) | Peer::DomainNames(_) => {}
            Peer::Unknown(what) => {
                let then = if rule.action == Action::Accept { "accepts nothing" } else { "denies everything" };
                let why = format!("it has a peer that this version does not know ({what}), so it {then}");
                self.add("unknown_peer", Weight::Warning, why, "upgrade, or name the peer in another way");
            }
        }
    }

    fn clusters(&mut self, selector: &ClusterSelector) {
        let ClusterSelector::Names(names) = selector else { return };
        let known: BTreeSet<&str> = self.world.clusters().map(|(_, cluster)| cluster.name.as_str()).collect();
        for name in names.iter().filter(|name| !known.contains(name.as_str())) {
            let fix = suggest(name.as_str(), known.iter().copied()).unwrap_or_else(|| "see axle cluster list".into());
            self.add("unknown_cluster", Weight::Warning, format!("there is no cluster {name}"), fix);
        }
    }

    /// A service that no cluster exports is nobody.
    fn service(&mut self, namespace: &Name, name: &Name) {
        let exports = || self.world.objects(Kind::ServiceExport).map(|object| &object.key);
        if exports().any(|key| key.namespace == namespace.as_str() && key.name == *name) {
            return;
        }
        let known: BTreeSet<String> = exports().map(|key| format!("{}/{}", key.namespace, key.name)).collect();
        let wanted = format!("{namespace}/{name}");
        let fix = suggest(&wanted, known.iter().map(String::as_str)).unwrap_or_else(|| "see axle service list".into());
        self.add("unknown_service", Weight::Warning, format!("no cluster exports the service {wanted}"), fix);
    }

    /// Namespaces that a selector asks for by name.
    fn namespaces(&mut self, selector: &LabelSelector) {
        let by_label = selector.match_labels.get(NAMESPACE_NAME_LABEL).into_iter();
        let by_expression = selector.match_expressions.iter().filter(|one| one.key == NAMESPACE_NAME_LABEL);
        let listed = by_expression.flat_map(|one| match &one.operator {
            Operator::In(values) => values.as_slice(),
            _ => &[],
        });
        let known: BTreeSet<&str> =
            self.world.objects(Kind::Namespace).map(|object| object.key.name.as_str()).collect();
        let unknown: Vec<&String> = by_label.chain(listed).filter(|name| !known.contains(name.as_str())).collect();
        for name in unknown {
            let fix = suggest(name, known.iter().copied()).unwrap_or_else(|| "see axle endpoint list".into());
            self.add("unknown_namespace", Weight::Warning, format!("no cluster has a namespace {name}"), fix);
        }
    }

    fn port(&mut self, port: &PortMatch) {
        let PortMatch::Named { name, .. } = port else { return };
        let of = |scope| matches!(self.written.0.key.scope, Scope::Fleet) || self.written.0.key.scope == scope;
        let known: BTreeSet<&str> = self
            .world
            .workloads()
            .filter(|workload| of(Scope::Cluster(workload.cluster)))
            .flat_map(|workload| workload.endpoint.named_ports.iter().map(|port| port.name.as_str()))
            .collect();
        if !known.contains(name.as_str()) {
            let fix = suggest(name, known.iter().copied()).unwrap_or_else(|| "give the port's number".into());
            self.add("unknown_port_name", Weight::Warning, format!("no workload has a port named {name}"), fix);
        }
    }
}
