//! What judges a class in one direction, and which others it treats alike.
use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use super::{
    Survey,
    class::{Class, Nets, classes},
    curve::{Curve, Cuts},
    index::Index,
    set::Set,
};
use crate::{
    model::{Action, Enforcement, NamedPort, Policy, PortMatch, Ports, Rule},
    policy::{
        Ruling, Target, World,
        evaluate::{Case, Written},
        matching::{Match, Miss, Other},
        tables::Direction,
    },
};

/// A policy, and whether it is in force before and after a change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing<'w> {
    pub(super) written: Written<'w>,
    pub(super) in_force: [bool; 2],
}

/// A world cut into classes, and the policies that judge them.
#[derive(Debug)]
pub(super) struct Scene<'w> {
    pub(super) world: &'w World,
    pub(super) classes: Vec<Class<'w>>,
    pub(super) policies: Vec<Standing<'w>>,
    /// The classes that each policy is about.
    pub(super) subjects: Vec<Vec<u32>>,
    /// The policies that are about each class.
    about: Vec<Vec<u32>>,
    index: Index<'w>,
    /// IPv6, IPv4.
    families: [Set; 2],
    /// Nodes as their own workloads see them.
    own_nodes: Set,
    /// Which classes a rule's peers match.
    peers: RefCell<HashMap<(u32, Direction, u32), Rc<Set>>>,
}

/// The policies that judge some classes in one direction, and those classes: they are all judged alike.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) direction: Direction,
    pub(super) policies: Vec<u32>,
    /// One of the members.
    pub(super) local: u32,
    pub(super) members: Set,
}

impl<'w> Scene<'w> {
    pub(super) fn new(survey: &Survey<'w>, policies: Vec<Standing<'w>>) -> Self {
        let world = survey.world;
        let nets = Nets::of(policies.iter().map(|policy| policy.written.1));
        let classes = classes(survey, &nets);
        let index = Index::new(world, &classes);
        let subjects: Vec<_> = policies.iter().map(|policy| index.subjects(policy.written, &classes)).collect();
        let mut about = vec![Vec::new(); classes.len()];
        for (policy, subjects) in (0u32..).zip(&subjects) {
            subjects.iter().for_each(|class| about[*class as usize].push(policy));
        }
        let which = |wanted: &dyn Fn(&Class<'_>) -> bool| {
            Set::of(classes.len(), (0u32..).zip(&classes).filter(|(_, class)| wanted(class)).map(|(at, _)| at))
        };
        let families = [which(&|class| !class.is_v4()), which(&|class| class.is_v4())];
        let own_nodes = which(&|class| class.own_node);
        let peers = RefCell::default();
        Self { world, classes, policies, subjects, about, index, families, own_nodes, peers }
    }

    /// The courses of these classes, all of them workloads.
    pub(super) fn courses(&self, direction: Direction, classes: impl Iterator<Item = u32>) -> Vec<Course> {
        let mut found: BTreeMap<_, Course> = BTreeMap::new();
        for at in classes {
            let Some(local) = self.classes[at as usize].subject() else { continue };
            let judges = |policy: &&u32| rules(self.policies[**policy as usize].written.1, direction).is_some();
            let policies: Vec<u32> = self.about[at as usize].iter().filter(judges).copied().collect();
            let asks_names =
                direction == Direction::Ingress && self.rules(&policies, direction).any(|(.., rule)| names(rule));
            let named = if asks_names { local.endpoint.named_ports.as_slice() } else { &[] };
            let denies = self.world.cluster(local.cluster).map(|cluster| cluster.default_action == Action::Deny);
            let key = (policies, self.classes[at as usize].is_v4(), denies, named);
            let course = found.entry(key).or_insert_with_key(|(policies, ..)| Course {
                direction,
                policies: policies.clone(),
                local: at,
                members: Set::none(self.classes.len()),
            });
            course.members.insert(at);
        }
        found.into_values().collect()
    }

