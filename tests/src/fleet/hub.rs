//! The hub as a process, and the `axle` command beside it.
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::PATIENCE;
use crate::{
    eventually,
    fabric::Host,
    http,
    process::{Place, Process, output},
};

/// The hub's TLS port.
pub(super) const PORT: u16 = 7443;
/// The hub's plain port, on loopback.
pub(super) const HTTP_PORT: u16 = 7080;

/// A hub on a host of its own, and its operator there.
#[derive(Debug)]
pub struct Hub {
    /// Where it runs.
    pub host: Host,
    binaries: PathBuf,
    folder: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit code; absent: ended by a signal.
    pub code: Option<i32>,
    /// What it printed.
    pub out: String,
    /// What it complained about.
    pub err: String,
}

impl Hub {
    pub(super) fn new(binaries: &Path, host: Host, folder: PathBuf, arguments: Vec<String>) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { host, binaries: binaries.to_owned(), folder, arguments, process: None })
    }

    /// Where agents find it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{PORT}", self.host.addresses[0])
    }

    /// The folder of its data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The context file that it writes for its operator.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("config.yaml")
    }

    /// What it logs.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.with_file_name("hub.log")
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let mut command = self.command("axle-hub");
        command.arg("--data-dir").arg(self.data()).args(["--advertise", &self.address()]).args(&self.arguments);
        let mut process = Process::start("axle-hub", command, &self.place(), &self.log())?;
        let ready = eventually("the hub to be ready", PATIENCE, || {
            process.check_alive()?;
            http::get(&self.host.netns, HTTP_PORT, "/readyz")
        });
        self.process = Some(process);
        ready.map(drop)
    }

    /// Kills it without warning.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("the hub does not run")?.kill()
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// If it does not end in order.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let status = self.process.take().context("the hub does not run")?.stop(PATIENCE)?;
        if !status.success() { bail!("the hub ended with {status} on {}", Signal::SIGTERM) } else { Ok(()) }
    }

    /// Reads one of its plain HTTP pages.
    ///
    /// # Errors
    /// If it answers with anything but 200.
    pub fn page(&self, path: &str) -> anyhow::Result<String> {
        http::get(&self.host.netns, HTTP_PORT, path)
    }

    /// Runs `axle` as the hub's operator and returns what it printed.
    ///
    /// # Errors
    /// If it fails; the message holds its complaint.
    pub fn axle(&self, arguments: &[impl AsRef<OsStr>]) -> anyhow::Result<String> {
        let Outcome { code, out, err } = self.try_axle(arguments)?;
        let line: Vec<_> = arguments.iter().map(|argument| argument.as_ref().to_string_lossy()).collect();
        if code == Some(0) { Ok(out) } else { bail!("axle {} ended with {code:?}: {}", line.join(" "), err.trim()) }
    }

    /// Runs `axle`, however it ends.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn try_axle(&self, arguments: &[impl AsRef<OsStr>]) -> anyhow::Result<Outcome> {
        let mut command = self.command("axle");
        command.args(arguments);
        self.place().put(&mut command)?;
        Outcome::of(&mut command)
    }

    /// Runs `axle` with JSON output.
    ///
    /// # Errors
    /// If it fails or prints anything else.
    pub fn json(&self, arguments: &[impl AsRef<OsStr>]) -> anyhow::Result<Value> {
        let mut all: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
        all.extend([OsStr::new("-o"), OsStr::new("json")]);
        let text = self.axle(&all)?;
        serde_json::from_str(&text).with_context(|| format!("axle printed {text:?}, which is not JSON"))
    }

    /// Applies policies, given as YAML, and waits until every node concerned has them in its kernel.
    ///
    /// # Errors
    /// If the hub or a node refuses, or a node is late.
    pub fn apply(&self, document: &str) -> anyhow::Result<String> {
        self.axle(&["policy", "apply", "-f", self.file("policy.yaml", document)?.as_str(), "--wait"])
    }

    /// Writes a file beside the hub and returns its path.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn file(&self, name: &str, text: &str) -> anyhow::Result<String> {
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    /// One of our programs, as the hub's operator would start it.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.env("AXLE_CONFIG", self.config()).env("HOME", &self.folder).env_remove("XDG_CONFIG_HOME");
        command.current_dir(&self.folder);
        command
    }

    /// The hub's host.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { netns: Some(self.host.netns.path()), cgroup: None }
    }
}

impl Outcome {
    /// Runs `command` to its end.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn of(command: &mut Command) -> anyhow::Result<Self> {
        let output = output(command)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
    }
}
