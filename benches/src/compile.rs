//! P15: from policies and endpoints to the tables of one node, at once and one change at a time.
//!
//! The peer is Cilium's policy engine, a Go program that `make bench-peers` builds: the same world (see [`world`]), the
//! same changes, in the same run. It judges identities, not addresses, so adding an endpoint of a known identity has no
//! counterpart there. Nor has the peer to take up more than one endpoint of an identity: so a full compile is compared
//! twice, with one endpoint of each identity, which is the same work, and with all of them, which is more.
//!
//! `AXLE_BENCH_POLICIES` sets the size (10,000 unless set; ten endpoints to a policy), `AXLE_BENCH_SCALE` up to which
//! size the growth is measured (20,000 unless set).
mod heap;
mod peer;
mod world;

use std::{env, hint::black_box, time::Instant};

use anyhow::{Context as _, ensure};
use axle_core::{
    log::Change,
    manifest::parse_policies,
    model::{IpBlock, Policy, Resource},
    policy::{
        self,
        compile::{Compiler, Context, Usage},
        survey,
        tables::{Counts, Direction, Limits, MAX_CLASSES, PortTable, ROW_PORT_CLASSES, Tables},
    },
};

use crate::{Bench, Better, Row};
use peer::{Probe, Results, Task};
use world::{Size, World};

/// What the benchmark is and how to run it.
pub const BENCH: Bench =
    Bench { id: "P15", about: "policy compiler beside Cilium's: 10,000 policies x 100,000 endpoints", run };

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

const ROUNDS: usize = 5;
const PEER_ROUNDS: usize = 3;
const INCREMENTS: usize = 300;
const PROBES: usize = 20_000;
const PEER: &str = "Cilium policy engine";
const ABSENT: &str = "not built: make bench-peers";

/// Measures.
///
/// # Errors
/// Where the world does not fit, a change costs other writes than it should, or the peer judges otherwise: then the times
/// mean nothing.
pub fn run() -> anyhow::Result<Vec<Row>> {
    let size = Size::of(number("AXLE_BENCH_POLICIES", 10_000)?);
    let mut world = World::new(size)?;
    let first: Vec<Policy> = world.policies.clone();
    let texts: Vec<String> = first.iter().map(|policy| peer::network_policy(policy).to_string()).collect();
    let blocks = peer::blocks(first.iter());
    let probes = peer::probes(&mut world, PROBES, &blocks);
    let state = world.state().to_vec();
    let changes = Changes::draw(&mut world)?;
    let results = peer::run(&task(&world, &first, &blocks, &probes, &changes)?)?;
    let beside = |row: Row, value: fn(&Results) -> f64| match &results {
        Some(results) => row.against(format!("{PEER} {}", results.version), value(results), Better::Lower),
        None => Row { peer: Some(format!("{PEER}, {ABSENT}")), ..row },
    };
    let row = |name: &str, unit, value| Row::new("P15", name, unit, value);
    let mut rows = Vec::new();
    if let Some(parse) = parse(&texts) {
        let name = format!("parse {} NetworkPolicies", size.policies);
        rows.push(beside(row(&name, "ms", parse), |peer| least(&peer.parse_ms)));
    }
    let of = format!("{} policies x {} endpoints", size.policies, size.endpoints);
    rows.push(row(&format!("hub-wide diff of one new policy, {of}"), "ms", diff(&state, &changes.added)?));
    let one_each = World::new(Size { endpoints: size.identities, ..size })?;
    let name =
        format!("full compile, {} policies x one endpoint of each of {} identities", size.policies, size.identities);
    rows.push(beside(row(&name, "ms", full(one_each.state(), ROUNDS)?), |peer| least(&peer.compile_ms)));
    let full = full(&state, ROUNDS)?;
    rows.push(beside(row(&format!("full compile, {of}"), "ms", full), |peer| least(&peer.compile_ms)));

    let before = heap::in_use();
    let mut bench = Increments { compiler: compiler(), tables: Tables::new(LIMITS) };
    drop(bench.compiler.update(&state));
    let heap = heap::in_use() - before;
    let (usage, plan) = (bench.compiler.usage(), bench.compiler.rebuild());
    plan.writes.iter().try_for_each(|write| bench.tables.apply(write))?;
    if let Some(results) = &results {
        bench.agree(&probes, &blocks, &results.verdicts)?;
    }
    rows.push(beside(row("memory of the compiler", "MiB", mib(heap as f64)), |peer| mib(peer.heap_bytes)));
    rows.push(row("memory for one more remote endpoint", "bytes", per_endpoint(&one_each, size, heap)?));
    rows.push(row("rows, blocks and slots", "KiB", kib(&usage)));
    rows.push(row("classes that the tables tell apart", "classes", f64::from(usage.classes)));
    let entries = Counts::of(&plan.writes).total() as f64;
    rows.push(beside(row("writes that make the tables", "entries", entries), |peer| peer.entries));

    let times = bench.each("one endpoint of a known class", &changes.endpoints, |writes| writes.total() == 1)?;
    rows.extend(
        ["median", "p99"]
            .map(|which| row(&format!("one endpoint of a known class, {which}"), "us", quantile(&times, which))),
    );
    let kinds: [(&str, &[Change], Kind); 4] = [
        ("one identity added", &changes.identities, |peer| &peer.identity_us),
        ("one policy added", &changes.added, |peer| &peer.added_us),
        ("other ports in a policy in force", &changes.ports, |peer| &peer.ports_us),
        ("other peers and ports in a policy in force", &changes.changed, |peer| &peer.changed_us),
    ];
    for (name, changes, kind) in kinds {
        let times = bench.each(name, changes, |_| true)?;
        for which in ["median", "p99"] {
            let ours = row(&format!("{name}, {which}"), "us", quantile(&times, which));
            rows.push(match &results {
                Some(results) => {
                    let theirs = quantile(kind(results), which);
                    ours.against(format!("{PEER} {}", results.version), theirs, Better::Lower)
                }
                None => Row { peer: Some(format!("{PEER}, {ABSENT}")), ..ours },
            });
        }
    }
    rows.extend(growth(number("AXLE_BENCH_SCALE", 20_000)?)?);
    Ok(rows)
}

