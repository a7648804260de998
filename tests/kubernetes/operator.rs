//! `axle` as somebody uses it who has a kubeconfig.
use std::{env, fs, process::Command};

use anyhow::{Context as _, bail};
use axle_tests::{
    fleet::{Fleet, Outcome},
    kubernetes::{Cluster, Kubectl, program},
};
use serde_json::{Value, json};

/// At the hub, with a context of each of these.
pub(crate) struct Operator {
    pub(crate) kubeconfig: String,
}

impl Operator {
    /// Contexts by their names.
    pub(crate) fn new(fleet: &Fleet, contexts: &[(&str, &Kubectl)]) -> anyhow::Result<Self> {
        let mut all = json!({"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []});
        for (name, kubectl) in contexts {
            let one: Value = serde_json::from_str(&fs::read_to_string(kubectl.kubeconfig())?)?;
            let mut add =
                |list: &str, entry: Value| all[list].as_array_mut().context("a list").map(|all| all.push(entry));
            add("clusters", json!({"name": name, "cluster": one["clusters"][0]["cluster"]}))?;
            add("users", json!({"name": name, "user": one["users"][0]["user"]}))?;
            add("contexts", json!({"name": name, "context": {"cluster": name, "user": name}}))?;
        }
        Ok(Self { kubeconfig: fleet.hub.file("kubeconfig", &all.to_string())? })
    }

    fn command(&self, fleet: &Fleet, line: &str) -> anyhow::Result<Command> {
        let programs = program("kubectl")?.parent().context("a program is in a folder")?.to_owned();
        let path =
            env::join_paths([programs].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())))?;
        let mut command = fleet.hub.command("axle");
        command.args(line.split_whitespace()).env("KUBECONFIG", &self.kubeconfig).env("PATH", path);
        fleet.hub.place().put(&mut command)?;
        Ok(command)
    }

    /// Runs `axle`, however it ends.
    pub(crate) fn tries(&self, fleet: &Fleet, line: &str) -> anyhow::Result<Outcome> {
        Outcome::of(&mut self.command(fleet, line)?)
    }

    /// Runs `axle` with JSON output.
    pub(crate) fn json(&self, fleet: &Fleet, line: &str) -> anyhow::Result<Value> {
        let Outcome { code, out, err } = self.tries(fleet, &format!("{line} -o json"))?;
        if code != Some(0) {
            bail!("axle {line} ended with {code:?}: {err}\n{out}");
        }
        serde_json::from_str(&out).with_context(|| format!("axle {line} printed {out:?}"))
    }

    /// Runs `axle`, which must end with this code and say all of this.
    pub(crate) fn ends(&self, fleet: &Fleet, line: &str, code: i32, words: &[&str]) -> anyhow::Result<()> {
        let outcome = self.tries(fleet, line)?;
        let said = format!("{}{}", outcome.out, outcome.err);
        match words.iter().find(|word| !said.contains(*word)) {
            None if outcome.code == Some(code) => Ok(()),
            missing => bail!("axle {line} ended with {:?}, wanted {code} and {missing:?}:\n{said}", outcome.code),
        }
    }
}

/// A cluster with the agents' image on its nodes and nothing of Axle's else.
pub(crate) fn bare(fleet: &mut Fleet, name: &str, number: u8, nodes: usize) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::start(&mut fleet.fabric, name, number, nodes)?;
    crate::installed::load_agent(&mut cluster)?;
    Ok(cluster)
}
