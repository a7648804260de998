//! The oracle: the naive reading of what policy means, against which the compiler and the kernel are tested.
//!
//! Each end of a flow goes through the steps of [`STEPS`]. A step may decide (Accept or Deny) or leave the flow to the
//! next. Where the other side's labels are unknown a step has several possible outcomes; the verdict is the strictest
//! that can follow.
use std::{borrow::Cow, net::IpAddr};

use crate::{
    model::{Action, Cluster, Enforcement, Object, Policy, Rule, Scope, Tier},
    policy::{
        decision::{Decision, Reason, RuleId, Ruling, Side, Verdict},
        matching::{Match, Miss, Other, Target, has_unknown_peer, ports_match},
        tables::Direction,
        world::{Party, Workload, World},
    },
};

/// One packet as policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The sender's address.
    pub from: IpAddr,
    /// The receiver's address: a backend's, never a service's.
    pub to: IpAddr,
    /// What it asks for.
    pub target: Target,
}

/// The order of decision: which tier, and whether the fleet's or the cluster's policies of it.
pub const STEPS: [Step; 5] =
    [Step::FleetAdmin, Step::ClusterAdmin, Step::Namespace, Step::ClusterBaseline, Step::FleetBaseline];

/// One step of the order of decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The fleet's Admin policies.
    FleetAdmin,
    /// The cluster's Admin policies.
    ClusterAdmin,
    /// Policies of namespaces, whoever wrote them.
    Namespace,
    /// The cluster's Baseline policies.
    ClusterBaseline,
    /// The fleet's Baseline policies.
    FleetBaseline,
}

impl Step {
    /// The step that a policy of this scope takes part in.
    #[must_use]
    pub fn of(scope: Scope, tier: Tier) -> Self {
        match (tier, scope) {
            (Tier::Admin, Scope::Fleet) => Self::FleetAdmin,
            (Tier::Admin, Scope::Cluster(_)) => Self::ClusterAdmin,
            (Tier::Namespace, _) => Self::Namespace,
            (Tier::Baseline, Scope::Cluster(_)) => Self::ClusterBaseline,
            (Tier::Baseline, Scope::Fleet) => Self::FleetBaseline,
        }
    }
}

/// What a workload says to itself.
pub(super) const ITSELF: Side =
    Side { ruling: Ruling { verdict: Verdict::Accept, reason: Reason::Itself }, audit: None };

/// What both ends say to a flow.
#[must_use]
pub fn evaluate(world: &World, flow: Flow) -> Decision {
    let judge = |address, direction, peer| {
        let workload = world.subject_at(address)?;
        let case = Case::new(world, workload, direction, peer, flow.target);
        Some(if case.is_itself() { ITSELF } else { case.side() })
    };
    Decision {
        egress: judge(flow.from, Direction::Egress, flow.to),
        ingress: judge(flow.to, Direction::Ingress, flow.from),
    }
}

/// What one workload's end says to a packet between it and `peer`, at its interface: what the tables of its node must say
/// too. (What a workload sends to itself is not seen there: it never leaves it.)
#[must_use]
pub fn judge(world: &World, local: &Workload<'_>, direction: Direction, peer: IpAddr, target: Target) -> Side {
    Case::new(world, *local, direction, peer, target).side()
}

/// A policy and the object that it is.
pub(super) type Written<'w> = (&'w Object, &'w Policy);

/// One end of one flow, under judgement.
pub(super) struct Case<'w> {
    pub(super) world: &'w World,
    /// Every policy; or at least every one that is about `local`, where somebody has looked them up before.
    pub(super) policies: Cow<'w, [Written<'w>]>,
    pub(super) local: Workload<'w>,
    pub(super) direction: Direction,
    pub(super) other: Other<'w>,
    /// Whether the other side is the node that `local` runs on.
    pub(super) own_node: bool,
    pub(super) target: Target,
}

/// A rule that may decide, and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hit {
    action: Action,
    rule: RuleId,
}

impl<'w> Case<'w> {
    pub(super) fn new(
        world: &'w World,
        local: Workload<'w>,
        direction: Direction,
        peer: IpAddr,
        target: Target,
    ) -> Self {
        let party = world.party(peer, Some((local.cluster, &local.endpoint.node)));
        let policies = Cow::Owned(world.policies().collect());
        Self {
            world,
            policies,
            local,
            direction,
            other: Other { party, address: peer },
            own_node: local.is_on(&party),
            target,
        }
    }

