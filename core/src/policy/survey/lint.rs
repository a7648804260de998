//! Policies that do not do what their author probably meant.
mod contest;
mod words;

use std::{collections::BTreeSet, fmt};

use super::{
    Survey,
    course::{Scene, Standing, rules},
    set::Set,
};
use crate::{
    model::{Key, Peer, Peers, Policy, Rule},
    policy::{RuleId, World, evaluate::Written, tables::Direction},
};
use contest::Contest;

/// Something about a policy that its author should look at. Nothing is wrong with the policy's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable, for programs: `shadowed`, `selects_nothing`, ...
    pub code: &'static str,
    /// How much it matters.
    pub weight: Weight,
    /// Which policy.
    pub policy: Key,
    /// Which of its rules; `None`: the policy as a whole.
    pub rule: Option<RuleId>,
    /// What it is.
    pub why: String,
    /// How to mend it.
    pub fix: String,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// It can hardly be meant.
    Warning,
    /// It may well be meant.
    Note,
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Warning { "warning" } else { "note" })
    }
}

/// What is to be said about a world's policies, the first by name first; about those named only, if any are.
#[must_use]
pub fn lint(world: &World, policies: &[Written<'_>], only: Option<&BTreeSet<Key>>) -> Vec<Finding> {
    let wanted = |key: &Key| only.is_none_or(|only| only.contains(key));
    let in_force: Vec<_> = policies.iter().filter(|(_, policy)| !policy.disabled).copied().collect();
    let standing = in_force.iter().map(|written| Standing { written: *written, in_force: [true; 2] }).collect();
    let scene = Scene::new(&Survey::new(world), standing);
    let mut findings = Vec::new();
    let everybody = Set::of(scene.classes.len(), 0..scene.classes.len() as u32);
    for (at, written) in (0u32..).zip(&in_force).filter(|(_, (object, _))| wanted(&object.key)) {
        words::read(world, *written, &mut findings);
        of_world(&scene, at, *written, &everybody, &mut findings);
    }
    let about: Vec<u32> =
        (0u32..).zip(&in_force).filter(|(_, (object, _))| wanted(&object.key)).map(|(at, _)| at).collect();
    let mut contest = Contest::new(&scene);
    for direction in [Direction::Ingress, Direction::Egress] {
        let concerned: BTreeSet<u32> =
            about.iter().flat_map(|at| scene.subjects[*at as usize].iter().copied()).collect();
        for course in scene.courses(direction, concerned.into_iter()) {
            contest.hold(&course, &everybody);
        }
    }
    contest.report(&about, &mut findings);
    findings.sort_by(|a, b| (&a.policy, a.rule.map(rank), a.weight).cmp(&(&b.policy, b.rule.map(rank), b.weight)));
    findings
}

fn rank(rule: RuleId) -> (Direction, u32) {
    (rule.direction, rule.index)
}

/// What the workloads that run now make of a policy.
fn of_world(scene: &Scene<'_>, at: u32, written: Written<'_>, everybody: &Set, findings: &mut Vec<Finding>) {
    let (object, policy) = written;
    let workloads = scene.classes.iter().filter(|class| class.subject().is_some()).count();
    let subjects = scene.subjects[at as usize].len();
    let mut add = |code, weight, rule, why: String, fix: &str| {
        findings.push(Finding { code, weight, policy: object.key.clone(), rule, why, fix: fix.into() });
    };
    if subjects == 0 {
        add(
            "selects_nothing",
            Weight::Warning,
            None,
            "no workload that runs now is its subject".into(),
            "compare its subject with the labels that workloads have: axle endpoint list",
        );
    } else if subjects == workloads && is_everything(policy) {
        add(
            "selects_everything",
            Weight::Note,
            None,
            "every workload is its subject".into(),
            "narrow the subject if not all are meant",
        );
    }
    for direction in [Direction::Ingress, Direction::Egress] {
        for (index, rule) in (0u32..).zip(rules(policy, direction).unwrap_or_default()) {
            if only_members(rule) && scene.peers(at, direction, index, rule, everybody).is_empty() {
                let why = "none of its peers is a workload or node that is there now".into();
                let fix = "compare its peers with the labels that workloads have: axle endpoint list";
                add("peers_match_nobody", Weight::Warning, Some(rule_id(written, direction, index)), why, fix);
            }
        }
    }
}

fn is_everything(policy: &Policy) -> bool {
    policy.namespace.is_none() && policy.subject == crate::model::Subject::default()
}

/// Whether only workloads and nodes can match a rule.
fn only_members(rule: &Rule) -> bool {
    let member = |peer: &Peer| !matches!(peer, Peer::Networks(_) | Peer::DomainNames(_) | Peer::Unknown(_));
    matches!(&rule.peers, Peers::Of(peers) if !peers.is_empty() && peers.iter().all(member))
}

fn rule_id((object, _): Written<'_>, direction: Direction, index: u32) -> RuleId {
    RuleId { policy: object.uid, revision: object.revision, direction, index }
}

#[cfg(test)]
mod tests;
