//! Which rule decides a flow, and why the rules before it do not.
use std::net::IpAddr;

use axle_core::{
    manifest::suggest,
    model::{Name, Protocol, Uid},
    policy::{Asked, Flow, Match, Reason, RuleId, Ruling, Target, Trace, Verdict, World, explain, tables::Direction},
};
use axle_proto::v1::{ExplainRequest, ExplainResponse, ExplainSide, ExplainStep, RuleView};

use super::{Operations, Problem, Violation, text};

const PROTOCOLS: [(&str, Protocol); 5] = [
    ("tcp", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("sctp", Protocol::Sctp),
    ("icmp", Protocol::Icmp),
    ("icmpv6", Protocol::Icmpv6),
];

impl Operations {
    /// Explains a flow.
    ///
    /// # Errors
    /// An end that is no address and no workload, ends of different families, a bad protocol or port.
    pub fn explain(&self, request: &ExplainRequest) -> Result<ExplainResponse, Problem> {
        let world = self.mirror.world();
        let flow = parse(&world, request)?;
        let explanation = explain(&world, flow);
        let traces = [
            explanation.egress.as_ref().map(|trace| ("egress", trace)),
            explanation.ingress.as_ref().map(|trace| ("ingress", trace)),
        ];
        let sides: Vec<_> =
            traces.into_iter().flatten().map(|(direction, trace)| side(&world, direction, trace)).collect();
        let denied = sides.iter().any(|side| side.verdict != text::verdict(Verdict::Accept));
        let verdict = if denied { Verdict::Deny } else { Verdict::Accept };
        Ok(ExplainResponse { verdict: text::verdict(verdict).into(), sides })
    }
}

fn parse(world: &World, request: &ExplainRequest) -> Result<Flow, Problem> {
    let mut violations = Vec::new();
    let from = end(world, "from", &request.from, &mut violations);
    let to = end(world, "to", &request.to, &mut violations);
    let protocol = protocol(&request.protocol, &mut violations);
    let number = u16::try_from(request.port).map_err(|_| {
        let want = "0 to 65535 (for ICMP type * 256 + code)";
        violations.push(Violation::new("out_of_range", "port", &request.port.to_string(), want, ""));
    });
    let pair = match (&from, &to) {
        (Some(from), Some(to)) => same_family(from, to),
        _ => None,
    };
    if pair.is_none() && violations.is_empty() {
        let got = format!("{} and {}", request.from, request.to);
        let want = "two ends with an address of the same family";
        violations.push(Violation::new("family", "to", &got, want, "give addresses of one family"));
    }
    match (pair, protocol, number) {
        (Some((from, to)), Some(protocol), Ok(number)) if violations.is_empty() => {
            Ok(Flow { from, to, target: Target { table: protocol.into(), number } })
        }
        _ => Err(Problem::invalid(violations)),
    }
}

fn protocol(text: &str, violations: &mut Vec<Violation>) -> Option<Protocol> {
    let text = if text.is_empty() { "tcp" } else { text };
    let found = PROTOCOLS.iter().find(|(name, _)| *name == text);
    if found.is_none() {
        let fix = suggest(text, PROTOCOLS.iter().map(|(name, _)| *name)).unwrap_or_default();
        violations.push(Violation::new("invalid_value", "protocol", text, "tcp, udp, sctp, icmp or icmpv6", &fix));
    }
    found.map(|(_, protocol)| *protocol)
}

/// The addresses of an end: those of the workload named, or the one given.
fn end(world: &World, field: &str, text: &str, violations: &mut Vec<Violation>) -> Option<Vec<IpAddr>> {
    if let Ok(address) = text.parse() {
        return Some(vec![address]);
    }
    let want = "CLUSTER/NAMESPACE/WORKLOAD or an address";
    let parts: Vec<_> = text.split('/').map(Name::new).collect();
    let [Ok(cluster), Ok(namespace), Ok(name)] = parts.as_slice() else {
        violations.push(Violation::new("invalid_value", field, text, want, "name both cluster and namespace"));
        return None;
    };
    let workload = world.workload_named(cluster, namespace, name);
    if workload.is_none() {
        let names: Vec<_> = world.workloads().map(|workload| path(world, workload.uid)).collect();
        let fix = suggest(text, names.iter().map(String::as_str)).unwrap_or_else(|| "see axle endpoint list".into());
        violations.push(Violation::new("unknown_workload", field, text, "a workload that runs", &fix));
    }
    workload.map(|workload| workload.endpoint.addresses.clone())
}

/// The first pair of addresses of one family, IPv4 preferred by the order in which workloads list them.
fn same_family(from: &[IpAddr], to: &[IpAddr]) -> Option<(IpAddr, IpAddr)> {
    from.iter().find_map(|from| to.iter().find(|to| to.is_ipv4() == from.is_ipv4()).map(|to| (*from, *to)))
}

/// `cluster/namespace/workload`.
fn path(world: &World, workload: Uid) -> String {
    let Some(workload) = world.workload(workload) else { return workload.to_string() };
    let cluster =
        world.cluster(workload.cluster).map_or_else(|| workload.cluster.to_string(), |it| it.name.to_string());
    format!("{cluster}/{}/{}", workload.endpoint.namespace, workload.endpoint.name)
}

fn side(world: &World, direction: &str, trace: &Trace) -> ExplainSide {
    let Ruling { verdict, reason } = trace.side.ruling;
    ExplainSide {
        direction: direction.into(),
        workload: path(world, trace.workload),
        verdict: text::verdict(verdict).into(),
        rule: if let Reason::Rule(id) = reason { Some(rule(world, id)) } else { None },
        reason: words(world, trace),
        steps: trace.asked.iter().map(|asked| step(world, asked)).collect(),
    }
}

fn step(world: &World, asked: &Asked) -> ExplainStep {
    ExplainStep {
        rule: Some(rule(world, asked.rule)),
        tier: text::step(asked.step).into(),
        matched: !matches!(asked.matched, Match::No(_)),
        why: asked.why.clone(),
    }
}

fn rule(world: &World, id: RuleId) -> RuleView {
    let policy = world.policies().find(|(object, _)| object.uid == id.policy).map(|(_, policy)| policy);
    let rules = policy.and_then(|policy| match id.direction {
        Direction::Ingress => policy.ingress.as_ref(),
        Direction::Egress => policy.egress.as_ref(),
    });
    let rule = usize::try_from(id.index).ok().and_then(|index| rules?.get(index));
    RuleView {
        policy: policy.map(|policy| policy.name.to_string()).unwrap_or_default(),
        policy_uid: id.policy.to_string(),
        revision: id.revision,
        direction: text::direction(id.direction).into(),
        index: id.index,
        name: rule.map(|rule| rule.name.clone()).unwrap_or_default(),
    }
}

fn words(world: &World, trace: &Trace) -> String {
    let decided = match trace.side.ruling.reason {
        Reason::Rule(_) => String::new(),
        Reason::Isolated { policy, .. } => {
            let found = world.policies().find(|(object, _)| object.uid == policy);
            let name = found.map_or_else(|| policy.to_string(), |(_, policy)| policy.name.to_string());
            format!("the namespace's policy {name} selects this direction and no rule there accepts")
        }
        Reason::Default => "no policy decided: the cluster's default action did".into(),
        Reason::OwnNode => "no policy decided: a workload is never cut off from its own node".into(),
        Reason::Itself => "a workload is never cut off from itself".into(),
        Reason::ServiceAddress => "the other end is a service address: policy judges backends".into(),
        Reason::UnknownCluster => "the other end's cluster is not known".into(),
        Reason::UnknownNamespace => "the labels of the workload's namespace are not known".into(),
    };
    match trace.side.audit {
        None => decided,
        Some(ruling) => {
            let would = format!("if the policies in audit decided, it would be {}", text::verdict(ruling.verdict));
            if decided.is_empty() { would } else { format!("{decided}; {would}") }
        }
    }
}
