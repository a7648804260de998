//! The cost of a change in the kernel follows the change.
use std::collections::BTreeMap;

use anyhow::Context as _;
use axle_tests::{
    fleet::{Fleet, Node, Settings, Spec, scenario},
    http::metric,
};

use crate::{
    documents::{deny_from, only_from, peers},
    pair::Pair,
};

const METRIC: &str = "axle_agent_map_writes_total";

/// Writes to each table that `node` has carried out.
fn writes(node: &Node) -> anyhow::Result<BTreeMap<String, f64>> {
    let page = node.metrics()?;
    let series = page.lines().filter(|line| line.starts_with(METRIC));
    let table = |line: &str| line.split('"').nth(1).map(str::to_owned).with_context(|| format!("no label in {line:?}"));
    series.map(|line| table(line).map(|table| (table.clone(), metric(&page, METRIC, &[&table])))).collect()
}

/// What `change` costs at `node`, by table, once it has arrived there.
fn cost(
    fleet: &Fleet,
    node: &Node,
    change: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<BTreeMap<String, f64>> {
    let before = writes(node)?;
    change()?;
    fleet.settle(2)?;
    let mut after = writes(node)?;
    for (table, count) in &mut after {
        *count -= before.get(table).unwrap_or(&0.0);
    }
    after.retain(|_, count| *count != 0.0);
    Ok(after)
}

fn of(expected: &[(&str, f64)]) -> BTreeMap<String, f64> {
    expected.iter().map(|(table, count)| ((*table).to_owned(), *count)).collect()
}

#[test]
fn writes_follow_the_change() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        let policy = deny_from("no-enemies", "server", peers("app", "enemy"));
        fleet.hub.apply(&policy)?;
        let spawn = |name: &str, app: &str, settled| -> anyhow::Result<()> {
            pair.first.workload(&fleet.fabric, &Spec::new(name, app))?;
            fleet.settle_with(2, settled)
        };
        spawn("enemy-1", "enemy", 3)?;
        // The second of a kind, on another node: its two addresses, and nothing else.
        let same = cost(fleet, &pair.second, || spawn("enemy-2", "enemy", 4))?;
        assert_eq!(same, of(&[("address", 2.0)]), "an endpoint of a known class");
        // One that no selector in force there tells from the rest of its cluster needs no entry at all.
        let any = cost(fleet, &pair.second, || spawn("bystander", "bystander", 5))?;
        assert_eq!(any, of(&[]), "an endpoint that needs no entry");
        // A policy about workloads of the other node only: nothing here.
        let elsewhere = only_from("elsewhere", "client", peers("app", "server"));
        let other = cost(fleet, &pair.second, || fleet.hub.apply(&elsewhere).map(drop))?;
        assert_eq!(other, of(&[]), "a policy about another node's workloads");
        // A policy about this node's one workload: its own slot and rows, one flip, no address of any other class.
        let own = cost(fleet, &pair.second, || {
            fleet.hub.apply(&deny_from("cut", "server", peers("app", "client"))).map(drop)
        })?;
        assert_eq!(own.get("flip"), Some(&1.0), "one instant: {own:?}");
        assert_eq!(own.get("address"), Some(&2.0), "only the client moves to a class of its own: {own:?}");
        Ok(())
    })
}
