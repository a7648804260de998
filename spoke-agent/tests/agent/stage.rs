//! A hub, and agents that join it.
use std::{
    cell::RefCell,
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use axle_agent::{
    app::{App, Settings},
    control::{Reply, Request, ask},
    enroll::{Joining, Proof, join},
    state_directory::{Enrollment, StateDirectory, Upstream},
};
use axle_core::{
    log::Change,
    manifest::parse_policies,
    model::{Action, Cluster, Kind, Labels, Name, Policy, Uid},
    state::Command,
};
use axle_hub::{
    app::{App as HubApp, Running},
    config::Config,
};
use axle_transport::pki::JoinToken;
use clap::Parser;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LIFETIME: Duration = Duration::from_secs(600);

#[derive(Parser)]
struct HubArguments {
    #[command(flatten)]
    config: Config,
}

pub(crate) struct Stage {
    folder: tempfile::TempDir,
    bpf: tempfile::TempDir,
    hub: RefCell<Option<Running>>,
    address: Option<String>,
    /// Where the relay listens, at each of its starts.
    relay: RefCell<Option<SocketAddr>>,
}

/// Plays `scene` in namespaces of its own. Everything runs on this one thread and those that it makes.
pub(crate) fn on_stage(scene: impl AsyncFnOnce(&mut Stage)) {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces of its own (needs root)");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("mounts of its own");
    let bpf = tempfile::tempdir().unwrap();
    mount(Some("bpf"), bpf.path(), Some("bpf"), MsFlags::empty(), none).expect("a BPF file system");
    ip("link set lo up");
    // Interfaces of workloads; loopback carries our own sessions.
    for workload in ["w1", "w2"] {
        ip(&format!("link add {workload} up type veth peer name {workload}-in"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let mut stage = Stage { folder, bpf, hub: RefCell::new(None), address: None, relay: RefCell::default() };
        scene(&mut stage).await;
    });
    runtime.shutdown_background();
}

pub(crate) fn ip(arguments: &str) {
    let done = std::process::Command::new("ip").args(arguments.split(' ')).status();
    assert!(done.is_ok_and(|status| status.success()), "ip {arguments}");
}

impl Stage {
    /// At the same address each time.
    pub(crate) async fn hub_starts(&mut self) {
        let listen = self.address.clone().unwrap_or_else(|| "127.0.0.1:0".into());
        let data = self.folder.path().join("hub");
        let arguments =
            ["hub", "--context-file=off", "--http-listen=127.0.0.1:0", "--heartbeat=1s", "--listen", &listen];
        let arguments =
            arguments.into_iter().map(String::from).chain(["--data-dir".into(), data.display().to_string()]);
        let running = HubApp::start(HubArguments::parse_from(arguments).config).await.unwrap();
        self.address = Some(running.tls_address.to_string());
        *self.hub.borrow_mut() = Some(running);
    }

    pub(crate) async fn hub_stops(&mut self) {
        self.hub.take().unwrap().stop().await;
    }

    pub(crate) async fn command(&self, command: Command) {
        let writer = self.hub.borrow().as_ref().unwrap().parts.writer.clone();
        writer.submit(command, "user:test", "").await.unwrap();
    }

    pub(crate) fn cluster(&self) -> Name {
        Name::new("alpha").unwrap()
    }

    pub(crate) fn policy(&self, name: &str) -> Policy {
        let text = format!(
            "apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\nmetadata: {{name: {name}}}\n\
             spec: {{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, ingress: [{{action: Deny, from: [{{pods: {{podSelector: {{}}}}}}]}}]}}\n"
        );
        parse_policies(&text).unwrap().remove(0)
    }

    /// A workload at the interface of its name.
    pub(crate) fn workload(name: &str, address: &str) -> String {
        format!(
            "apiVersion: axle.dev/v1alpha1\nkind: Workload\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{interface: {name}, addresses: [{address}]}}\n"
        )
    }

    pub(crate) fn state(&self, node: &str) -> PathBuf {
        self.folder.path().join(node)
    }

    pub(crate) fn write(&self, node: &str, file: &str, text: &str) {
        let directory = self.state(node).join("inventory");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(file), text).unwrap();
    }

    /// Where the hub is.
    pub(crate) fn hub_address(&self) -> String {
        self.address.clone().unwrap()
    }

    /// Adds the cluster and joins this node as its relay.
    pub(crate) async fn join_hub(&self, node: &str) {
        self.add_cluster().await;
        let token = self.token().await;
        let upstream = Upstream::Hub(self.hub_address());
        self.join(node, upstream, &token, &self.cluster(), StateDirectory::relay_certificates).await;
    }

    pub(crate) async fn add_cluster(&self) {
        let cluster = Cluster {
            name: self.cluster(),
            region: String::new(),
            labels: Labels::new(),
            prefixes: vec!["10.1.0.0/16".parse().unwrap()],
            default_action: Action::Accept,
            draining: false,
        };
        self.command(Command::AddCluster { cluster }).await;
    }

    /// What the hub finds wrong with the cluster's relays.
    pub(crate) fn problem(&self) -> String {
        let hub = self.hub.borrow();
        let parts = &hub.as_ref().unwrap().parts;
        let uid = parts.replica.read().cluster(&self.cluster()).map(|(uid, _)| uid);
        parts.enroller.members.problem(uid.unwrap()).unwrap_or_default()
    }

    /// A token with which the cluster joins.
    pub(crate) async fn token(&self) -> JoinToken {
        let (enroller, uid) = {
            let hub = self.hub.borrow();
            let parts = &hub.as_ref().unwrap().parts;
            let found = parts.replica.read().cluster(&self.cluster()).map(|(uid, _)| uid);
            (parts.enroller.clone(), found.unwrap())
        };
        enroller.create_token(uid, LIFETIME, "user:test").await.unwrap().0
    }

    pub(crate) async fn join_relay(&self, node: &str, relay: &App) {
        let request = Request::CreateToken { node: node.parse().unwrap(), ttl_seconds: 600 };
        let reply = ask(&self.state("n1").join("agent.sock"), &request).await.unwrap();
        let Reply::Token { token, .. } = reply else { panic!("{reply:?}") };
        let port = relay.status().relay.unwrap().listen.rsplit_once(':').unwrap().1.to_owned();
        let upstream = Upstream::Relay(format!("127.0.0.1:{port}"));
        self.join(node, upstream, &token.parse().unwrap(), &node.parse().unwrap(), StateDirectory::node_certificates)
            .await;
    }

    async fn join(
        &self,
        node: &str,
        upstream: Upstream,
        token: &JoinToken,
        name: &Name,
        path: fn(&StateDirectory) -> PathBuf,
    ) {
        let state = StateDirectory::new(&self.state(node)).unwrap();
        let joined =
            join(&Joining { upstream: &upstream, proof: Proof::Token(token), name }, &path(&state)).await.unwrap();
        let node = Name::new(node).unwrap();
        let enrollment = Enrollment { cluster: joined.cluster, cluster_name: joined.cluster_name, node, upstream };
        state.enroll(&enrollment).unwrap();
    }

    pub(crate) async fn run(&self, node: &str) -> App {
        let app = self.start(self.settings(node)).await;
        if let Some(relay) = app.status().relay {
            *self.relay.borrow_mut() = Some(relay.listen.parse().unwrap());
        }
        app
    }

    pub(crate) fn settings(&self, node: &str) -> Settings {
        Settings {
            state: self.state(node),
            inventory: None,
            roles: vec![],
            relay_listen: self.relay.borrow().unwrap_or_else(|| "127.0.0.1:0".parse().unwrap()),
            certificate_lifetime: LIFETIME,
            renewal_grace: LIFETIME,
            node_addresses: vec![format!("192.0.2.{}", &node[1..2]).parse().unwrap()],
            node_labels: Labels::new(),
            pins: self.bpf.path().join(node),
            cgroup: None,
            dns_listen: vec![],
            http_listen: None,
            metrics_listen: None,
            heartbeat: Duration::from_secs(1),
            rescan: Duration::from_secs(30),
            kubernetes: None,
        }
    }

    pub(crate) async fn start(&self, settings: Settings) -> App {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Whoever was dropped just now is not quite gone yet.
            match App::start(settings.clone()).await {
                Err(error) if format!("{error:?}").contains("in use") && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                started => break started.unwrap(),
            }
        }
    }

    /// Waits until it is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whether the node's kernel holds everything that the hub has.
    pub(crate) fn holds_head(&self, agent: &App) -> bool {
        let hub = self.hub.borrow();
        let head = hub.as_ref().map(|hub| *hub.parts.replica.head().borrow());
        agent.status().node.unwrap().applied == head
    }

    pub(crate) fn connected(&self, agent: &App) -> bool {
        let status = agent.status();
        status.relay.unwrap().connected && status.node.unwrap().connected
    }

    /// How often the hub heard that an object of this kind is gone.
    pub(crate) async fn deletes(&self, kind: Kind) -> usize {
        let store = self.hub.borrow().as_ref().unwrap().parts.store.clone();
        let records = store.records_after(0, 1000).await.unwrap();
        let gone = |change: &&Change| matches!(change, Change::Delete { key, .. } if key.kind == kind);
        records.iter().flat_map(|record| &record.changes).filter(gone).count()
    }

    pub(crate) fn uids(&self, kind: Kind) -> Vec<Uid> {
        let hub = self.hub.borrow();
        let Some(hub) = hub.as_ref() else { return Vec::new() };
        hub.parts.replica.read().list(kind).map(|object| object.uid).collect()
    }

    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.uids(kind).len()
    }
}
