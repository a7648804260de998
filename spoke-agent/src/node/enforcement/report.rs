//! What the enforcer tells of itself.
use std::time::Duration;

use axle_core::policy::tables::Limits;

use super::{Enforced, Enforcer};
use crate::{
    clock,
    dataplane::{Calls, Status},
    status::Capacity,
};

/// The kernel's counters as they were last read: reading them takes hundreds of calls, and a revision only some.
#[derive(Debug, Default)]
pub(super) struct Counters {
    status: Option<Status>,
    calls: Option<Calls>,
    bypassed_until_ms: Option<u64>,
}

impl Enforcer {
    /// Reads the kernel's counters.
    pub(super) fn count(&mut self) {
        let status = self.plane.status().ok();
        let left = status.as_ref().and_then(|status| status.bypass);
        // Rounded, so that it does not change by itself.
        let until = |left: Duration| (clock::now_ms() + left.as_millis() as u64).div_ceil(1000) * 1000;
        self.counters = Counters { status, calls: self.translating.calls(), bypassed_until_ms: left.map(until) };
    }

    /// What the kernel holds now; its counters as they were last read.
    #[must_use]
    pub fn enforced(&self) -> Enforced {
        let status = self.counters.status.as_ref();
        let bypassed_until_ms = self.counters.bypassed_until_ms.filter(|until| *until > clock::now_ms());
        let mut problems: Vec<String> =
            self.broken.iter().chain(&self.shortage).chain(&self.policies.trouble).cloned().collect();
        problems.extend(self.translating.problem());
        if self.bypass_noted && bypassed_until_ms.is_none() {
            problems.push("policy was bypassed on this node since the agent started".into());
        }
        Enforced {
            applied: self.applied,
            held: None,
            digest: if self.applied.is_some() { self.compiler.digest() } else { [0; 32] },
            refused: self.policies.refusals(),
            workloads: self.attaching.workloads(&self.endpoints, &self.plane, status),
            capacity: capacity(&self.compiler.usage(), &self.plane.limits()),
            bypassed_until_ms,
            events_lost: status.map_or(0, |status| status.events_lost + status.events_suppressed),
            problems,
            writes: self.writes,
            rebuilds: self.rebuilds,
            calls: self.counters.calls,
            tallies: status.map(|status| status.tallies.clone()).unwrap_or_default(),
        }
    }
}

fn capacity(used: &Limits, limits: &Limits) -> Vec<Capacity> {
    let tables = used.tables().into_iter().zip(limits.tables());
    tables
        .map(|((table, used), (_, limit))| Capacity { table: table.into(), used: used.into(), limit: limit.into() })
        .collect()
}
