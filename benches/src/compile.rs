//! P15: from policies and endpoints to the tables of one node, at once and one change at a time.
//!
//! The world: a hundred policies in each namespace, each selecting one of 50 apps and accepting a role and a team on one
//! to three ports, one in twenty also a /24; four endpoints of each identity; 100 workloads on the node. All of it drawn
//! from splitmix64 of seed 1, so that every run and every peer compiles the same world.
mod world;

use std::{hint::black_box, time::Instant};

use anyhow::ensure;
use axle_core::{
    log::Change,
    policy::{
        compile::{Compiler, Context, Outcome},
        tables::{Counts, Limits, MAX_CLASSES, ROW_PORT_CLASSES, Tables},
    },
};

use crate::{Bench, Better, Row};
use world::World;

/// What the benchmark is and how to run it.
pub const BENCH: Bench = Bench { id: "P15", about: "policy compiler: 1,000 policies x 10,000 endpoints", run };

const LIMITS: Limits = Limits {
    classes: MAX_CLASSES,
    port_classes: ROW_PORT_CLASSES as u16,
    rows: 1 << 16,
    blocks: 1 << 14,
    slots: 4096,
    locals: 1024,
    addresses4: 1 << 20,
    addresses6: 1 << 18,
    prefixes: 4096,
};

const POLICIES: u32 = 1_000;
const ENDPOINTS: u32 = 10_000;
const FULL_ROUNDS: usize = 7;
const INCREMENTS: u32 = 200;

fn compiler() -> Compiler {
    Compiler::new(Context { cluster: world::HERE, node: world::node() }, LIMITS)
}

/// Measures.
///
/// # Errors
/// Where the world does not fit, or a change costs other writes than it should: then the times mean nothing.
pub fn run() -> anyhow::Result<Vec<Row>> {
    let mut world = World::new(POLICIES, ENDPOINTS)?;
    let state = world.state();
    let mut full = Vec::new();
    for _ in 0..FULL_ROUNDS {
        let mut compiler = compiler();
        let start = Instant::now();
        let outcome = compiler.update(&state);
        full.push(milliseconds(start));
        ensure!(outcome.refused.is_empty(), "{:?}", outcome.refused);
    }
    let full = median(&mut full);
    let mut bench = Increments { compiler: compiler(), tables: Tables::new(LIMITS), full };
    bench.make(&state)?;
    let usage = bench.compiler.usage();
    let mut rows = vec![Row::new("P15", "full compile, 1,000 policies x 10,000 endpoints", "ms", full)];
    let known = (0..INCREMENTS).map(|n| world.endpoint_like(n)).collect::<Result<Vec<_>, _>>()?;
    rows.extend(bench.each("one endpoint of a known class", known, |writes| writes.total() == 1)?);
    let new = (0..INCREMENTS).map(|_| world.new_identity()).collect::<Result<Vec<_>, _>>()?;
    rows.extend(bench.each("one identity added", new, |writes| writes.flips == 0)?);
    let added = (0..INCREMENTS).map(|_| world.new_policy()).collect::<Result<Vec<_>, _>>()?;
    rows.extend(bench.each("one policy added", added, |_| true)?);
    let changed = (0..INCREMENTS).map(|n| world.changed_policy(n)).collect::<Result<Vec<_>, _>>()?;
    rows.extend(bench.each("one policy changed", changed, |_| true)?);
    let bytes = u64::from(usage.rows) * 64 + u64::from(usage.blocks) * 1024 + u64::from(usage.slots) * 256;
    rows.push(Row::new("P15", "classes that the tables tell apart", "classes", f64::from(usage.classes)));
    rows.push(Row::new("P15", "rows, blocks and slots", "KiB", bytes as f64 / 1024.0));
    Ok(rows)
}

/// One change at a time.
struct Increments {
    compiler: Compiler,
    tables: Tables,
    full: f64,
}

impl Increments {
    fn make(&mut self, changes: &[Change]) -> anyhow::Result<Outcome> {
        let outcome = self.compiler.update(changes);
        for write in outcome.plan.writes.iter().chain(&outcome.plan.settle) {
            self.tables.apply(write)?;
        }
        Ok(outcome)
    }

    /// The median and the 99th percentile of the times of single changes, beside a full compile.
    fn each(&mut self, name: &str, changes: Vec<Change>, right: impl Fn(&Counts) -> bool) -> anyhow::Result<Vec<Row>> {
        let mut times = Vec::with_capacity(changes.len());
        for change in changes {
            let start = Instant::now();
            let outcome = black_box(self.compiler.update(std::slice::from_ref(&change)));
            times.push(milliseconds(start) * 1000.0);
            ensure!(outcome.refused.is_empty(), "{name}: {:?}", outcome.refused);
            for write in outcome.plan.writes.iter().chain(&outcome.plan.settle) {
                self.tables.apply(write)?;
            }
            let writes = Counts::of(&outcome.plan.writes);
            ensure!(right(&writes), "{name}: {writes:?} is not what it should cost");
        }
        let p50 = median(&mut times);
        let p99 = times[times.len() * 99 / 100];
        let beside = |name: String, value| {
            Row::new("P15", name, "us", value).against("full compile", self.full * 1000.0, Better::Lower)
        };
        Ok(vec![beside(format!("{name}, median"), p50), beside(format!("{name}, p99"), p99)])
    }
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}

/// The median; sorts.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
