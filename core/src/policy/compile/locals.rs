//! The workloads of this node: which policies are about them, and what their two slots are built from.
use std::collections::BTreeSet;

use super::{
    Compiler,
    code::{Program, ProgramId, Ranked},
    policies::{PolicyId, World},
};
use crate::{
    model::{Action, Endpoint, Labels, Uid},
    policy::{
        evaluate::Step,
        tables::{Direction, Local, Slot},
    },
};

/// What judges one direction of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Course {
    /// Nothing passes: too little is known of the workload.
    #[default]
    Deny,
    /// Everything passes: no policy is about it.
    Accept,
    /// A program does.
    Program(ProgramId),
}

/// A workload of this node.
#[derive(Debug, Default)]
pub(super) struct LocalState {
    /// Its number, once it is in the tables.
    pub(super) number: Option<Local>,
    /// Its labels, as the index of them has it.
    pub(super) labels: Labels,
    /// The policies that are about it, sorted.
    pub(super) policies: Vec<PolicyId>,
    /// What shall judge what reaches it and what it sends.
    pub(super) courses: [Course; 2],
    /// Its slots in the tables.
    pub(super) words: Option<[Slot; 2]>,
}

const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

impl Compiler {
    /// Finds the policies of the workloads that an update may have changed.
    pub(super) fn refresh_locals(&mut self) {
        let mut unneeded = Vec::new();
        for uid in std::mem::take(&mut self.dirty) {
            let endpoint = self.nouns.endpoint(uid).map(|(cluster, endpoint)| (cluster, endpoint.clone()));
            let endpoint = endpoint.filter(|(cluster, endpoint)| self.is_local(*cluster, endpoint));
            let courses = match &endpoint {
                Some((cluster, endpoint)) => {
                    let state = self.locals.entry(uid).or_default();
                    self.local_labels.remove(&state.labels, uid);
                    state.labels.clone_from(&endpoint.labels);
                    self.local_labels.add(&state.labels, uid);
                    self.refresh_policies(uid, Some((*cluster, endpoint)));
                    self.courses(uid, *cluster, endpoint)
                }
                None => {
                    self.refresh_policies(uid, None);
                    [Course::Deny; 2]
                }
            };
            let Some(state) = self.locals.get_mut(&uid) else { continue };
            let before = std::mem::replace(&mut state.courses, courses);
            if endpoint.is_none()
                && let Some(state) = self.locals.remove(&uid)
            {
                self.local_labels.remove(&state.labels, uid);
                self.departed.extend(state.number);
            }
            self.unsettled.insert(uid);
            unneeded.extend(before);
            courses.into_iter().for_each(|course| self.set_course(course, true));
        }
        unneeded.into_iter().for_each(|course| self.set_course(course, false));
        let mut world = World { nouns: &self.nouns, peers: &mut self.peers, places: &mut self.places };
        self.policies.retire(&mut world);
    }

    fn set_course(&mut self, course: Course, on: bool) {
        if let Course::Program(id) = course {
            let mut world = World { nouns: &self.nouns, peers: &mut self.peers, places: &mut self.places };
            self.policies.set_program(id, on, &mut world);
        }
    }

    fn refresh_policies(&mut self, uid: Uid, endpoint: Option<(Uid, &Endpoint)>) {
        let Some(state) = self.locals.get_mut(&uid) else { return };
        let before: BTreeSet<_> = std::mem::take(&mut state.policies).into_iter().collect();
        let found = endpoint.map(|(cluster, endpoint)| self.policies.about(cluster, endpoint, &self.nouns));
        let found = found.unwrap_or_default();
        let mut world = World { nouns: &self.nouns, peers: &mut self.peers, places: &mut self.places };
        let after: BTreeSet<_> = found.iter().copied().collect();
        after.difference(&before).for_each(|id| self.policies.set_selects(*id, uid, true, &mut world));
        before.difference(&after).for_each(|id| self.policies.set_selects(*id, uid, false, &mut world));
        if let Some(state) = self.locals.get_mut(&uid) {
            state.policies = found;
        }
    }

    fn courses(&mut self, uid: Uid, cluster: Uid, endpoint: &Endpoint) -> [Course; 2] {
        let Some(known) = self.nouns.cluster(cluster) else { return [Course::Deny; 2] };
        if self.nouns.namespace_labels(cluster, &endpoint.namespace).is_none() {
            return [Course::Deny; 2];
        }
        let default_deny = known.default_action == Action::Deny;
        let policies = self.locals.get(&uid).map(|state| state.policies.clone()).unwrap_or_default();
        DIRECTIONS.map(|direction| self.course(direction, &policies, default_deny, endpoint))
    }

    fn course(
        &mut self,
        direction: Direction,
        policies: &[PolicyId],
        default_deny: bool,
        endpoint: &Endpoint,
    ) -> Course {
        let mut named = BTreeSet::new();
        let mut ranked = Vec::new();
        for state in policies.iter().filter_map(|id| self.policies.state(*id)) {
            let (Some(policy), Some(id)) = (state.noun.policy(), state.code) else { continue };
            let code = self.policies.codes.get(id);
            let step = Step::of(state.noun.key.scope, policy.tier);
            // Without rules a policy says nothing, unless being selected is enough.
            if code.rules(direction).is_none_or(|rules| rules.is_empty() && step != Step::Namespace) {
                continue;
            }
            ranked.push(Ranked { step, priority: policy.priority, code: id });
            if direction == Direction::Ingress {
                for name in code.port_names(direction) {
                    let own = endpoint.named_ports.iter();
                    let own = own.filter(|own| own.name == name.name && own.protocol == name.protocol);
                    named.extend(own.map(|own| (name.clone(), own.port)));
                }
            }
        }
        if ranked.is_empty() && !default_deny {
            return Course::Accept;
        }
        // In the order of decision; policies of equal rank in any order, as long as it is one.
        ranked.sort_unstable_by_key(|ranked| (ranked.step, ranked.priority, ranked.code));
        let program = Program { direction, default_deny, policies: ranked, named: named.into_iter().collect() };
        Course::Program(self.policies.programs.number(program))
    }
}
