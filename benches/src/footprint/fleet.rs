//! The fleet that is measured.
use std::{
    env, fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command as Program, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use axle_agent::control::{Reply, Request, ask};
use axle_core::{
    log::{Change, Delta, Hash, Position},
    manifest,
    model::{Action, Cluster, Endpoint, Labels, Name, Namespace, Resource, Scope, Uid},
    state::Command,
};
use axle_hub::{
    app::{App, Running},
    config::Config,
};
use axle_proto::convert;
use clap::Parser;
use nix::mount::{MsFlags, mount};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(300);
/// Of one revision.
const CHUNK: u32 = 1_000;
const NAMESPACES: u32 = 10;

/// See the module.
pub(super) struct Fleet {
    // Dropped in this order: who asks before who answers, and the folder of all last.
    node: Agent,
    _relay: Agent,
    hub: Running,
    other: Uid,
    /// How far the other cluster's log is taken in.
    at: Position,
    endpoints: u32,
    _folder: TempDir,
}

#[derive(Parser)]
struct HubArguments {
    #[command(flatten)]
    config: Config,
}

impl Fleet {
    pub(super) async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        ip("link set lo up")?;
        for at in 0..10 {
            ip(&format!("link add w{at} type veth peer name w{at}-in"))?;
        }
        let pins = folder.path().join("pins");
        fs::create_dir_all(&pins)?;
        mount(Some("bpf"), &pins, Some("bpf"), MsFlags::empty(), None::<&str>).context("a file system for pins")?;
        let data = folder.path().join("hub").display().to_string();
        let arguments =
            ["hub", "--context-file=off", "--http-listen=127.0.0.1:0", "--listen=127.0.0.1:0", "--data-dir", &data];
        let hub = App::start(HubArguments::try_parse_from(arguments)?.config).await?;
        let submit = async |command| hub.parts.writer.submit(command, "user:bench", "").await;
        let mut uids = Vec::new();
        for (name, prefix) in [("here", "10.1.0.0/16"), ("there", "10.64.0.0/10")] {
            let cluster = Cluster {
                name: Name::new(name)?,
                region: String::new(),
                labels: Labels::new(),
                prefixes: vec![prefix.parse()?],
                default_action: Action::Accept,
                draining: false,
            };
            submit(Command::AddCluster { cluster }).await?;
            let found = hub.parts.replica.read().cluster(&Name::new(name)?).map(|(uid, _)| uid);
            uids.push(found.context("it was added")?);
        }
        submit(Command::PutPolicies { policies: policies()? }).await?;
        let token = hub.parts.enroller.create_token(uids[0], PATIENCE * 5, "user:bench").await?.0;
        let address = hub.tls_address.to_string();

        let relay = Agent { name: "relay", folder: folder.path().to_owned(), child: None };
        let token = token.reveal().to_string();
        relay.run(&["join", "--hub", &address, "--cluster", "here", "--node", "relay", "--token", &token]).await?;
        let relay = relay.start(&["--roles", "relay", "--relay-listen", "127.0.0.1:7444"])?;
        relay.begins().await?;
        let made = relay.run(&["token", "create", "--node", "node", "-o", "json"]).await?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        let token = made["token"].as_str().context("a token")?;
        let node = Agent { name: "node", folder: folder.path().to_owned(), child: None };
        node.run(&["join", "--relay", "127.0.0.1:7444", "--node", "node", "--token", token]).await?;
        let inventory = folder.path().join("inventory");
        fs::create_dir_all(&inventory)?;
        fs::write(inventory.join("workloads.yaml"), (0..10).map(workload).collect::<String>())?;
        let (inventory, pins) = (inventory.display().to_string(), pins.join("node").display().to_string());
        let node = node.start(&["--roles", "node", "--inventory", &inventory, "--pin-dir", &pins])?;
        let fleet =
            Self { node, _relay: relay, hub, other: uids[1], at: Position::default(), endpoints: 0, _folder: folder };
        fleet.settle().await?;
        Ok(fleet)
    }

    /// The node's process.
    pub(super) fn node(&self) -> u32 {
        self.node.child.as_ref().map_or(0, Child::id)
    }

    /// The other cluster has so many endpoints, and the node knows them.
    pub(super) async fn grow(&mut self, endpoints: u32) -> anyhow::Result<()> {
        while self.endpoints < endpoints {
            let mut resources = Vec::new();
            if self.endpoints == 0 {
                for at in 0..NAMESPACES {
                    resources.push((uid(2, at), namespace(at)?));
                }
            }
            let next = (self.endpoints + CHUNK).min(endpoints);
            for at in self.endpoints..next {
                resources.push((uid(3, at), endpoint(at)?));
            }
            self.endpoints = next;
            let scope = Scope::Cluster(self.other);
            let to = Position { epoch: uid(1, 0), revision: self.at.revision + 1, hash: Hash([1; 32]) };
            let put = |(uid, resource)| Change::Put(convert::object(resource, scope, uid, to.revision));
            let changes = resources.into_iter().map(put).collect();
            let delta = Delta { from: self.at.revision, to, changes, origin: None };
            let command =
                Command::TakeDelta { cluster: self.other, after: (self.at.revision > 0).then_some(self.at), delta };
            self.hub.parts.writer.submit(command, "user:bench", "").await?;
            self.at = to;
        }
        self.settle().await
    }

    /// Waits until the node's kernel holds all that the hub has.
    async fn settle(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let head = *self.hub.parts.replica.head().borrow();
            let said = ask(&self.node.state().join("agent.sock"), &Request::Status).await;
            if let Ok(Reply::Status(status)) = &said
                && status.node.as_ref().is_some_and(|node| node.applied == Some(head))
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the node is not at {head:?}: {said:?}\n{}", fs::read_to_string(self.node.log())?);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// One process of the shipped agent; it ends with this.
struct Agent {
    name: &'static str,
    folder: PathBuf,
    child: Option<Child>,
}

impl Agent {
    fn state(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    fn log(&self) -> PathBuf {
        self.folder.join(self.name).with_extension("log")
    }

    fn program(&self, arguments: &[&str]) -> anyhow::Result<Program> {
        let own = env::current_exe()?;
        let program = own.parent().unwrap_or(Path::new("/")).join("axle-agent");
        ensure!(program.exists(), "{} is missing: cargo build --release -p axle-agent", program.display());
        let mut command = Program::new(program);
        command.args(arguments).arg("--state-dir").arg(self.state()).stdin(Stdio::null());
        Ok(command)
    }

    /// A command that ends. The hub, which is in this process, answers meanwhile.
    async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.program(arguments)?;
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        if !output.status.success() {
            bail!("axle-agent {}: {}", arguments[0], String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits until it can be asked.
    async fn begins(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.state().join("agent.sock").exists() {
            ensure!(Instant::now() < deadline, "the {} does not begin", self.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    fn start(mut self, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = self.program(&[&["run", "--http-listen", "off"], arguments].concat())?;
        let log = fs::File::create(self.log())?;
        self.child = Some(command.stdout(log.try_clone()?).stderr(log).spawn()?);
        Ok(self)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    let output = Program::new("ip").args(arguments.split(' ')).output()?;
    ensure!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn uid(kind: u8, at: u32) -> Uid {
    let mut uid = [kind; 16];
    uid[12..].copy_from_slice(&at.to_be_bytes());
    Uid(uid)
}

/// Every tenth selects workloads of the node.
fn policies() -> anyhow::Result<Vec<axle_core::model::Policy>> {
    let one = |at: u32| {
        format!(
            "apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\nmetadata: {{name: p{at}}}\nspec: {{tier: Admin, priority: {at}, \
             subject: {{pods: {{podSelector: {{matchLabels: {{app: a{}}}}}}}}}, ingress: [{{action: Accept, from: [{{clusters: {{}}, \
             pods: {{podSelector: {{matchLabels: {{role: r{at}}}}}}}}}]}}]}}\n---\n",
            at % 50
        )
    };
    let text: String = (0..100).map(one).collect();
    manifest::parse_policies(&text).map_err(|violations| anyhow::anyhow!("{violations:?}"))
}

fn workload(at: u32) -> String {
    format!(
        "apiVersion: axle.dev/v1alpha1\nkind: Workload\nmetadata: {{name: w{at}, namespace: shop, labels: {{app: a{at}}}}}\n\
         spec: {{interface: w{at}, addresses: [10.1.0.{}]}}\n---\n",
        at + 1
    )
}

fn namespace(at: u32) -> anyhow::Result<Resource> {
    let labels = Labels::from([("team".to_owned(), format!("t{at}"))]);
    Ok(Resource::Namespace(Namespace { name: Name::new(format!("ns{at}"))?, labels }))
}

/// Four of each identity, named and labelled as a Deployment's pods are.
fn endpoint(at: u32) -> anyhow::Result<Resource> {
    let identity = at / 4;
    let labels = Labels::from([
        ("app".to_owned(), format!("a{}", identity % 50)),
        ("role".to_owned(), format!("r{}", identity % 211)),
        ("app.kubernetes.io/instance".to_owned(), format!("service-{identity}")),
        ("app.kubernetes.io/version".to_owned(), "1.2.3".to_owned()),
    ]);
    Ok(Resource::Endpoint(Endpoint {
        namespace: Name::new(format!("ns{}", identity % NAMESPACES))?,
        name: Name::new(format!("service-{identity}-5d8f7c6b9-{at}"))?,
        node: Name::new(format!("node-{}", at / 100))?,
        service_account: "default".into(),
        labels,
        addresses: vec![Ipv4Addr::from_bits(0x0a40_0000 + at).into()],
        named_ports: Vec::new(),
        started_ms: 1,
        ready: true,
        host: None,
    }))
}
