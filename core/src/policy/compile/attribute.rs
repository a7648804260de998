//! Which rule stands behind a verdict of the tables.
use std::net::IpAddr;

use super::{
    Compiler,
    atom::{CLUSTER_SERVICE, DENIED, OWN_NODE},
    code::{CodeId, Program, matched},
    locals::Course,
    nouns::Noun,
    sight::Sight,
};
use crate::{
    model::{Action, Policy},
    policy::{
        decision::{Reason, RuleId, Ruling, Verdict},
        evaluate::Step,
        tables::{Direction, Local, PortClass, PortTable},
    },
};

/// One packet under judgement, as the tables see it.
struct Case<'c> {
    sight: Sight<'c>,
    program: &'c Program,
    atoms: &'c [u32],
    class: PortClass,
}

/// A policy about the workload.
struct About<'c> {
    noun: &'c Noun,
    policy: &'c Policy,
    code: CodeId,
    step: Step,
}

/// A rule that may decide, and what it does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Hit {
    action: Action,
    rule: RuleId,
}

impl Compiler {
    /// Why the tables judge a packet as they do; see [`Tables::verdict`](crate::policy::tables::Tables::verdict).
    /// `None` where no workload has this number.
    #[must_use]
    pub fn attribute(
        &self,
        local: Local,
        direction: Direction,
        peer: IpAddr,
        table: PortTable,
        port: u16,
    ) -> Option<Ruling> {
        let (uid, state) = self.locals.iter().find(|(_, state)| state.number == Some(local))?;
        let (cluster, _) = self.nouns.endpoint(*uid)?;
        let accept = |reason| Some(Ruling { verdict: Verdict::Accept, reason });
        let deny = |reason| Some(Ruling { verdict: Verdict::Deny, reason });
        let mut atoms = Vec::new();
        self.atoms_of_address(peer, self.places.spot(peer).holder(), &self.around(peer.into()), &mut atoms);
        let course = state.courses[direction as usize];
        if course == Course::Deny {
            let known = self.nouns.cluster(cluster).is_some();
            return deny(if known { Reason::UnknownNamespace } else { Reason::UnknownCluster });
        }
        if atoms == [DENIED] {
            return deny(if self.is_service(peer.into()) { Reason::ServiceAddress } else { Reason::UnknownCluster });
        }
        let own_node = self.is_own_node(peer);
        let Course::Program(id) = course else {
            return accept(if own_node { Reason::OwnNode } else { Reason::Default });
        };
        if atoms.contains(&CLUSTER_SERVICE) {
            return deny(Reason::ServiceAddress);
        }
        let program = self.policies.programs.get(id);
        let undecided = match (own_node, program.default_deny) {
            (true, _) => accept(Reason::OwnNode)?,
            (false, false) => accept(Reason::Default)?,
            (false, true) => deny(Reason::Default)?,
        };
        let case = Case {
            sight: Sight { policies: &self.policies, peers: &self.peers, ports: &self.ports },
            program,
            atoms: &atoms,
            class: self.ports.class(table, port),
        };
        let mut about: Vec<_> = state.policies.iter().filter_map(|id| self.about(*id, direction)).collect();
        about.sort_by_key(|each| (each.step, each.policy.priority, &each.noun.key.name, &each.noun.key));
        let steps: Vec<_> = about.chunk_by(|a, b| a.step == b.step).map(|policies| case.step(policies)).collect();
        Some(strictest(&steps, undecided))
    }

    fn about(&self, id: u32, direction: Direction) -> Option<About<'_>> {
        let state = self.policies.state(id)?;
        let (noun, policy, code) = (state.noun.as_ref(), state.noun.policy()?, state.code?);
        self.policies.codes.get(code).rules(direction)?;
        Some(About { noun, policy, code, step: Step::of(noun.key.scope, policy.tier) })
    }

    fn is_own_node(&self, peer: IpAddr) -> bool {
        let node = self.places.node(peer).and_then(|node| self.nouns.node(node));
        node.is_some_and(|(cluster, node)| cluster == self.context.cluster && node.name == self.context.node)
    }
}

