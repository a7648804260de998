//! A workload: a small server on an interface of its own, and what the inventory says of it.
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::bail;
use serde_json::json;

use super::PATIENCE;
use crate::{
    binaries, eventually,
    fabric::Seat,
    probe::{self, ECHO, Flow, HTTP, Probe},
    process::{Process, tail},
};

/// How long a packet that is dropped is waited for.
const VANISHED: Duration = Duration::from_millis(300);

/// What a workload is.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name, unique in its namespace.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether services may send it traffic.
    pub ready: bool,
}

impl Spec {
    /// A workload of the namespace `shop` with the label `app`.
    #[must_use]
    pub fn new(name: &str, app: &str) -> Self {
        let labels = BTreeMap::from([("app".to_owned(), app.to_owned())]);
        Self { name: name.to_owned(), namespace: "shop".to_owned(), labels, ready: true }
    }

    /// The same with one more label, or another value of one.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }
}

/// A running workload. Dropping it kills its server; its interface stays until it is removed.
#[derive(Debug)]
pub struct Workload {
    /// What the inventory says of it.
    pub spec: Spec,
    /// What its server answers: its host's name and its own.
    pub answer: String,
    /// Its place on its host.
    pub seat: Seat,
    server: Process,
}

impl Workload {
    pub(super) fn start(host: &str, seat: Seat, spec: Spec, log: &Path) -> anyhow::Result<Self> {
        let answer = format!("{host}/{}", spec.name);
        let mut command = Command::new(binaries()?.join("axle-probe"));
        command.args(["serve", "--name", &answer, "--http", &HTTP.to_string(), "--echo", &ECHO.to_string()]);
        let mut server = Process::start(&spec.name, command, &seat.place, log)?;
        eventually(&format!("{} to listen", spec.name), PATIENCE, || {
            server.check_alive()?;
            if tail(log, 1) == "ready" { Ok(()) } else { bail!("it is not ready") }
        })?;
        Ok(Self { spec, answer, seat, server })
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn v4(&self) -> IpAddr {
        self.seat.addresses[0]
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn v6(&self) -> IpAddr {
        self.seat.addresses[1]
    }

    /// Asks once over HTTP and returns who answered; `timed out` where packets vanish.
    ///
    /// # Errors
    /// `timed out` or `refused`.
    pub fn get(&self, to: IpAddr) -> anyhow::Result<String> {
        self.get_port(to, HTTP)
    }

    /// Asks once over HTTP at a given port.
    ///
    /// # Errors
    /// `timed out` or `refused`.
    pub fn get_port(&self, to: IpAddr, port: u16) -> anyhow::Result<String> {
        probe::get(binaries()?, &self.seat.place, to, port, VANISHED)
    }

    /// Waits until a request is answered, and returns by whom.
    ///
    /// # Errors
    /// If none is.
    pub fn reaches(&self, to: IpAddr) -> anyhow::Result<String> {
        eventually(&format!("{} to reach {to}", self.spec.name), PATIENCE, || self.get(to))
    }

    /// Waits until requests vanish without an answer, as a denied packet must.
    ///
    /// # Errors
    /// If they go on being answered or refused.
    pub fn is_cut_from(&self, to: IpAddr) -> anyhow::Result<()> {
        eventually(&format!("{} to be cut from {to}", self.spec.name), PATIENCE, || match self.get(to) {
            Ok(answer) => bail!("{answer} answered"),
            Err(error) if error.to_string().contains("timed out") => Ok(()),
            Err(error) => Err(error),
        })
    }

    /// Starts a flow to the echo service at `to`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn probe(&self, flow: Flow, to: IpAddr) -> anyhow::Result<Probe> {
        Probe::start(binaries()?, &self.seat.place, flow, SocketAddr::new(to, ECHO))
    }

    /// Ends it: the server, the interface, the addresses. The inventory is the caller's to change.
    ///
    /// # Errors
    /// If it is gone already.
    pub fn remove(self) -> anyhow::Result<()> {
        self.server.kill()?;
        self.seat.remove()
    }

    /// The name of its inventory file.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{}.{}", self.spec.namespace, self.spec.name)
    }

    /// Its inventory document. JSON is YAML.
    #[must_use]
    pub fn document(&self) -> String {
        let Spec { name, namespace, labels, ready } = &self.spec;
        json!({
            "apiVersion": "axle.dev/v1alpha1",
            "kind": "Workload",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "serviceAccount": name,
                "interface": self.seat.interface,
                "addresses": self.seat.addresses,
                "ports": [{"name": "http", "port": HTTP}, {"name": "echo", "port": ECHO}],
                "ready": ready,
            },
        })
        .to_string()
    }
}
