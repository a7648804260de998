//! `kubectl`, as somebody of the cluster.
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::program;
use crate::process::{Place, output};

/// Who asks, from where. Every call is the real program once.
#[derive(Debug, Clone)]
pub struct Kubectl {
    pub(super) kubeconfig: PathBuf,
    pub(super) place: Place,
}

impl Kubectl {
    /// What proves who asks, and says where the API server is; any client takes it.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A program, such as `kubectl` or `helm`, that finds the cluster by itself.
    ///
    /// # Errors
    /// Where Kubernetes' programs or the place are missing.
    pub fn command(&self, name: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(program(name)?);
        // What they cache of the API goes beside the kubeconfig, and away with it.
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", self.kubeconfig.with_extension("home"));
        self.place.put(&mut command)?;
        Ok(command)
    }

    /// Runs kubectl and returns what it printed.
    ///
    /// # Errors
    /// If it fails; the message holds its complaint.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command("kubectl")?;
        text_of(arguments, &output(command.args(arguments))?)
    }

    /// Runs kubectl with JSON output.
    ///
    /// # Errors
    /// If it fails or prints anything else.
    pub fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let text = self.run(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("kubectl printed {text:?}, which is not JSON"))
    }

    /// Applies documents in YAML or JSON.
    ///
    /// # Errors
    /// If the API server refuses one; the message holds why.
    pub fn apply(&self, documents: &str) -> anyhow::Result<String> {
        self.feed(&["apply", "-f", "-"], documents)
    }

    /// Runs kubectl with `input` to read, and returns what it printed.
    ///
    /// # Errors
    /// If it fails; the message holds its complaint.
    pub fn feed(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = self.command("kubectl")?;
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run kubectl")?;
        child.stdin.take().context("no pipe to kubectl")?.write_all(input.as_bytes())?;
        text_of(arguments, &child.wait_with_output()?)
    }
}

fn text_of(arguments: &[&str], output: &Output) -> anyhow::Result<String> {
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("kubectl {} ended with {}: {}", arguments.join(" "), output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
