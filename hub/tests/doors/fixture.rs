//! A real hub on SQLite, with two clusters whose logs it has taken in.
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use axle_core::{
    log::{Position, Snapshot},
    model::{
        Affinity, Cluster, Endpoint, Name, Namespace, Node, Object, PortTarget, Protocol, Resource, Scope,
        ServiceExport, ServicePort, Uid,
    },
    state::Command,
};
use axle_hub::{
    app::{App, Running},
    auth::Role,
    config::Config,
    live::Connection,
};
use axle_proto::{convert, v1};
use clap::Parser;

/// A hub and where its files are.
pub(crate) struct Hub {
    pub(crate) running: Running,
    _dir: tempfile::TempDir,
}

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

impl Hub {
    /// An empty hub.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let flags =
            ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--context-file", "off", "--drain", "1s"];
        let flags = ["axle-hub", "--data-dir", data.to_str().unwrap()].into_iter().chain(flags);
        let running = App::start(Flags::parse_from(flags).config).await.unwrap();
        Self { running, _dir: dir }
    }

    /// A hub with the clusters `east` and `west`, each with two nodes, a `web` on n1 and a `db` on n2 that it exports.
    pub(crate) async fn with_fleet() -> Self {
        let hub = Self::start().await;
        for (cluster, net) in [("east", 1), ("west", 2)] {
            let uid = hub.add_cluster(cluster, net).await;
            hub.take(uid, objects(uid, net)).await;
        }
        hub
    }

    pub(crate) async fn add_cluster(&self, cluster: &str, net: u8) -> Uid {
        let definition = Cluster {
            name: name(cluster),
            region: "north".into(),
            labels: [("stage".to_owned(), "test".to_owned())].into(),
            prefixes: vec![format!("10.{net}.0.0/16").parse().unwrap()],
            default_action: axle_core::model::Action::Accept,
            draining: false,
        };
        self.running.parts.writer.submit(Command::AddCluster { cluster: definition }, "test", "").await.unwrap();
        self.cluster(cluster)
    }

    async fn take(&self, cluster: Uid, objects: Vec<Object>) {
        let at = Position { epoch: Uid([9; 16]), revision: 1, ..Position::default() };
        let snapshot = Snapshot { at, objects, origin: None };
        let command = Command::TakeSnapshot { cluster, after: None, snapshot, refused: Vec::new() };
        let taken = self.running.parts.writer.submit(command, "test", "").await.unwrap();
        assert_eq!(taken.refused, [], "the hub takes the whole log");
    }

    pub(crate) fn cluster(&self, cluster: &str) -> Uid {
        self.running.parts.replica.read().cluster(&name(cluster)).unwrap().0
    }

    /// Where the plain door is.
    pub(crate) fn http(&self) -> SocketAddr {
        self.running.http_address
    }

    /// A token for somebody with this role.
    pub(crate) fn token(&self, role: Role) -> String {
        self.running
            .parts
            .tokens
            .keys()
            .issue("alice", role, SystemTime::now(), Duration::from_secs(600))
            .unwrap()
            .token
    }

    /// A session of a cluster's relay, as the hub knows of it.
    pub(crate) fn session(&self, cluster: &str) -> Connection {
        Arc::clone(&self.running.parts.live).join(self.cluster(cluster))
    }

    /// What a node says that holds this revision.
    pub(crate) fn says(&self, node: &str, revision: u64) -> v1::NodeStatus {
        let epoch = self.running.parts.replica.read().position().epoch;
        v1::NodeStatus {
            node: node.into(),
            agent_version: "1.2.3".into(),
            applied: Some(v1::Position { epoch: epoch.0.to_vec().into(), revision, hash: vec![0; 32].into() }),
            connected: true,
            workloads: 1,
            enforced_workloads: 1,
            ..v1::NodeStatus::default()
        }
    }
}

fn objects(cluster: Uid, net: u8) -> Vec<Object> {
    let mut uid = 0;
    let mut object = |resource| {
        uid += 1;
        let mut bytes = [net; 16];
        bytes[15] = uid;
        convert::object(resource, Scope::Cluster(cluster), Uid(bytes), 1)
    };
    let node = |n: u8| {
        Resource::Node(Node {
            name: name(&format!("n{n}")),
            labels: Default::default(),
            addresses: vec![IpAddr::from([10, net, 0, n])],
        })
    };
    let endpoint = |app: &str, n: u8| {
        Resource::Endpoint(Endpoint {
            namespace: name("shop"),
            name: name(app),
            node: name(&format!("n{n}")),
            service_account: app.into(),
            labels: [("app".to_owned(), app.to_owned())].into(),
            addresses: vec![IpAddr::from([10, net, n, 1])],
            named_ports: Vec::new(),
            started_ms: 1,
            ready: true,
            host: None,
        })
    };
    let namespace = Namespace {
        name: name("shop"),
        labels: [("kubernetes.io/metadata.name".to_owned(), "shop".to_owned())].into(),
    };
    let export = ServiceExport {
        namespace: name("shop"),
        name: name("db"),
        created_ms: u64::from(net),
        selector: [("app".to_owned(), "db".to_owned())].into(),
        ports: vec![ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 5432,
            target: PortTarget::Number(5432),
            app_protocol: String::new(),
        }],
        affinity: Affinity::Local,
        weight: 100,
        traits: Default::default(),
        backends: vec![],
    };
    vec![
        object(Resource::Namespace(namespace)),
        object(node(1)),
        object(node(2)),
        object(endpoint("web", 1)),
        object(endpoint("db", 2)),
        object(Resource::ServiceExport(export)),
    ]
}

/// A fleet policy that lets nobody but `web` reach `db`.
pub(crate) const POLICY: &str = "\
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {name: guard-db}
spec:
  tier: Admin
  priority: 10
  subject: {pods: {podSelector: {matchLabels: {app: db}}}}
  ingress:
    - name: web
      action: Accept
      from: [{pods: {podSelector: {matchLabels: {app: web}}}}]
    - name: rest
      action: Deny
      from: [{networks: [0.0.0.0/0, '::/0']}]
";
