//! Which rules decide anything, which rules get in the way of others, and which contradict each other.
use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Weight, rule_id};
use crate::{
    model::{Action, Tier},
    policy::{
        Match, Reason, RuleId, Ruling, Target, Verdict,
        evaluate::Step,
        survey::{
            course::{Course, Scene, rules},
            set::Set,
        },
        tables::Direction,
    },
};

/// A rule by its policy's number, direction and place.
type At = (u32, Direction, u32);

/// One flow: whose policy, with whom, on which port.
#[derive(Debug, Clone, Copy)]
struct Example {
    local: u32,
    other: u32,
    target: Target,
}

/// Every flow of the workloads that run now, held against every rule that is about it.
pub(super) struct Contest<'s, 'w> {
    scene: &'s Scene<'w>,
    decide: BTreeSet<RuleId>,
    /// Rules that match a flow which something else decides, and what.
    beaten: BTreeMap<At, (Ruling, Example)>,
    /// Rules of equal priority that match one flow and do different things with it; the stronger first.
    contradict: BTreeMap<(At, At), Example>,
}

impl<'s, 'w> Contest<'s, 'w> {
    pub(super) fn new(scene: &'s Scene<'w>) -> Self {
        Self { scene, decide: BTreeSet::new(), beaten: BTreeMap::new(), contradict: BTreeMap::new() }
    }

    /// Holds the flows of a course's workloads against its rules.
    pub(super) fn hold(&mut self, course: &Course, everybody: &Set) {
        let policies = self.scene.in_force(course, 1);
        for part in self.scene.parts(course, everybody) {
            let Some(other) = part.iter().next() else { continue };
            for target in self.scene.cuts(course, other).targets() {
                let example = Example { local: course.local, other, target };
                let said =
                    [false, true].map(|with_audit| self.scene.ruling(course, &policies, other, target, with_audit));
                for ruling in said.iter().flatten() {
                    if let Reason::Rule(rule) = ruling.reason {
                        self.decide.insert(rule);
                    }
                }
                if let Some(ruling) = said[1] {
                    self.compare(course, ruling, example);
                }
            }
        }
    }

    /// The first rule of each policy that matches is beaten, unless it decides.
    fn compare(&mut self, course: &Course, ruling: Ruling, example: Example) {
        let Example { other, target, .. } = example;
        let mut first: Vec<(At, Step, u16, Action)> = Vec::new();
        for policy in &course.policies {
            let written @ (object, of) = self.scene.policies[*policy as usize].written;
            let mut matched = false;
            for (index, rule) in (0u32..).zip(rules(of, course.direction).unwrap_or_default()) {
                if self.scene.rule_matches(course, written, rule, other, target) != Match::Yes {
                    continue;
                }
                let at = (*policy, course.direction, index);
                if ruling.reason != Reason::Rule(rule_id(written, course.direction, index)) {
                    self.beaten.entry(at).or_insert((ruling, example));
                }
                if !std::mem::replace(&mut matched, true) {
                    first.push((at, Step::of(object.key.scope, of.tier), of.priority, rule.action));
                }
            }
        }
        for (n, (at, step, priority, action)) in first.iter().enumerate() {
            for (other_at, other_step, other_priority, other_action) in &first[n + 1..] {
                let equal = (step, priority) == (other_step, other_priority) && *step != Step::Namespace;
                if equal && action != other_action {
                    let pair = if action < other_action { (*at, *other_at) } else { (*other_at, *at) };
                    self.contradict.entry(pair).or_insert(example);
                }
            }
        }
    }

    /// Says what was found about these policies.
    pub(super) fn report(&self, about: &[u32], findings: &mut Vec<Finding>) {
        for policy in about {
            let idle: Vec<_> =
                self.beaten.range((*policy, Direction::Ingress, 0)..=(*policy, Direction::Egress, u32::MAX)).collect();
            let idle: Vec<_> = idle.into_iter().filter(|(at, _)| !self.decide.contains(&self.id(**at))).collect();
            let (_, of) = self.scene.policies[*policy as usize].written;
            let rules_of = |direction| rules(of, direction).map_or(0, <[_]>::len);
            let all = rules_of(Direction::Ingress) + rules_of(Direction::Egress);
            if all > 1 && idle.len() == all {
                self.add_unreachable(*policy, idle[0].1, findings);
                continue;
            }
            for (at, (ruling, example)) in idle {
                self.add_idle(*at, *ruling, *example, findings);
            }
        }
        for ((strong, weak), example) in &self.contradict {
            if about.contains(&strong.0) || about.contains(&weak.0) {
                let why = format!(
                    "{} of equal priority does the contrary, and {} wins; for instance {}",
                    self.name(*strong),
                    format!("{:?}", self.action(*strong)).to_lowercase(),
                    self.flow(weak.1, *example)
                );
                self.add(
                    "contradiction",
                    Weight::Warning,
                    *weak,
                    why,
                    "give the policies different priorities",
                    findings,
                );
            }
        }
    }