    pub(super) fn side(&self) -> Side {
        let ruling = self.ruling(false);
        let in_audit = |(_, policy): &Written<'_>| policy.enforcement == Enforcement::Audit;
        let audited = if self.policies.iter().any(in_audit) { self.ruling(true) } else { ruling };
        Side { ruling, audit: (audited.verdict != ruling.verdict).then_some(audited) }
    }

    pub(super) fn ruling(&self, with_audit: bool) -> Ruling {
        let deny = |reason| Ruling { verdict: Verdict::Deny, reason };
        let Some(cluster) = self.world.cluster(self.local.cluster) else { return deny(Reason::UnknownCluster) };
        if self.world.namespace_labels(self.local.cluster, &self.local.endpoint.namespace).is_none() {
            return deny(Reason::UnknownNamespace);
        }
        match self.other.party {
            Party::UnknownCluster => return deny(Reason::UnknownCluster),
            Party::ServiceAddress => return deny(Reason::ServiceAddress),
            // Packets carry a backend's address; one that does not was translated by nobody who asked its policies.
            Party::ClusterService if self.is_told(cluster, with_audit) => return deny(Reason::ServiceAddress),
            _ => {}
        }
        let undecided = if self.own_node {
            Ruling { verdict: Verdict::Accept, reason: Reason::OwnNode }
        } else if cluster.default_action == Action::Deny {
            deny(Reason::Default)
        } else {
            Ruling { verdict: Verdict::Accept, reason: Reason::Default }
        };
        let steps: Vec<_> = STEPS.iter().map(|step| self.step(*step, with_audit)).collect();
        strictest(&steps, undecided)
    }

    /// Whether anything is said about this direction at all.
    fn is_told(&self, cluster: &Cluster, with_audit: bool) -> bool {
        let says = |step: &Step| {
            let selected = *step == Step::Namespace;
            self.policies(*step, with_audit).iter().any(|(_, _, rules)| selected || !rules.is_empty())
        };
        cluster.default_action == Action::Deny || STEPS.iter().any(says)
    }

    /// Whether the other side is the workload itself.
    pub(super) fn is_itself(&self) -> bool {
        matches!(self.other.party, Party::Workload(other) if other.uid == self.local.uid)
    }

    /// The policies of a step that are about this workload and direction, in the order of priority, then name.
    fn policies(&self, step: Step, with_audit: bool) -> Vec<(&'w Object, &'w Policy, &'w [Rule])> {
        let in_force = |policy: &Policy| !policy.disabled && (with_audit || policy.enforcement == Enforcement::Enforce);
        let mut found: Vec<_> = self
            .policies
            .iter()
            .copied()
            .filter(|(object, policy)| Step::of(object.key.scope, policy.tier) == step && in_force(policy))
            .filter(|(object, policy)| self.world.subject_matches(object.key.scope, policy, &self.local) == Match::Yes)
            .filter_map(|(object, policy)| Some((object, policy, self.rules(policy)?)))
            .collect();
        found.sort_by_key(|(object, policy, _)| (policy.priority, &object.key.name, &object.key));
        found
    }

