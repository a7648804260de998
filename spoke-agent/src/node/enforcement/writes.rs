//! Counting writes to the kernel's tables.
use axle_core::policy::tables::{Plan, Write};

/// How many writes each table got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteCounts([u64; TABLES.len()]);

const TABLES: [&str; 9] = ["row", "block", "cell", "slot_block", "address", "prefix", "ports", "workload", "flip"];

impl WriteCounts {
    pub(super) fn add(&mut self, plan: &Plan) {
        for write in plan.writes.iter().chain(&plan.settle) {
            self.0[table(write)] += 1;
        }
    }

    /// Each table's name with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        TABLES.into_iter().zip(self.0)
    }
}

fn table(write: &Write) -> usize {
    match write {
        Write::Row { .. } => 0,
        Write::Block { .. } => 1,
        Write::Cell { .. } => 2,
        Write::SlotBlock { .. } => 3,
        Write::Address { .. } => 4,
        Write::Prefix { .. } => 5,
        Write::Ports { .. } => 6,
        Write::Workload { .. } => 7,
        Write::Flip { .. } => 8,
    }
}