    /// The rules of policies, with policy and place.
    pub(super) fn rules<'s>(
        &'s self,
        policies: &'s [u32],
        direction: Direction,
    ) -> impl Iterator<Item = (u32, u32, &'w Rule)> + 's {
        policies.iter().flat_map(move |policy| {
            let rules = rules(self.policies[*policy as usize].written.1, direction).unwrap_or_default();
            (0u32..).zip(rules).map(move |(at, rule)| (*policy, at, rule))
        })
    }

    /// The classes of `universe` that a rule's peers match.
    pub(super) fn peers(&self, policy: u32, direction: Direction, at: u32, rule: &Rule, universe: &Set) -> Set {
        let scope = self.policies[policy as usize].written.0.key.scope;
        if Index::is_small(universe) {
            return self.index.peers(scope, rule, &self.classes, universe);
        }
        let key = (policy, direction, at);
        let known = self.peers.borrow().get(&key).cloned();
        let all = known.unwrap_or_else(|| {
            let everybody = Set::of(self.classes.len(), (0u32..).zip(&self.classes).map(|(at, _)| at));
            let found = Rc::new(self.index.peers(scope, rule, &self.classes, &everybody));
            self.peers.borrow_mut().insert(key, Rc::clone(&found));
            found
        });
        all.both(universe)
    }

    /// Those of `universe` that this course can meet, in parts that it treats alike.
    pub(super) fn parts(&self, course: &Course, universe: &Set) -> Vec<Set> {
        let family = &self.families[usize::from(self.classes[course.local as usize].is_v4())];
        let mut parts = vec![universe.both(family)];
        split(&mut parts, &self.own_nodes);
        let mut asks_names = false;
        for (policy, at, rule) in self.rules(&course.policies, course.direction) {
            asks_names |= names(rule);
            split(&mut parts, &self.peers(policy, course.direction, at, rule, universe));
        }
        if asks_names && course.direction == Direction::Egress {
            let mut alike: BTreeMap<&[NamedPort], Set> = BTreeMap::new();
            for at in parts.iter().flat_map(Set::iter) {
                let ports = self.named_ports(at);
                alike.entry(ports).or_insert_with(|| Set::none(self.classes.len())).insert(at);
            }
            alike.values().for_each(|set| split(&mut parts, set));
        }
        parts.retain(|part| !part.is_empty());
        parts
    }

    fn named_ports(&self, class: u32) -> &[NamedPort] {
        self.classes[class as usize].subject().map_or(&[], |workload| workload.endpoint.named_ports.as_slice())
    }

    /// Where the course's verdict about another class may change.
    pub(super) fn cuts(&self, course: &Course, other: u32) -> Cuts {
        let destination = if course.direction == Direction::Ingress { course.local } else { other };
        let named = self.named_ports(destination);
        let mut cuts = Cuts::new();
        self.rules(&course.policies, course.direction).for_each(|(.., rule)| cuts.add(&rule.ports, named));
        cuts
    }

    /// What the course says to another class, before and after.
    pub(super) fn curve(&self, course: &Course, other: u32) -> Curve {
        let [before, after] = [0, 1].map(|when| self.in_force(course, when));
        let same = course.policies.iter().all(|policy| {
            let [before, after] = self.policies[*policy as usize].in_force;
            before == after
        });
        self.cuts(course, other).curve(|target| {
            let verdict = |policies: &[Written<'w>]| {
                self.ruling(course, policies, other, target, false).map(|ruling| ruling.verdict)
            };
            let then = verdict(&before);
            [then, if same { then } else { verdict(&after) }]
                .map(|verdict| verdict.unwrap_or(crate::policy::Verdict::Deny))
        })
    }

    /// The course's policies that are in force before (0) or after (1).
    pub(super) fn in_force(&self, course: &Course, when: usize) -> Vec<Written<'w>> {
        let all = course.policies.iter().map(|policy| &self.policies[*policy as usize]);
        all.filter(|policy| policy.in_force[when]).map(|policy| policy.written).collect()
    }

    /// What these policies say; nothing if the course is no workload's.
    pub(super) fn ruling(
        &self,
        course: &Course,
        policies: &[Written<'_>],
        other: u32,
        target: Target,
        with_audit: bool,
    ) -> Option<Ruling> {
        Some(self.case(course, policies, other, target)?.ruling(with_audit))
    }

    /// Whether a rule of one of the course's policies matches.
    pub(super) fn rule_matches(
        &self,
        course: &Course,
        (object, _): Written<'_>,
        rule: &Rule,
        other: u32,
        target: Target,
    ) -> Match {
        let case = self.case(course, &[], other, target);
        case.map_or(Match::No(Miss::NotAWorkload), |case| case.rule_matches(object.key.scope, rule))
    }

    fn case<'c>(
        &'c self,
        course: &Course,
        policies: &'c [Written<'c>],
        other: u32,
        target: Target,
    ) -> Option<Case<'c>> {
        let Class { party, address, own_node, .. } = self.classes[other as usize];
        Some(Case {
            world: self.world,
            policies: Cow::Borrowed(policies),
            local: self.classes[course.local as usize].subject()?,
            direction: course.direction,
            other: Other { party, address },
            own_node,
            target,
        })
    }
}

/// A policy's rules for a direction; `None` if it leaves the direction alone.
pub(super) fn rules(policy: &Policy, direction: Direction) -> Option<&[Rule]> {
    match direction {
        Direction::Ingress => policy.ingress.as_deref(),
        Direction::Egress => policy.egress.as_deref(),
    }
}

/// Whether a policy decides anything.
pub(super) fn decides(policy: &Policy) -> bool {
    !policy.disabled && policy.enforcement == Enforcement::Enforce
}

fn names(rule: &Rule) -> bool {
    matches!(&rule.ports, Ports::Of(ports) if ports.iter().any(|port| matches!(port, PortMatch::Named { .. })))
}

fn split(parts: &mut Vec<Set>, by: &Set) {
    for at in 0..parts.len() {
        let inside = parts[at].both(by);
        if !inside.is_empty() && inside != parts[at] {
            parts[at].take_away(by);
            parts.push(inside);
        }
    }
}
