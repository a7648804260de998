//! A node: a machine of a cluster with an agent.
use std::{
    cell::Cell,
    ffi::OsStr,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{Outcome, PATIENCE, Spec, Workload};
use crate::{
    binaries, eventually,
    fabric::{Fabric, Host},
    http,
    process::{Place, Process},
};

/// Where a relay's nodes connect.
const RELAY_PORT: u16 = 7444;
/// The agent's plain port, on loopback.
const HTTP_PORT: u16 = 7081;

/// A machine of a cluster with an agent.
#[derive(Debug)]
pub struct Node {
    /// Its name in its cluster.
    pub name: String,
    /// The machine.
    pub host: Host,
    folder: PathBuf,
    pins: PathBuf,
    /// The second and third part of its workloads' IPv4 addresses: cluster and node.
    network: [u8; 2],
    workloads: Cell<u8>,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl Node {
    pub(super) fn new(
        fabric: &Fabric,
        host: Host,
        name: String,
        network: [u8; 2],
        arguments: &[String],
    ) -> anyhow::Result<Self> {
        let folder = fabric.folder().join(&host.name);
        fs::create_dir_all(folder.join("inventory"))?;
        let (pins, arguments) = (fabric.pins(&host), arguments.to_vec());
        Ok(Self { name, host, folder, pins, network, workloads: Cell::new(0), arguments, process: None })
    }

    /// Where its nodes find it, if it is a relay.
    #[must_use]
    pub fn relay_address(&self) -> String {
        format!("{}:{RELAY_PORT}", self.host.addresses[0])
    }

    /// The agent's state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Where the agent pins its maps and links.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.pins.clone()
    }

    /// The agent's process number, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Starts the agent and waits until it answers on its socket.
    ///
    /// # Errors
    /// If it does not.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let mut process = self.spawn()?;
        eventually(&format!("the agent of {} to answer", self.host.name), PATIENCE, || {
            process.check_alive()?;
            self.status()
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts an agent with this node's settings and returns it as it is, also if one runs already.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self) -> anyhow::Result<Process> {
        self.spawn_at(&self.state())
    }

    /// The same on another state directory.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn_at(&self, state: &Path) -> anyhow::Result<Process> {
        let mut command = self.command("axle-agent");
        command.arg("run").arg("--state-dir").arg(state).args(&self.arguments);
        let log = self.folder.with_extension("log");
        Process::start(&format!("axle-agent of {}", self.host.name), command, &self.place(), &log)
    }

    /// Kills the agent without warning.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("the agent does not run")?.kill()
    }

    /// Asks the agent to end and waits until it has.
    ///
    /// # Errors
    /// If it does not end in order.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let status = self.process.take().context("the agent does not run")?.stop(PATIENCE)?;
        if status.success() { Ok(()) } else { bail!("the agent of {} ended with {status}", self.host.name) }
    }

    /// Runs an `axle-agent` command on this machine and returns what it printed.
    ///
    /// # Errors
    /// If it fails; the message holds its complaint.
    pub fn run(&self, arguments: &[impl AsRef<OsStr>]) -> anyhow::Result<String> {
        let Outcome { code, out, err } = self.try_run(arguments)?;
        let name = arguments.first().map(|name| name.as_ref().to_string_lossy().into_owned()).unwrap_or_default();
        if code == Some(0) { Ok(out) } else { bail!("axle-agent {name} ended with {code:?}: {}", err.trim()) }
    }

    /// Runs an `axle-agent` command, however it ends.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn try_run(&self, arguments: &[impl AsRef<OsStr>]) -> anyhow::Result<Outcome> {
        let mut command = self.command("axle-agent");
        command.args(arguments);
        self.place().put(&mut command)?;
        Outcome::of(&mut command)
    }

    /// Runs an `axle-agent` command with JSON output.
    ///
    /// # Errors
    /// If it fails or prints anything else.
    pub fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let text = self.run(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("axle-agent printed {text:?}, which is not JSON"))
    }

    /// What the agent says of itself.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn status(&self) -> anyhow::Result<Value> {
        self.json(&["status"])
    }

    /// The agent's metrics page.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn metrics(&self) -> anyhow::Result<String> {
        http::get(&self.host.netns, HTTP_PORT, "/metrics")
    }

    /// Writes (or replaces) a file of the inventory, at once and whole.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn inventory(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let (aside, file) = (self.folder.join("inventory.new"), self.inventory_file(name));
        fs::write(&aside, text)?;
        fs::rename(&aside, &file).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Takes a file out of the inventory.
    ///
    /// # Errors
    /// If it is not there.
    pub fn forget(&self, name: &str) -> anyhow::Result<()> {
        let file = self.inventory_file(name);
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
    }

    fn inventory_file(&self, name: &str) -> PathBuf {
        self.folder.join("inventory").join(format!("{name}.yaml"))
    }

    /// Starts a workload here, with a server inside, and tells the agent by the inventory.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn workload(&self, fabric: &Fabric, spec: &Spec) -> anyhow::Result<Workload> {
        self.workloads.set(self.workloads.get() + 1);
        let [cluster, node] = self.network;
        let number = self.workloads.get();
        let v4 = Ipv4Addr::new(10, cluster, node, number);
        let v6 = Ipv6Addr::new(0xfd00, cluster.into(), 0, 0, 0, 0, node.into(), number.into());
        self.workload_at(fabric, spec, [v4.into(), v6.into()])
    }

    /// Starts a workload at given addresses.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn workload_at(&self, fabric: &Fabric, spec: &Spec, addresses: [IpAddr; 2]) -> anyhow::Result<Workload> {
        let seat = fabric.workload(&self.host, &spec.name, addresses)?;
        let log = self.folder.with_file_name(format!("{}-{}.log", self.host.name, spec.name));
        let workload = Workload::start(&self.host.name, seat, spec.clone(), &log)?;
        self.tell(&workload)?;
        Ok(workload)
    }

    /// Tells the agent by the inventory what `workload` is now.
    ///
    /// # Errors
    /// If the inventory cannot be written.
    pub fn tell(&self, workload: &Workload) -> anyhow::Result<()> {
        self.inventory(&workload.file(), &workload.document())
    }

    /// One of our programs, with this node's settings in its environment.
    fn command(&self, program: &str) -> Command {
        // Where the programs are was found out when the fleet started.
        let mut command = Command::new(binaries().map(|folder| folder.join(program)).unwrap_or_default());
        command.env("AXLE_STATE_DIR", self.state()).env("AXLE_PIN_DIR", &self.pins).env("AXLE_NODE", &self.name);
        command.env("AXLE_INVENTORY", self.folder.join("inventory")).env("AXLE_CGROUP", &self.host.cgroup);
        let addresses: Vec<String> = self.host.addresses.iter().map(IpAddr::to_string).collect();
        command.env("AXLE_NODE_ADDRESS", addresses.join(","));
        command
    }

    fn place(&self) -> Place {
        Place { netns: Some(self.host.netns.path()), cgroup: None }
    }
}
