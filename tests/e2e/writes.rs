//! The cost of a change in the kernel follows the change.
use std::collections::BTreeMap;

use anyhow::Context as _;
use axle_tests::{
    fleet::{Fleet, Node, Settings, Spec, scenario},
    http::metric,
};
use serde_json::{Value, json};

use crate::documents::{document, peers};

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

/// A Baseline policy that lets `from` reach the workloads `app`.
fn accept(name: &str, app: &str, from: Value) -> String {
    let subject = json!({"pods": {"podSelector": {"matchLabels": {"app": app}}}});
    let rules = json!([{"action": "Accept", "from": [from]}]);
    let spec = json!({"tier": "Baseline", "priority": 1, "subject": subject, "ingress": rules});
    document("MeshNetworkPolicy", json!({"name": name}), spec).to_string()
}

#[test]
fn writes_follow_the_change() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        // What nothing accepts is denied, so a workload that nothing names is like no workload.
        let alpha = fleet.cluster("alpha", &["--default-action", "deny"])?;
        let first = fleet.relay(&alpha)?;
        let second = fleet.node(&alpha, &first)?;
        second.workload(&fleet.fabric, &Spec::new("server", "server"))?;
        fleet.hub.apply(&accept("friends", "server", peers("app", "friend")))?;
        let mut workloads = 1;
        let mut spawn = |name: &str, app: &str| -> anyhow::Result<()> {
            first.workload(&fleet.fabric, &Spec::new(name, app))?;
            workloads += 1;
            fleet.settle_with(2, workloads)
        };
        spawn("friend-1", "friend")?;
        spawn("client", "client")?;
        // The second of a kind, on another node: its two addresses, and nothing else.
        let same = cost(fleet, &second, || spawn("friend-2", "friend"))?;
        assert_eq!(same, of(&[("address", 2.0)]), "an endpoint of a known class");
        // One that no selector in force there tells from the rest of its cluster needs no entry at all.
        let any = cost(fleet, &second, || spawn("bystander", "bystander"))?;
        assert_eq!(any, of(&[]), "an endpoint that needs no entry");
        // A policy about workloads of the other node only: nothing here.
        let elsewhere = accept("elsewhere", "client", peers("app", "server"));
        let other = cost(fleet, &second, || fleet.hub.apply(&elsewhere).map(drop))?;
        assert_eq!(other, of(&[]), "a policy about another node's workloads");
        // A policy about this node's one workload: its own slot and rows, one flip, no address but the client's two.
        let clients = accept("clients", "server", peers("app", "client"));
        let own = cost(fleet, &second, || fleet.hub.apply(&clients).map(drop))?;
        assert_eq!(own.get("flip"), Some(&1.0), "one instant: {own:?}");
        assert_eq!(own.get("address"), Some(&2.0), "only the client moves to a class of its own: {own:?}");
        assert!(own.values().sum::<f64>() < 20.0, "the cost follows the change: {own:?}");
        Ok(())
    })
}
