//! Explanations.
use axle_core::{
    model::Policy,
    policy::{
        Asked, Flow, Match, Reason, RuleId, Ruling, Trace, Verdict, World, evaluate, explain, leads, tables::Direction,
    },
};

use super::text;
use crate::v1::{ExplainBackend, ExplainResponse, ExplainSide, ExplainStep, RuleView};

/// Backends that are explained one by one; all of them count.
const SHOWN: usize = 16;

/// What becomes of a flow and why, with the names of everything. A connection to a service's address is explained by what becomes
/// of it at the service's backends.
#[must_use]
pub fn explanation(world: &World, flow: Flow) -> ExplainResponse {
    let Some(led) = leads(world, flow) else {
        let (verdict, sides) = ends(world, flow);
        return ExplainResponse { verdict: text::verdict(verdict).into(), sides, ..ExplainResponse::default() };
    };
    let accepted = led.iter().filter(|flow| evaluate(world, **flow).verdict() == Verdict::Accept).count();
    let verdict = if !led.is_empty() && accepted == led.len() { Verdict::Accept } else { Verdict::Deny };
    let note = match led.len() {
        0 => "it is a service's address, and the service has no backend: connections to it are refused".into(),
        all => format!("it is a service's address, and {accepted} of {all} backends can be reached"),
    };
    let backend = |flow: &Flow| {
        let (verdict, sides) = ends(world, *flow);
        let (address, port) = (flow.to.to_string(), u32::from(flow.target.number));
        ExplainBackend { address, port, verdict: text::verdict(verdict).into(), sides }
    };
    let backends = led.iter().take(SHOWN).map(backend).collect();
    ExplainResponse { verdict: text::verdict(verdict).into(), sides: Vec::new(), backends, note }
}

fn ends(world: &World, flow: Flow) -> (Verdict, Vec<ExplainSide>) {
    let explanation = explain(world, flow);
    let traces = [
        explanation.egress.as_ref().map(|trace| ("egress", trace)),
        explanation.ingress.as_ref().map(|trace| ("ingress", trace)),
    ];
    let sides: Vec<_> = traces.into_iter().flatten().map(|(direction, trace)| side(world, direction, trace)).collect();
    let denied = sides.iter().any(|side| side.verdict != text::verdict(Verdict::Accept));
    (if denied { Verdict::Deny } else { Verdict::Accept }, sides)
}

fn side(world: &World, direction: &str, trace: &Trace) -> ExplainSide {
    let Ruling { verdict, reason } = trace.side.ruling;
    ExplainSide {
        direction: direction.into(),
        workload: world.path(trace.workload),
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

/// A rule by its names.
#[must_use]
pub fn rule(world: &World, id: RuleId) -> RuleView {
    let policy = world.policies().find(|(object, _)| object.uid == id.policy).map(|(_, policy)| policy);
    let rules = policy.and_then(|policy| match id.direction {
        Direction::Ingress => policy.ingress.as_ref(),
        Direction::Egress => policy.egress.as_ref(),
    });
    let rule = usize::try_from(id.index).ok().and_then(|index| rules?.get(index));
    RuleView {
        policy: policy.map(Policy::title).unwrap_or_default(),
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
            let name = found.map_or_else(|| policy.to_string(), |(_, policy)| policy.title());
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