    fn add_unreachable(&self, policy: u32, (ruling, example): &(Ruling, Example), findings: &mut Vec<Finding>) {
        let (object, of) = self.scene.policies[policy as usize].written;
        let direction = if of.ingress.is_some() { Direction::Ingress } else { Direction::Egress };
        findings.push(Finding {
            code: "unreachable",
            weight: Weight::Warning,
            policy: object.key.clone(),
            rule: None,
            why: format!(
                "none of its rules decides anything for the workloads that run now: {} does, for instance {}",
                self.decider(*ruling),
                self.flow(direction, *example)
            ),
            fix: "give it a priority or tier that comes before, or delete it".into(),
        });
    }

    fn add_idle(&self, at: At, ruling: Ruling, example: Example, findings: &mut Vec<Finding>) {
        let does_the_same = match self.action(at) {
            Action::Accept => ruling.verdict == Verdict::Accept,
            Action::Deny => ruling.verdict == Verdict::Deny,
            Action::Pass => false,
        };
        let why = format!(
            "{} decides every flow that it matches, of the workloads that run now; for instance {}",
            self.decider(ruling),
            self.flow(at.1, example)
        );
        let of_namespaces = self.scene.policies[at.0 as usize].written.1.tier == Tier::Namespace;
        if does_the_same {
            self.add("redundant", Weight::Note, at, why, "leave it out, unless it is for workloads to come", findings);
        } else {
            let fix =
                if of_namespaces { "change the Admin policy" } else { "put it before, or narrow what comes before" };
            self.add("shadowed", Weight::Warning, at, why, fix, findings);
        }
    }

    fn add(&self, code: &'static str, weight: Weight, at: At, why: String, fix: &str, findings: &mut Vec<Finding>) {
        let policy = self.scene.policies[at.0 as usize].written.0.key.clone();
        findings.push(Finding { code, weight, policy, rule: Some(self.id(at)), why, fix: fix.into() });
    }

    fn id(&self, (policy, direction, index): At) -> RuleId {
        rule_id(self.scene.policies[policy as usize].written, direction, index)
    }

    fn action(&self, (policy, direction, index): At) -> Action {
        let all = rules(self.scene.policies[policy as usize].written.1, direction).unwrap_or_default();
        all.get(index as usize).map_or(Action::Accept, |rule| rule.action)
    }

    fn name(&self, (policy, direction, index): At) -> String {
        let (_, of) = self.scene.policies[policy as usize].written;
        let rule = rules(of, direction).unwrap_or_default().get(index as usize);
        let name = rule.map(|rule| rule.name.as_str()).filter(|name| !name.is_empty());
        let named = name.map(|name| format!(" ({name})")).unwrap_or_default();
        format!("{} {direction}[{index}]{named}", of.title())
    }

    fn decider(&self, ruling: Ruling) -> String {
        match ruling.reason {
            Reason::Rule(id) => {
                let mut policies = (0u32..).zip(&self.scene.policies);
                let found = policies.find(|(_, standing)| standing.written.0.uid == id.policy);
                found.map_or_else(|| "another rule".into(), |(at, _)| self.name((at, id.direction, id.index)))
            }
            Reason::Isolated { .. } => "the isolation of its namespace".into(),
            _ => "the cluster's default".into(),
        }
    }

    fn flow(&self, direction: Direction, Example { local, other, target }: Example) -> String {
        let describe = |class: u32| {
            let class = &self.scene.classes[class as usize];
            match self.scene.world.describe(&class.party).as_str() {
                "outside the mesh" => class.address.to_string(),
                words => words.to_owned(),
            }
        };
        let (from, to) = match direction {
            Direction::Ingress => (other, local),
            Direction::Egress => (local, other),
        };
        format!("from {} to {} {target}", describe(from), describe(to))
    }
}
