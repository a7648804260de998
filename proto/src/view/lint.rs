//! Findings and outcomes of tests.
use axle_core::{
    log::Change,
    model::{Object, Policy, PolicyTest, Scope},
    policy::{
        Reason, Ruling, World,
        survey::{self, Broken, Finding, Outcome, Span, Trial, policies_after, tests_after},
        tables::Direction,
    },
};

use super::text;
use crate::v1::{LintPoliciesResponse, PolicyFinding, PolicyTestResult, TestPoliciesResponse};

/// A policy and the object that it is.
type Written<'w> = (&'w Object, &'w Policy);

/// What about the policies that change, or about all if none does, their authors should look at.
#[must_use]
pub fn lint(world: &World, changes: &[Change]) -> LintPoliciesResponse {
    let put = changes.iter().filter(|change| matches!(change, Change::Put(_)));
    let only: std::collections::BTreeSet<_> = put.map(|change| change.key().clone()).collect();
    let only = if only.is_empty() { None } else { Some(&only) };
    let findings = survey::lint(world, &policies_after(world, changes), only);
    LintPoliciesResponse { findings: findings.iter().map(|one| finding(world, one)).collect() }
}

/// What becomes of tests, or of those that are kept if none is given, after some changes.
#[must_use]
pub fn test(world: &World, changes: &[Change], tests: &[PolicyTest]) -> TestPoliciesResponse {
    let policies = policies_after(world, changes);
    let tests = if tests.is_empty() { tests_after(world, changes) } else { tests.iter().collect() };
    outcomes(&survey::try_tests(world, &policies, tests.into_iter()), &policies)
}

/// A finding with the names of everything.
fn finding(world: &World, finding: &Finding) -> PolicyFinding {
    let Finding { code, weight, policy, rule, why, fix } = finding;
    let cluster = match policy.scope {
        Scope::Fleet => String::new(),
        Scope::Cluster(uid) => world.cluster(uid).map_or_else(|| uid.to_string(), |cluster| cluster.name.to_string()),
    };
    PolicyFinding {
        code: (*code).into(),
        weight: weight.to_string(),
        cluster,
        namespace: policy.namespace.clone(),
        policy: policy.name.to_string(),
        rule: rule.map(|rule| format!("{}[{}]", text::direction(rule.direction), rule.index)).unwrap_or_default(),
        why: why.clone(),
        fix: fix.clone(),
    }
}

/// The outcomes of tests that were run by these policies.
fn outcomes(outcomes: &[Outcome], policies: &[Written<'_>]) -> TestPoliciesResponse {
    let mut answer = TestPoliciesResponse::default();
    for Outcome { test, index, assertion, result } in outcomes {
        let (outcome, flows, why) = match result {
            Trial::Holds { flows } => ("holds", *flows, String::new()),
            Trial::Broken(broken) => ("broken", 0, why(broken, policies)),
            Trial::Missing(missing) => ("missing", 0, missing.to_string()),
        };
        match result {
            Trial::Holds { .. } => answer.holding += 1,
            Trial::Broken(_) => answer.broken += 1,
            Trial::Missing(_) => answer.missing += 1,
        }
        answer.results.push(PolicyTestResult {
            test: test.to_string(),
            index: u32::try_from(*index).unwrap_or(u32::MAX),
            assertion: assertion.clone(),
            outcome: outcome.into(),
            flows,
            why,
        });
    }
    answer
}

fn why(broken: &Broken, policies: &[Written<'_>]) -> String {
    let Broken { from, to, flow, wanted, got, ends, not_by } = broken;
    let number = flow.target.number;
    let port = text::ports(&Span { table: flow.target.table, first: number, last: number });
    let end = |(direction, ruling): &(Direction, Ruling)| {
        format!("{} {}: {}", text::direction(*direction), text::verdict(ruling.verdict), decider(ruling, policies))
    };
    let ends: Vec<_> = ends.iter().map(end).collect();
    let ends = if ends.is_empty() { "neither end is a workload".into() } else { ends.join(", ") };
    let want = match not_by {
        Some(rule) => {
            let of = rule.rule.as_ref().map(|rule| format!("/{rule}")).unwrap_or_default();
            format!("{} by {}{of}", text::verdict(*wanted), rule.policy)
        }
        None => text::verdict(*wanted).into(),
    };
    format!("{from} to {to} {port}: got {} ({ends}); wanted {want}", text::verdict(*got))
}

fn decider(ruling: &Ruling, policies: &[Written<'_>]) -> String {
    match ruling.reason {
        Reason::Rule(id) => {
            let policy = policies.iter().find(|(object, _)| object.uid == id.policy).map(|(_, policy)| *policy);
            let rules = policy.and_then(|policy| match id.direction {
                Direction::Ingress => policy.ingress.as_ref(),
                Direction::Egress => policy.egress.as_ref(),
            });
            let rule = rules.and_then(|rules| rules.get(id.index as usize));
            let named = rule.filter(|rule| !rule.name.is_empty()).map(|rule| format!(" ({})", rule.name));
            let name = policy.map_or_else(|| id.policy.to_string(), Policy::title);
            format!("{name} {}[{}]{}", text::direction(id.direction), id.index, named.unwrap_or_default())
        }
        Reason::Isolated { .. } => "isolated by a namespace policy".into(),
        _ => "no policy decides".into(),
    }
}