impl Case<'_> {
    /// The possible outcomes of a step; `None` is: it leaves the packet to the next.
    fn step(&self, policies: &[About<'_>]) -> Vec<Option<Ruling>> {
        if policies.first().is_some_and(|first| first.step == Step::Namespace) {
            return self.namespace_step(policies);
        }
        let mut outcomes: Vec<Option<Hit>> = vec![None];
        for equals in policies.chunk_by(|a, b| a.policy.priority == b.policy.priority) {
            let group = equals.iter().map(|each| self.first_hits(each)).reduce(|a, b| strongest(&a, &b));
            if outcomes.contains(&None) {
                outcomes.retain(Option::is_some);
                outcomes.extend(group.unwrap_or_default());
            }
        }
        outcomes.into_iter().map(|hit| hit.and_then(Hit::ruling)).collect()
    }

    fn namespace_step(&self, policies: &[About<'_>]) -> Vec<Option<Ruling>> {
        for each in policies {
            let rules = self.sight.policies.codes.get(each.code).rules(self.program.direction).unwrap_or_default();
            for (index, rule) in (0..).zip(rules) {
                let matched = matched(self.program, rule, self.atoms, &self.sight);
                if rule.action == Action::Accept && matched.yes.has(self.class) {
                    return vec![Hit { action: rule.action, rule: self.rule_id(each, index) }.ruling()];
                }
            }
        }
        let own_node = self.atoms.contains(&OWN_NODE);
        let Some(first) = policies.first().filter(|_| !own_node) else { return vec![None] };
        let (policy, revision) = (first.noun.uid, first.noun.revision);
        let reason = Reason::Isolated { policy, revision, direction: self.program.direction };
        vec![Some(Ruling { verdict: Verdict::Deny, reason })]
    }

    /// The rules of one policy that may be the first to match, `None` if it may be that none does.
    fn first_hits(&self, about: &About<'_>) -> Vec<Option<Hit>> {
        let mut hits = Vec::new();
        let rules = self.sight.policies.codes.get(about.code).rules(self.program.direction).unwrap_or_default();
        for (index, rule) in (0..).zip(rules) {
            let matched = matched(self.program, rule, self.atoms, &self.sight);
            if (matched.yes | matched.maybe).has(self.class) {
                hits.push(Some(Hit { action: rule.action, rule: self.rule_id(about, index) }));
            }
            if matched.yes.has(self.class) {
                return hits;
            }
        }
        hits.push(None);
        hits
    }

    fn rule_id(&self, about: &About<'_>, index: u32) -> RuleId {
        let direction = self.program.direction;
        RuleId { policy: about.noun.uid, revision: about.noun.revision, direction, index }
    }
}

impl Hit {
    /// What the step says if this rule decides; a Pass leaves the packet to the next step.
    fn ruling(self) -> Option<Ruling> {
        let verdict = match self.action {
            Action::Accept => Verdict::Accept,
            Action::Deny => Verdict::Deny,
            Action::Pass => return None,
        };
        Some(Ruling { verdict, reason: Reason::Rule(self.rule) })
    }
}

/// The possible outcomes of two policies of equal priority.
fn strongest(a: &[Option<Hit>], b: &[Option<Hit>]) -> Vec<Option<Hit>> {
    let strength = |hit: &Option<Hit>| hit.map_or(3, |hit| hit.action as u8);
    let mut all = Vec::new();
    for one in a {
        for other in b {
            let stronger = if strength(other) < strength(one) { *other } else { *one };
            if !all.contains(&stronger) {
                all.push(stronger);
            }
        }
    }
    all
}

/// The strictest verdict that can follow.
fn strictest(steps: &[Vec<Option<Ruling>>], undecided: Ruling) -> Ruling {
    let Some((step, later)) = steps.split_first() else { return undecided };
    let each = step.iter().map(|outcome| outcome.unwrap_or_else(|| strictest(later, undecided)));
    each.min_by_key(|ruling| ruling.verdict).unwrap_or(undecided)
}