type Kind = fn(&Results) -> &Vec<f64>;

/// What comes to the world, one at a time.
struct Changes {
    endpoints: Vec<Change>,
    identities: Vec<Change>,
    added: Vec<Change>,
    /// Of policies about local workloads.
    ports: Vec<Change>,
    /// Of the same, mostly with selectors that nobody here had.
    changed: Vec<Change>,
}

impl Changes {
    fn draw(world: &mut World) -> anyhow::Result<Self> {
        // Before the policies change of which the endpoints' classes are made.
        let endpoints = (0..INCREMENTS).map(|at| world.endpoint_like(at)).collect::<Result<_, _>>()?;
        let identities = (0..INCREMENTS).map(|_| world.new_identity()).collect::<Result<_, _>>()?;
        let added = (0..INCREMENTS).map(|_| world.new_policy()).collect::<Result<_, _>>()?;
        let here = world.policies_here();
        let ports =
            here.iter().cycle().take(INCREMENTS).map(|at| world.changed_ports(*at)).collect::<Result<_, _>>()?;
        let changed = here.iter().cycle().take(INCREMENTS).map(|at| world.changed_policy(*at));
        let changed = changed.collect::<Result<_, _>>()?;
        Ok(Self { endpoints, identities, added, ports, changed })
    }
}

fn task(
    world: &World,
    first: &[Policy],
    blocks: &[IpBlock],
    probes: &[Probe],
    changes: &Changes,
) -> anyhow::Result<Task> {
    let policies = |changes: &[Change]| -> anyhow::Result<Vec<_>> {
        let policies = changes.iter().map(policy_of);
        policies.map(|policy| policy.map(peer::network_policy).context("a policy was drawn")).collect()
    };
    let known = world.identities.len() - changes.identities.len();
    Ok(Task {
        rounds: PEER_ROUNDS,
        identities: world.identities[..known].iter().map(peer::identity).collect(),
        blocks: blocks.iter().map(|block| block.cidr.to_string()).collect(),
        locals: world.locals.clone(),
        policies: first.iter().map(peer::network_policy).collect(),
        new_identities: changes.identities.iter().filter_map(peer::identity_of).collect(),
        added: policies(&changes.added)?,
        ports: policies(&changes.ports)?,
        changed: policies(&changes.changed)?,
        probes: probes.to_vec(),
    })
}

fn policy_of(change: &Change) -> Option<&Policy> {
    let Change::Put(object) = change else { return None };
    if let Resource::Policy(policy) = object.resource.as_ref() { Some(policy) } else { None }
}

fn compiler() -> Compiler {
    Compiler::new(Context { cluster: world::HERE, node: world::node() }, LIMITS)
}

/// Milliseconds to read the policies; `None` while there is no door for Kubernetes' own.
fn parse(texts: &[String]) -> Option<f64> {
    parse_policies(texts.first()?).ok()?;
    let mut times = Vec::new();
    for _ in 0..PEER_ROUNDS {
        let start = Instant::now();
        let read = texts.iter().filter_map(|text| parse_policies(text).ok()).count();
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        (read == texts.len()).then_some(())?;
    }
    Some(least(&times))
}

/// Milliseconds from objects to the writes that make the tables: of several rounds the best, the others were disturbed.
fn full(state: &[Change], rounds: usize) -> anyhow::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let mut compiler = compiler();
        let start = Instant::now();
        let outcome = black_box(compiler.update(state));
        times.push(start.elapsed().as_secs_f64() * 1000.0);
        ensure!(outcome.refused.is_empty(), "{:?}", outcome.refused);
    }
    Ok(least(&times))
}

