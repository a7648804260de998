//! A whole fleet: a hub, clusters of nodes with real agents, workloads with real servers, all on one fabric.
mod hub;
mod node;
mod scenario;
mod workload;

pub use hub::{Hub, Outcome};
pub use node::Node;
pub use scenario::scenario;
pub use workload::{Spec, Workload};

use std::{cell::Cell, net::Ipv6Addr, time::Duration};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{binaries, eventually, fabric::Fabric};

/// How long anything may take on a busy machine before it counts as broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The hub's ports, on every address and on loopback.
pub const HUB_PORTS: [u16; 2] = [hub::PORT, hub::HTTP_PORT];

/// Settings that a run chooses; the rest are the programs' defaults.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Further arguments of `axle-hub`.
    pub hub: Vec<String>,
    /// Further arguments of `axle-agent run`.
    pub agent: Vec<String>,
}

/// A hub and the network that its clusters are on.
#[derive(Debug)]
pub struct Fleet {
    /// The hub.
    pub hub: Hub,
    /// The network.
    pub fabric: Fabric,
    settings: Settings,
    clusters: Cell<u8>,
}

/// A registered cluster and the addresses of its workloads.
#[derive(Debug)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    index: u8,
    nodes: Cell<u8>,
}

impl Cluster {
    /// Its prefixes, as `axle cluster add` takes them: one per family.
    #[must_use]
    pub fn prefixes(&self) -> [String; 2] {
        [
            format!("10.{}.0.0/16", self.index),
            format!("{}/32", Ipv6Addr::new(0xfd00, self.index.into(), 0, 0, 0, 0, 0, 0)),
        ]
    }
}

impl Fleet {
    /// Starts a hub on an empty fabric.
    ///
    /// # Errors
    /// Where the machine lacks something, or the hub does not start.
    pub fn start(name: &str, settings: Settings) -> anyhow::Result<Self> {
        let mut fabric = Fabric::new(name)?;
        let host = fabric.host("hub")?;
        let mut hub = Hub::new(binaries()?, host, fabric.folder().join("hub"), settings.hub.clone())?;
        hub.start()?;
        Ok(Self { hub, fabric, settings, clusters: Cell::new(0) })
    }

    /// Registers a cluster; `arguments` go to `axle cluster add`.
    ///
    /// # Errors
    /// If the hub refuses.
    pub fn cluster(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Cluster> {
        self.clusters.set(self.clusters.get() + 1);
        let cluster = Cluster { name: name.to_owned(), index: self.clusters.get(), nodes: Cell::new(0) };
        let [v4, v6] = cluster.prefixes();
        let mut command = vec!["cluster", "add", name, "--prefix", &v4, "--prefix", &v6];
        command.extend(arguments);
        self.hub.axle(&command)?;
        Ok(cluster)
    }

    /// Adds the first node of `cluster`, which is its relay too, and starts its agent.
    ///
    /// # Errors
    /// If it cannot join.
    pub fn relay(&mut self, cluster: &Cluster) -> anyhow::Result<Node> {
        let token = self.hub.json(&["token", "create", "--cluster", &cluster.name])?;
        let token = token["token"].as_str().context("`axle token create -o json` shows no token")?.to_owned();
        let mut node = self.place(cluster)?;
        node.run(&["join", "--hub", &self.hub.address(), "--cluster", &cluster.name, "--token", &token])?;
        node.start()?;
        Ok(node)
    }

    /// Adds a further node to `cluster`, which joins at its relay, and starts its agent.
    ///
    /// # Errors
    /// If it cannot join.
    pub fn node(&mut self, cluster: &Cluster, relay: &Node) -> anyhow::Result<Node> {
        let mut node = self.place(cluster)?;
        let token = relay.json(&["token", "create", "--node", &node.name])?;
        let token = token["token"].as_str().context("`axle-agent token create -o json` shows no token")?.to_owned();
        node.run(&["join", "--relay", &relay.relay_address(), "--token", &token])?;
        node.start()?;
        Ok(node)
    }

    /// A machine for a further node of `cluster`, without an agent so far.
    ///
    /// # Errors
    /// Where the machine cannot be made.
    pub fn place(&mut self, cluster: &Cluster) -> anyhow::Result<Node> {
        cluster.nodes.set(cluster.nodes.get() + 1);
        let name = format!("n{}", cluster.nodes.get());
        let host = self.fabric.host(&format!("{}-{name}", cluster.name))?;
        Node::new(&self.fabric, host, name, [cluster.index, cluster.nodes.get()], &self.settings.agent)
    }

    /// The fleet's state, as `axle status` shows it.
    ///
    /// # Errors
    /// With the hub away.
    pub fn status(&self) -> anyhow::Result<Value> {
        self.hub.json(&["status"])
    }

    /// Waits until `nodes` nodes hold everything that the hub holds, with every workload enforced.
    ///
    /// # Errors
    /// With what is missing, when patience is over.
    pub fn settle(&self, nodes: usize) -> anyhow::Result<()> {
        let what = format!("{nodes} nodes that hold the hub's head");
        eventually(&what, PATIENCE, || settled(&self.status()?, nodes).map(drop))
    }

    /// The same, with `workloads` workloads on all nodes together.
    ///
    /// # Errors
    /// With what is missing, when patience is over.
    pub fn settle_with(&self, nodes: usize, workloads: u64) -> anyhow::Result<()> {
        let what = format!("{nodes} nodes that hold the hub's head and {workloads} workloads");
        eventually(&what, PATIENCE, || match settled(&self.status()?, nodes)? {
            now if now == workloads => Ok(()),
            now => bail!("{now} workloads are enforced"),
        })
    }
}

/// The number of workloads, if all nodes are well.
fn settled(status: &Value, wanted: usize) -> anyhow::Result<u64> {
    let (mut seen, mut workloads) = (0, 0);
    for cluster in status["clusters"].as_array().context("no clusters")? {
        for node in cluster["nodes"].as_array().context("no nodes")? {
            seen += 1;
            workloads += node["workloads"].as_u64().unwrap_or(0);
            let holds = node["lag"] == 0 && node["connected"] == true && node["fresh"] == true;
            if !holds || node["degraded"] == true || node["workloads"] != node["enforcedWorkloads"] {
                bail!("{}/{} stands at {node}, the head at {}", cluster["name"], node["name"], status["head"]);
            }
        }
    }
    if seen != wanted { bail!("{seen} of {wanted} nodes have reported") } else { Ok(workloads) }
}