    pub(super) fn rules<'p>(&self, policy: &'p Policy) -> Option<&'p [Rule]> {
        match self.direction {
            Direction::Ingress => policy.ingress.as_deref(),
            Direction::Egress => policy.egress.as_deref(),
        }
    }

    /// The possible outcomes of a step; `None` is: it leaves the flow to the next.
    fn step(&self, step: Step, with_audit: bool) -> Vec<Option<Ruling>> {
        let policies = self.policies(step, with_audit);
        if step == Step::Namespace { self.namespace_step(&policies) } else { self.tier_step(&policies) }
    }

    /// Admin or Baseline: by priority, of equals the strongest action.
    fn tier_step(&self, policies: &[(&Object, &Policy, &[Rule])]) -> Vec<Option<Ruling>> {
        let mut outcomes: Vec<Option<Hit>> = vec![None];
        for equals in policies.chunk_by(|(_, a, _), (_, b, _)| a.priority == b.priority) {
            let hits = equals.iter().map(|(object, _, rules)| self.first_hits(object, rules));
            let group = hits.reduce(|a, b| strongest(&a, &b)).unwrap_or_default();
            if outcomes.contains(&None) {
                outcomes.retain(Option::is_some);
                outcomes.extend(group);
            }
        }
        let mut rulings: Vec<Option<Ruling>> = Vec::new();
        for ruling in outcomes.into_iter().map(|hit| hit.and_then(Hit::ruling)) {
            let verdict = ruling.map(|ruling| ruling.verdict);
            if !rulings.iter().any(|other| other.map(|other| other.verdict) == verdict) {
                rulings.push(ruling);
            }
        }
        rulings
    }

    /// Namespace: what any policy accepts for certain; a selected direction denies the rest, but for the workload's own
    /// node. Only Accept rules have a meaning here.
    fn namespace_step(&self, policies: &[(&Object, &Policy, &[Rule])]) -> Vec<Option<Ruling>> {
        let Some((first, ..)) = policies.first() else { return vec![None] };
        for (object, _, rules) in policies {
            for (index, rule) in (0..).zip(*rules) {
                if rule.action == Action::Accept && self.rule_matches(object.key.scope, rule) == Match::Yes {
                    return vec![Hit { action: rule.action, rule: self.rule_id(object, index) }.ruling()];
                }
            }
        }
        let reason = Reason::Isolated { policy: first.uid, revision: first.revision, direction: self.direction };
        vec![(!self.own_node).then_some(Ruling { verdict: Verdict::Deny, reason })]
    }

    pub(super) fn rule_id(&self, object: &Object, index: u32) -> RuleId {
        RuleId { policy: object.uid, revision: object.revision, direction: self.direction, index }
    }

    /// The rules of one policy that may be the first to match, `None` if it may be that none does.
    fn first_hits(&self, object: &Object, rules: &[Rule]) -> Vec<Option<Hit>> {
        let mut hits = Vec::new();
        for (index, rule) in (0..).zip(rules) {
            let matched = self.rule_matches(object.key.scope, rule);
            if !matches!(matched, Match::No(_)) {
                let action = if has_unknown_peer(rule) { Action::Deny } else { rule.action };
                hits.push(Some(Hit { action, rule: self.rule_id(object, index) }));
            }
            if matched == Match::Yes {
                return hits;
            }
        }
        hits.push(None);
        hits
    }

    /// Whether a rule of a policy of this scope matches the packet. A rule with a peer that this version does not know
    /// fails closed: an Accept matches nothing, any other everything (and denies it).
    pub(super) fn rule_matches(&self, scope: Scope, rule: &Rule) -> Match {
        if has_unknown_peer(rule) {
            return if rule.action == Action::Accept { Match::No(Miss::UnknownPeer) } else { Match::Yes };
        }
        let destination = match self.direction {
            Direction::Ingress => Party::Workload(self.local),
            Direction::Egress => self.other.party,
        };
        let peers = self.world.peers_match(scope, &rule.peers, &self.other);
        peers.and(|| ports_match(&rule.ports, self.target, &destination))
    }
}

impl Hit {
    /// What the step says if this rule decides; a Pass leaves the flow to the next step.
    fn ruling(self) -> Option<Ruling> {
        let verdict = match self.action {
            Action::Accept => Verdict::Accept,
            Action::Deny => Verdict::Deny,
            Action::Pass => return None,
        };
        Some(Ruling { verdict, reason: Reason::Rule(self.rule) })
    }
}

/// The possible outcomes of two policies of equal priority: Deny before Pass before Accept before nothing; of the same
/// action the first's, which is the first by name.
fn strongest(a: &[Option<Hit>], b: &[Option<Hit>]) -> Vec<Option<Hit>> {
    let strength = |hit: &Option<Hit>| hit.map_or(3, |hit| hit.action as u8);
    let mut all: Vec<Option<Hit>> = Vec::new();
    for one in a {
        for other in b {
            let stronger = if strength(other) < strength(one) { *other } else { *one };
            if !all.iter().any(|hit| strength(hit) == strength(&stronger)) {
                all.push(stronger);
            }
        }
    }
    all
}

/// The strictest verdict that can follow from the steps' possible outcomes.
fn strictest(steps: &[Vec<Option<Ruling>>], undecided: Ruling) -> Ruling {
    let Some((step, later)) = steps.split_first() else { return undecided };
    let each = step.iter().map(|outcome| outcome.unwrap_or_else(|| strictest(later, undecided)));
    each.min_by_key(|ruling| ruling.verdict).unwrap_or(undecided)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
