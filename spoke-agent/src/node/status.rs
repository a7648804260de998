//! What the node tells of itself upward.
use axle_core::refusal::Refusal;
use axle_proto::{convert, v1};
use tokio::sync::watch;

use super::enforcement::{Enforced, EnforcedWatch};
use crate::{
    problems::Problems,
    status::{Capacity, Refused},
    tasks::Tasks,
};

/// The node's status, at each change of what the kernel holds or of what is wrong.
pub(super) fn follow(
    node: String,
    mut enforced: EnforcedWatch,
    problems: Problems,
    tasks: &mut Tasks,
) -> watch::Receiver<Vec<v1::NodeStatus>> {
    let (sender, receiver) = watch::channel(vec![told(&node, &enforced.borrow(), problems.all())]);
    tasks.spawn("the node's status", async move {
        let mut wrong = problems.watch();
        loop {
            let next = vec![told(&node, &enforced.borrow_and_update(), problems.all())];
            sender.send_if_modified(|held| {
                let differs = *held != next;
                *held = next;
                differs
            });
            tokio::select! {
                changed = enforced.changed() => if changed.is_err() { return },
                changed = wrong.changed() => if changed.is_err() { return },
            }
        }
    });
    receiver
}

/// How many workloads that are not enforced are named upward: what is told there has a limit, and must not hide refusals.
const NAMED: usize = 10;

fn told(node: &str, enforced: &Enforced, mut problems: Vec<String>) -> v1::NodeStatus {
    problems.extend(enforced.problems.clone());
    let unprotected: Vec<_> = enforced.workloads.iter().filter(|workload| !workload.enforced).collect();
    let named = unprotected.iter().take(NAMED);
    problems
        .extend(named.map(|one| format!("workload {}/{} is not enforced: {}", one.namespace, one.name, one.reason)));
    if let more @ 1.. = unprotected.len().saturating_sub(NAMED) {
        problems.push(format!("{more} more workloads are not enforced: ask `axle-agent status` there"));
    }
    v1::NodeStatus {
        node: node.into(),
        agent_version: env!("CARGO_PKG_VERSION").into(),
        applied: enforced.applied.as_ref().map(convert::position_to_wire),
        held: enforced.held.as_ref().map(convert::position_to_wire),
        digest: enforced.digest.to_vec().into(),
        refused: enforced.refused.iter().map(convert::refusal_to_wire).collect(),
        connected: true,
        bypassed: enforced.bypassed_until_ms.is_some(),
        workloads: count(enforced.workloads.len()),
        enforced_workloads: count(enforced.workloads.iter().filter(|workload| workload.enforced).count()),
        problems,
        capacity: enforced.capacity.iter().map(capacity).collect(),
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn capacity(capacity: &Capacity) -> v1::Capacity {
    let Capacity { table, used, limit } = capacity.clone();
    v1::Capacity { table, used, limit }
}

/// A refusal for people.
pub(super) fn refused(refusal: &Refusal) -> Refused {
    Refused { object: refusal.key.to_string(), code: refusal.code.clone(), message: refusal.message.clone() }
}