/// Milliseconds to say whose verdicts a policy changes, wherever they run: the median of some policies.
fn diff(state: &[Change], added: &[Change]) -> anyhow::Result<f64> {
    let mut world = policy::World::default();
    state.iter().for_each(|change| world.apply(change));
    let (mut times, mut gaps) = (Vec::new(), 0);
    for change in added.iter().take(ROUNDS) {
        let start = Instant::now();
        gaps += black_box(survey::diff(&world, std::slice::from_ref(change)).report()).groups.len();
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    ensure!(gaps > 0, "not one of the policies changes a verdict");
    Ok(quantile(&times, "median"))
}

/// What an endpoint takes whose identity is known: the memory of this world less that of one with one endpoint of each.
fn per_endpoint(one_each: &World, size: Size, heap: u64) -> anyhow::Result<f64> {
    ensure!(size.endpoints > size.identities, "the world has to have more endpoints than identities");
    let before = heap::in_use();
    let mut compiler = compiler();
    drop(compiler.update(one_each.state()));
    let small = heap::in_use() - before;
    drop(black_box(compiler));
    Ok(heap.saturating_sub(small) as f64 / f64::from(size.endpoints - size.identities))
}

/// How the time of a full compile grows with the world.
fn growth(largest: u32) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut curve = Vec::new();
    for policies in [1_000, 3_000, 10_000, 20_000].into_iter().filter(|policies| *policies <= largest) {
        let size = Size::of(policies);
        let took = full(World::new(size)?.state(), 3)?;
        curve.push((f64::from(policies), took));
        let name = format!("growth: full compile, {policies} policies x {} endpoints", size.endpoints);
        rows.push(Row::new("P15", name, "ms", took));
    }
    if let [(small, first), .., (large, last)] = curve[..] {
        let exponent = (last / first).ln() / (large / small).ln();
        rows.push(Row::new("P15", "growth: exponent, 1 is linear", "", exponent));
    }
    Ok(rows)
}

/// One change at a time.
struct Increments {
    compiler: Compiler,
    tables: Tables,
}

impl Increments {
    /// The microseconds of single changes, all of which must make the writes that are right.
    fn each(&mut self, name: &str, changes: &[Change], right: impl Fn(&Counts) -> bool) -> anyhow::Result<Vec<f64>> {
        let mut times = Vec::with_capacity(changes.len());
        for change in changes {
            let start = Instant::now();
            let outcome = black_box(self.compiler.update(std::slice::from_ref(change)));
            times.push(start.elapsed().as_secs_f64() * 1e6);
            ensure!(outcome.refused.is_empty(), "{name}: {:?}", outcome.refused);
            for write in outcome.plan.writes.iter().chain(&outcome.plan.settle) {
                self.tables.apply(write)?;
            }
            let writes = Counts::of(&outcome.plan.writes);
            ensure!(right(&writes), "{name}: {writes:?} is not what it should cost");
        }
        Ok(times)
    }

    /// Whether the peer judges the probes as our tables do.
    fn agree(&self, probes: &[Probe], blocks: &[IpBlock], theirs: &[bool]) -> anyhow::Result<()> {
        let locals: Vec<_> = self.compiler.locals().collect();
        let mut accepted = 0;
        for (probe, theirs) in probes.iter().zip(theirs) {
            let uid = World::local(probe.local);
            let local = locals.iter().find(|local| local.endpoint == uid).context("a local workload has a number")?;
            let peer = match (probe.block, probe.peer) {
                (Some(block), _) => blocks[block].cidr.hosts().next().context("a block has an address")?,
                (None, peer) => World::address(peer.context("a probe has a sender")?).into(),
            };
            let ours = self.tables.verdict(local.local, Direction::Ingress, peer, PortTable::Tcp, probe.port);
            ensure!(ours == *theirs, "{probe:?}: we say {ours}, the peer {theirs}");
            accepted += usize::from(ours);
        }
        ensure!((1..probes.len()).contains(&accepted), "{accepted} of {} probes are accepted", probes.len());
        Ok(())
    }
}

fn number(variable: &str, default: u32) -> anyhow::Result<u32> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable} is {text:?}, which is no number")),
        Err(_) => Ok(default),
    }
}

fn kib(usage: &Usage) -> f64 {
    let bytes = u64::from(usage.rows) * 64 + u64::from(usage.blocks) * 1024 + u64::from(usage.slots) * 256;
    bytes as f64 / 1024.0
}

fn mib(bytes: f64) -> f64 {
    bytes / 1024.0 / 1024.0
}

fn least(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The median, else the 99th percentile.
fn quantile(times: &[f64], which: &str) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    let percent = if which == "median" { 50 } else { 99 };
    times.get(times.len() * percent / 100).copied().unwrap_or(f64::NAN)
}
