//! The demo's world: three clusters of two nodes, each with a web service, its callers, and a scraper.
use std::{
    env, fs, io,
    os::unix::fs::{PermissionsExt as _, chown},
    path::PathBuf,
    thread,
    time::Instant,
};

use anyhow::Context as _;
use axle_tests::fleet::{Cluster, Fleet, HUB_PORTS, Node, Settings, Spec, Workload};
use serde_json::{Value, json};

use crate::{
    NAME,
    forward::forward,
    stage::{Stage, shown},
};

/// Name and region of each cluster.
const CLUSTERS: [(&str, &str); 3] = [("oslo", "eu-north"), ("milan", "eu-south"), ("lima", "sa-west")];

/// Everything that is up.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) clusters: Vec<Town>,
    pub(crate) fleet: Fleet,
    ports: [u16; 2],
}

/// One cluster with what runs in it.
#[derive(Debug)]
pub(crate) struct Town {
    pub(crate) name: String,
    /// The first is the relay too.
    pub(crate) nodes: [Node; 2],
    /// One on each node.
    pub(crate) webs: Vec<Workload>,
    /// On the first node.
    pub(crate) shop: Workload,
    /// On the second node.
    pub(crate) scraper: Workload,
}

impl World {
    /// Starts everything, and says so.
    pub(crate) fn raise(stage: &mut Stage) -> anyhow::Result<Self> {
        stage.scene("A hub, three clusters of two nodes each, real workloads")?;
        let start = Instant::now();
        let mut fleet = Fleet::start(NAME, Settings::default())?;
        stage.proof(&format!("the hub is ready after {}, on SQLite", shown(start.elapsed())))?;
        let mut clusters = Vec::new();
        for (name, region) in CLUSTERS {
            let cluster = fleet.cluster(name, &["--region", region])?;
            clusters.push(Town::raise(&mut fleet, &cluster)?);
            let [v4, v6] = cluster.prefixes();
            stage.proof(&format!(
                "{name:<6} joined with one token: nodes n1 (relay) and n2, workloads in {v4} and {v6}"
            ))?;
        }
        fleet.settle(2 * CLUSTERS.len())?;
        stage.proof(&format!(
            "every node enforces the hub's head in its kernel, {} after the start",
            shown(start.elapsed())
        ))?;
        let mut world = Self { clusters, fleet, ports: HUB_PORTS };
        for port in &mut world.ports {
            *port = forward(&world.fleet.hub.host.netns, *port)?;
        }
        stage.command("axle status")?;
        stage.output(&world.axle(&["status"])?)?;
        Ok(world)
    }

    pub(crate) fn axle(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.fleet.hub.axle(arguments)
    }

    pub(crate) fn nodes(&self) -> usize {
        self.clusters.iter().map(|town| town.nodes.len()).sum()
    }

    /// The addresses of the global service, which are the same everywhere.
    pub(crate) fn service(&self) -> anyhow::Result<Value> {
        let services = self.fleet.hub.json(&["service", "list"])?;
        let web = services.as_array().and_then(|all| all.iter().find(|service| service["name"] == "web"));
        web.cloned().with_context(|| format!("no service web in {services}"))
    }

    /// Says how to go on, with commands that work as they are printed.
    pub(crate) fn invite(&self, stage: &mut Stage) -> anyhow::Result<()> {
        stage.scene("It stays up: try it (Ctrl-C ends it and removes everything)")?;
        let [tls, http] = self.ports;
        let config = self.own_config(tls)?;
        let program = env::current_exe()?.with_file_name("axle");
        let (program, config) = (program.display(), config.display());
        stage.note(&format!("dashboard   http://127.0.0.1:{http}"))?;
        stage.note("every second each shop and each scraper calls the web servers of the next cluster")?;
        stage.note("in another terminal:")?;
        stage.command(&format!("export AXLE_CONFIG={config}; alias axle={program}"))?;
        for line in [
            "axle status",
            "axle service describe shop/web",
            "axle policy list",
            "axle policy explain --from oslo/shop/scraper --to lima/shop/web-1 --port 80",
            "axle observe --verdict deny",
            "axle policy delete web-callers --wait",
            "axle audit list",
        ] {
            stage.command(line)?;
        }
        let town = self.clusters.first().context("there are clusters")?;
        stage.command(&format!(
            "sudo ip netns exec {} curl -s http://{}",
            town.shop.seat.netns.name(),
            town.webs[0].v4()
        ))?;
        Ok(())
    }

    /// Lets every shop and every scraper call a web server of the next cluster, so that there is something to observe.
    pub(crate) fn chatter(&self) {
        let towns = self.clusters.iter();
        thread::scope(|scope| {
            for (town, next) in towns.zip(self.clusters.iter().cycle().skip(1)) {
                for caller in [&town.shop, &town.scraper] {
                    for web in &next.webs {
                        // Whether it is answered depends on the policy of the moment, which is the visitor's.
                        scope.spawn(|| caller.get(web.v4()).ok());
                    }
                }
            }
        });
    }

    /// The operator's context file, good on this side of the forwarder and for the user who started the demo.
    fn own_config(&self, port: u16) -> anyhow::Result<PathBuf> {
        let text = fs::read_to_string(self.fleet.hub.config())?;
        let path = self.fleet.fabric.folder().join("config.yaml");
        fs::write(&path, text.replace(&format!("127.0.0.1:{}", HUB_PORTS[0]), &format!("127.0.0.1:{port}")))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        if let Some(user) = env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()) {
            chown(&path, Some(user), None)?;
        }
        Ok(path)
    }

    /// Copies the programs' logs to where they survive the demo.
    pub(crate) fn keep_logs(&self) {
        let keep = || -> io::Result<PathBuf> {
            let folder = env::temp_dir().join(format!("{NAME}-logs"));
            fs::create_dir_all(&folder)?;
            for entry in fs::read_dir(self.fleet.fabric.folder())?.flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "log") {
                    fs::copy(entry.path(), folder.join(entry.file_name()))?;
                }
            }
            Ok(folder)
        };
        // This runs after a failure, which is what is told; the logs are a help that may be missing.
        if let Ok(folder) = keep() {
            let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("\nlogs: {}\n", folder.display()));
        }
    }
}

impl Town {
    fn raise(fleet: &mut Fleet, cluster: &Cluster) -> anyhow::Result<Self> {
        let first = fleet.relay(cluster)?;
        let second = fleet.node(cluster, &first)?;
        for (file, document) in cluster_documents() {
            first.inventory(file, &document.to_string())?;
        }
        let fabric = &fleet.fabric;
        let web = |node: &Node, name| node.workload(fabric, &Spec::new(name, "web"));
        Ok(Self {
            name: cluster.name.clone(),
            webs: vec![web(&first, "web-1")?, web(&second, "web-2")?],
            shop: first.workload(fabric, &Spec::new("shop", "shop"))?,
            scraper: second.workload(fabric, &Spec::new("scraper", "scraper"))?,
            nodes: [first, second],
        })
    }
}

/// What every cluster says of itself: its namespace, and a service that it offers to the fleet.
fn cluster_documents() -> [(&'static str, Value); 3] {
    let head = |kind: &str, spec: Value| json!({"apiVersion": "axle.dev/v1alpha1", "kind": kind, "metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
    let namespace = json!({
        "apiVersion": "axle.dev/v1alpha1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "store"}},
    });
    let service = head(
        "Service",
        json!({"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}, {"name": "echo", "port": 7, "protocol": "TCP"}]}),
    );
    [("namespace", namespace), ("service", service), ("export", head("ServiceExport", json!({})))]
}
