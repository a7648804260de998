//! A node that cannot do what it is told says so, and keeps enforcing what it held.
use anyhow::ensure;
use axle_tests::{
    bpf,
    fleet::{Settings, Spec, scenario},
};
use serde_json::json;

use crate::{
    documents::{deny_from, peers, policy},
    pair::Pair,
};

/// Exit code of `axle` for what a node refused.
const REFUSED: Option<i32> = Some(6);

#[test]
fn a_map_write_that_fails_is_reported_and_nothing_is_half_applied() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        let enemy = pair.first.workload(&fleet.fabric, &Spec::new("enemy", "enemy"))?;
        fleet.hub.apply(&deny_from("no-enemies", "server", peers("app", "enemy")))?;
        enemy.is_cut_from(pair.server.v4())?;

        // From now on the server's node cannot write a prefix, and a rule about a network needs one.
        bpf::freeze(&pair.second.pins(), "PREFIXES4")?;
        let networks = json!([{"action": "Deny", "from": [{"networks": ["192.0.2.0/24"]}, peers("app", "client")]}]);
        let file = fleet.hub.file("networks.yaml", &policy("networks", "server", Some(networks), None))?;
        let outcome = fleet.hub.try_axle(&["policy", "apply", "-f", &file, "--wait"])?;
        ensure!(outcome.code == REFUSED, "apply ended with {:?}: {}{}", outcome.code, outcome.out, outcome.err);
        ensure!(outcome.err.contains("alpha/n2"), "it does not name the node: {}", outcome.err);
        let status = fleet.status()?;
        let node =
            status["clusters"][0]["nodes"].as_array().and_then(|nodes| nodes.iter().find(|node| node["name"] == "n2"));
        ensure!(node.is_some_and(|node| node["degraded"] == true), "it is not shown as degraded: {status}");

        // What was in force is; of the new policy, no part is.
        enemy.is_cut_from(pair.server.v4())?;
        pair.client.reaches(pair.server.v4())?;

        // Without the cause everything is well again.
        fleet.hub.axle(&["policy", "delete", "networks"])?;
        fleet.settle(2)?;
        fleet.hub.apply(&deny_from("cut", "server", peers("app", "client")))?;
        pair.client.is_cut_from(pair.server.v4())
    })
}

/// Nodes cannot enforce peers by domain name.
#[test]
fn what_came_with_a_policy_that_no_node_can_enforce_comes_when_that_is_gone() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let pair = Pair::raise(fleet)?;
        let egress = json!([
            {"action": "Accept", "to": [{"domainNames": ["example.com"]}]},
            {"action": "Deny", "to": [peers("app", "server")]},
        ]);
        let both = [policy("names", "late", None, Some(egress)), deny_from("cut", "server", peers("app", "client"))];
        let file = fleet.hub.file("both.yaml", &both.join("\n---\n"))?;
        let outcome = fleet.hub.try_axle(&["policy", "apply", "-f", &file, "--wait"])?;
        ensure!(outcome.code == REFUSED, "apply ended with {:?}: {}{}", outcome.code, outcome.out, outcome.err);
        pair.client.reaches(pair.server.v4())?;

        // A node that joins now has never been without it: what it can understand of it is in force there.
        let third = fleet.node(&pair.cluster, &pair.first)?;
        let late = third.workload(&fleet.fabric, &Spec::new("late", "late"))?;
        late.is_cut_from(pair.server.v4())?;
        late.reaches(pair.client.v4())?;
        let refused = third.status()?["node"]["refused"].clone();
        ensure!(refused.to_string().contains("unknown_feature"), "it does not say so: {refused}");

        fleet.hub.axle(&["policy", "delete", "names"])?;
        pair.client.is_cut_from(pair.server.v4())?;
        late.reaches(pair.server.v4())?;
        fleet.settle(3)
    })
}
