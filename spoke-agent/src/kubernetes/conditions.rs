//! What is said of policies, in their conditions.
use std::{collections::BTreeMap, sync::Arc};

use axle_core::{
    log::Position,
    model::{Key, Object, Policy, Resource, Scope},
};
use axle_proto::{convert, v1};
use serde_json::Value;

use super::{
    crd::{Condition, Truth},
    policies::{Fault, reason},
};

/// The most nodes that are named in a message.
const NAMED: usize = 5;
/// The longest message that the API server takes, in bytes.
const LONGEST: usize = 32 << 10;

/// One condition without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Which aspect.
    pub kind: String,
    /// Whether it is so.
    pub status: Truth,
    /// Why, for programs.
    pub reason: String,
    /// Why, for people.
    pub message: String,
}

/// What one node's kernel holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    node: String,
    connected: bool,
    /// In the numbering of the relay's log, which the cluster's own policies have.
    at: Option<Position>,
    /// In the hub's, which the fleet's have.
    applied: Option<Position>,
    /// What it refuses, and why.
    refused: BTreeMap<Key, (String, String)>,
}

impl Held {
    /// As the node said it.
    #[must_use]
    pub fn of(status: &v1::NodeStatus) -> Self {
        let refusal = |wire: &v1::Refusal| convert::refusal_from_wire(wire.clone()).ok();
        let refused = status.refused.iter().filter_map(refusal);
        let position = |wire: &Option<v1::Position>| convert::position_from_wire(wire.clone()?).ok();
        Self {
            node: status.node.clone(),
            connected: status.connected,
            at: position(&status.held),
            applied: position(&status.applied),
            refused: refused.map(|refusal| (refusal.key, (refusal.code, refusal.message))).collect(),
        }
    }

    fn has(&self, policy: &Object, log: &Position) -> bool {
        let at = if policy.key.scope == Scope::Fleet { self.applied } else { self.at };
        let reached = at.is_some_and(|at| at.epoch == log.epoch && at.revision >= policy.revision);
        reached && !self.refused.contains_key(&policy.key)
    }
}

/// What became of a policy, and how many nodes of how many have it in their kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// `Accepted` and `Programmed`.
    pub said: [Said; 2],
    /// `2/3`.
    pub nodes: String,
}

/// What is said of a policy that was read as `outcome` and is in the relay's log, which is `at` its head, as `in_log`.
#[must_use]
pub fn of_policy(
    outcome: &Result<Arc<Policy>, Fault>,
    in_log: Option<&Object>,
    at: &Position,
    nodes: &[Held],
) -> Verdict {
    let policy = match outcome {
        Ok(policy) => policy,
        Err(fault) => {
            let (stays, reason) = match in_log {
                Some(_) => ("the version before stays in force", "OlderVersion"),
                None => ("nothing of it is in force", "NotAccepted"),
            };
            let accepted = said("Accepted", Truth::False, &fault.reason, format!("{}; {stays}", fault.message));
            let programmed = said("Programmed", Truth::False, reason, format!("it is not accepted: {stays}"));
            return Verdict { said: [accepted, programmed], nodes: format!("0/{}", nodes.len()) };
        }
    };
    let is_it = |object: &&Object| matches!(&*object.resource, Resource::Policy(held) if held == &**policy);
    let Some(object) = in_log.filter(is_it) else {
        let accepted = said("Accepted", Truth::True, "Accepted", String::new());
        let programmed = said("Programmed", Truth::False, "Pending", "it is not in the relay's log yet".into());
        return Verdict { said: [accepted, programmed], nodes: format!("0/{}", nodes.len()) };
    };
    in_kernels(object, at, nodes)
}

/// What is said of an object of a log that is `at` its head: of a fleet's the hub's log, of a cluster's its relay's.
#[must_use]
pub fn in_kernels(object: &Object, at: &Position, nodes: &[Held]) -> Verdict {
    let refusing: Vec<_> = nodes.iter().filter_map(|node| Some((node, node.refused.get(&object.key)?))).collect();
    let (has, lacks): (Vec<&Held>, Vec<&Held>) = nodes.iter().partition(|node| node.has(object, at));
    let accepted = match refusing.first() {
        None => said("Accepted", Truth::True, "Accepted", String::new()),
        Some((node, (code, message))) => {
            let more = if refusing.len() > 1 { format!(", and {} more", refusing.len() - 1) } else { String::new() };
            let message = format!("refused by node {}{more}: {message}; what was in force there stays", node.node);
            said("Accepted", Truth::False, &reason(code), message)
        }
    };
    let count = format!("{} of {} nodes have it in their kernel", has.len(), nodes.len());
    let programmed = if nodes.is_empty() {
        said("Programmed", Truth::Unknown, "NoNodes", "no node of this cluster has joined its relay".into())
    } else if lacks.is_empty() {
        said("Programmed", Truth::True, "Programmed", count)
    } else {
        let one = |node: &&Held| match (node.connected, node.refused.contains_key(&object.key)) {
            (false, _) => format!("{} (away)", node.node),
            (true, true) => format!("{} (refused)", node.node),
            (true, false) => node.node.clone(),
        };
        let names: Vec<String> = lacks.iter().take(NAMED).map(one).collect();
        let more = if lacks.len() > NAMED { format!(" and {} more", lacks.len() - NAMED) } else { String::new() };
        let why = if refusing.is_empty() { "Pending" } else { "Refused" };
        said("Programmed", Truth::False, why, format!("{count}; not yet: {}{more}", names.join(", ")))
    };
    Verdict { said: [accepted, programmed], nodes: format!("{}/{}", has.len(), nodes.len()) }
}

/// A condition; what is too long for the API server is cut.
#[must_use]
pub fn said(kind: &str, status: Truth, reason: &str, mut message: String) -> Said {
    message.truncate(message.floor_char_boundary(LONGEST));
    Said { kind: kind.into(), status, reason: reason.into(), message }
}

/// The conditions to write where `before` is the object's status, or `None` if they are there as they are. A status that
/// stays keeps the time of its last transition.
#[must_use]
pub fn renewed(before: &Value, said: &[Said], generation: Option<i64>, now: &str) -> Option<Vec<Condition>> {
    let held: Vec<Condition> = serde_json::from_value(before["conditions"].clone()).unwrap_or_default();
    let mut changed = false;
    let one = |said: &Said| {
        let before = held.iter().find(|condition| condition.kind == said.kind);
        let since = before.filter(|condition| condition.status == said.status);
        let condition = Condition {
            kind: said.kind.clone(),
            status: said.status,
            reason: said.reason.clone(),
            message: said.message.clone(),
            observed_generation: generation,
            last_transition_time: since.map_or(now, |condition| &condition.last_transition_time).into(),
        };
        changed |= before != Some(&condition);
        condition
    };
    let conditions = said.iter().map(one).collect();
    changed.then_some(conditions)
}

#[cfg(test)]
mod tests;
