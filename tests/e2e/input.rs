//! Bad input: each door says what, where, what was found, what is wanted and how to mend it, and nothing is half applied.
use anyhow::ensure;
use axle_tests::fleet::{Fleet, Settings, scenario};

use crate::documents::{deny_from, peers};

const USAGE: i32 = 2;
const CONFLICT: i32 = 3;
const NOT_ALLOWED: i32 = 4;

/// Runs `axle`, which must fail with `code` and name everything of `wanted` in its complaint.
fn refused(fleet: &Fleet, arguments: &[&str], code: i32, wanted: &[&str]) -> anyhow::Result<()> {
    let outcome = fleet.hub.try_axle(arguments)?;
    let line = arguments.join(" ");
    ensure!(outcome.code == Some(code), "axle {line} ended with {:?}: {}{}", outcome.code, outcome.out, outcome.err);
    for part in wanted {
        ensure!(outcome.err.contains(part), "the complaint about {line} does not say {part:?}:\n{}", outcome.err);
    }
    Ok(())
}

#[test]
fn documents() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let good = deny_from("good", "server", peers("app", "client"));
        let bad = [
            ("a: [", vec!["unclosed bracket"]),
            (&good.replace("subject", "subjct"), vec!["subjct", "subject"]),
            (&good.replace(r#""priority":10"#, r#""priority":5000"#), vec!["5000", "1000"]),
            (
                &good
                    .replace(r#""podSelector":{"matchLabels":{"app":"client"}}"#, r#""podSelector":{"matchLabel":{}}"#),
                vec!["matchLabels"],
            ),
            (&good.replace(r#""from":["#, r#""from":[{"networks":["10.0.0.1/8"]},"#), vec!["10.0.0.1/8", "10.0.0.0/8"]),
            (
                &good.replace(r#""kind":"MeshNetworkPolicy""#, r#""kind":"MeshNetworkPolice""#),
                vec!["MeshNetworkPolice"],
            ),
        ];
        for (text, wanted) in &bad {
            // A faulty document takes the good one beside it along: all or nothing.
            let file = fleet.hub.file("policies.yaml", &format!("{good}\n---\n{text}"))?;
            for command in ["validate", "apply"] {
                refused(fleet, &["policy", command, "-f", &file], USAGE, wanted)?;
            }
        }
        refused(fleet, &["policy", "apply", "-f", "/does/not/exist.yaml"], USAGE, &["/does/not/exist.yaml"])?;
        let huge = fleet.hub.file("huge.yaml", &format!("{good}\n# {}", "x".repeat(32 << 20)))?;
        refused(fleet, &["policy", "apply", "-f", &huge], USAGE, &[])?;
        let policies = fleet.hub.json(&["policy", "list"])?;
        ensure!(policies.as_array().is_some_and(Vec::is_empty), "something was applied: {policies}");
        Ok(())
    })
}

#[test]
fn clusters_and_tokens() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        fleet.cluster("alpha", &[])?;
        let add = |name, prefix| ["cluster", "add", name, "--prefix", prefix];
        refused(fleet, &add("alpha", "10.77.0.0/16"), CONFLICT, &["alpha"])?;
        refused(fleet, &add("beta", "10.1.128.0/17"), CONFLICT, &["10.1.128.0/17", "10.1.0.0/16", "alpha"])?;
        refused(fleet, &add("beta", "10.2.0.1/16"), USAGE, &["10.2.0.1/16", "10.2.0.0/16"])?;
        refused(fleet, &add("Beta", "10.2.0.0/16"), USAGE, &["Beta"])?;
        refused(fleet, &add("beta", "ten"), USAGE, &["ten"])?;
        refused(fleet, &["token", "create", "--cluster", "gamma"], USAGE, &["gamma", "axle cluster add"])?;
        refused(fleet, &["cluster", "remove", "gamma"], USAGE, &["gamma"])?;
        refused(fleet, &["policy", "delete", "gamma"], USAGE, &["gamma"])?;
        refused(
            fleet,
            &["policy", "explain", "--from", "alpha/shop/x", "--to", "10.1.0.1", "--port", "80"],
            USAGE,
            &["alpha/shop/x"],
        )?;
        refused(fleet, &["polcy"], USAGE, &["policy"])?;

        let config = std::fs::read_to_string(fleet.hub.config())?;
        let garbled = config.replacen("token: ", "token: x", 1);
        ensure!(garbled != config, "the context file has no token");
        let file = fleet.hub.file("garbled.yaml", &garbled)?;
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        refused(fleet, &["status", "--config", &file], NOT_ALLOWED, &["token"])
    })
}
