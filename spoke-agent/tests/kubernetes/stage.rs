//! An API server that knows our kinds, and a client of it.
use std::{convert::Infallible, future::Future, path::Path, sync::Arc, time::Duration};

use axle_agent::{
    inventory::{ClusterObjects, Inventory, InventoryWatch},
    kubernetes::{Feeds, NetworkPolicies, Telling, keep_telling},
    merged_log::{Batch, Feed, MergedLog, Ownership},
    problems::Problems,
    shared_log::{SharedLog, Unread, fresh_uid},
};
use axle_core::{
    log::{Change, Position},
    manifest,
    model::{
        Action, Affinity, BackendEndpoint, Backends, Cluster, Key, Kind, Labels, Name, Object, Resource, Scope,
        ServiceConflict, ServiceExport, ServiceImport, Uid,
    },
    refusal::Refusal,
};
use axle_proto::{convert, v1};
use axle_tests::kubernetes::{ApiServer, program};
use kube::{
    Api, Client, Config,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{sync::watch, task::JoinHandle};

const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Stage {
    pub(crate) server: ApiServer,
    pub(crate) client: Client,
    /// As the relay, with the rights that the chart gives it.
    pub(crate) relay: Client,
}

impl Stage {
    /// A server with the kinds that the chart brings.
    pub(crate) async fn new() -> Self {
        let server = ApiServer::start().unwrap();
        let client = client(server.admin().kubeconfig()).await;
        server.namespace("axle-system").unwrap();
        server.agents("axle-system").unwrap();
        let relay = server.user("system:serviceaccount:axle-system:axle-relay", None).unwrap();
        let relay = self::client(relay.kubeconfig()).await;
        let stage = Self { server, client, relay };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/axle-agent/crds");
        for file in std::fs::read_dir(folder).unwrap() {
            stage.install(&file.unwrap().path()).await;
        }
        stage
    }

    /// Makes ClusterNetworkPolicy known, by the definition that its authors release (experimental channel).
    pub(crate) async fn install_cluster_network_policy(&self) {
        self.install(&program("clusternetworkpolicies.yaml").expect("make setup-kubernetes fetches it")).await;
    }

    async fn install(&self, path: &Path) {
        let mut definition: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        definition.as_object_mut().unwrap().remove("status");
        let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
        self.apply(&definition).await.unwrap_or_else(|error| panic!("{name}: {error:.2000}"));
        let api = self.api("apiextensions.k8s.io/v1", "CustomResourceDefinition", None);
        until(&format!("{name} to be there"), async || {
            let conditions = api.get(&name).await.unwrap().data["status"]["conditions"].clone();
            let conditions: Vec<Value> = serde_json::from_value(conditions).unwrap_or_default();
            conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True")
        })
        .await;
    }

    pub(crate) fn api(&self, api_version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
        api(&self.client, api_version, kind, namespace)
    }

    /// Creates or changes an object, as somebody who is not the agent.
    pub(crate) async fn apply(&self, document: &Value) -> kube::Result<DynamicObject> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let of = |key: &str| text(&document[key]).unwrap();
        let namespace = text(&document["metadata"]["namespace"]);
        let api = self.api(&of("apiVersion"), &of("kind"), namespace.as_deref());
        let name = text(&document["metadata"]["name"]).unwrap();
        api.patch(&name, &PatchParams::apply("somebody").force(), &Patch::Apply(document)).await
    }

    /// What the server says of an object that is not kept.
    pub(crate) async fn judge(&self, document: &Value) -> Result<DynamicObject, String> {
        let of = |key: &str| document[key].as_str().unwrap();
        let object = serde_json::from_value(document.clone()).unwrap();
        let api = self.api(of("apiVersion"), of("kind"), document["metadata"]["namespace"].as_str());
        let how = PostParams { dry_run: true, ..PostParams::default() };
        api.create(&how, &object).await.map_err(|error| error.to_string())
    }
}

pub(crate) async fn client(kubeconfig: &Path) -> Client {
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig).unwrap(), &options).await.unwrap();
    Client::try_from(config).unwrap()
}

pub(crate) fn api(client: &Client, api_version: &str, kind: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    let resource = ApiResource { plural: resource.plural.replace("policys", "policies"), ..resource };
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

/// YAML as a value.
pub(crate) fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Waits until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !so().await {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A relay's log with what feeds it and what tells of it: the relay itself without a hub and nodes.
pub(crate) struct Relay {
    log: Arc<SharedLog>,
    statuses: watch::Sender<Vec<v1::NodeStatus>>,
    problems: Problems,
    tasks: Vec<JoinHandle<()>>,
    _state: TempDir,
}

const CLUSTER: Uid = Uid([1; 16]);

impl Relay {
    pub(crate) fn start(client: &Client, network_policies: NetworkPolicies) -> Self {
        let state = tempfile::tempdir().unwrap();
        let (log, _) = MergedLog::open(state.path(), Ownership::Relay { cluster: CLUSTER }, fresh_uid()).unwrap();
        let log = SharedLog::new(log);
        let (statuses, heard) = watch::channel(Vec::new());
        let problems = Problems::default();
        let shop = Inventory { documents: manifest::parse(SHOP).unwrap(), complete: true, ..Inventory::default() };
        let (rest, inventory) = watch::channel(Arc::new(shop));
        let feeds = Feeds::follow(client, network_policies);
        let inventory = feeds.inventory(inventory);
        let telling = Telling {
            client: client.clone(),
            node: "n0".into(),
            cluster: CLUSTER,
            log: log.clone(),
            statuses: heard,
            feeds,
            problems: problems.clone(),
        };
        let follow = follow(log.clone(), inventory, rest, problems.clone());
        let tasks = vec![tokio::spawn(follow), tokio::spawn(keep_telling(telling))];
        let relay = Self { log, statuses, problems, tasks, _state: state };
        let cluster = Cluster {
            name: Name::new("oslo").unwrap(),
            region: "eu".into(),
            labels: [("env".to_owned(), "prod".to_owned())].into(),
            prefixes: vec!["10.1.0.0/16".parse().unwrap()],
            default_action: Action::Accept,
            draining: false,
        };
        let fleet = manifest::parse_policies(
            "{apiVersion: axle.dev/v1alpha1, kind: MeshNetworkPolicy, metadata: {name: fleet}, spec: {tier: Admin, \
             priority: 9, subject: {namespaces: {}}, ingress: []}}",
        );
        let fleet = Resource::Policy(fleet.unwrap().remove(0));
        let put = |resource, uid| Change::Put(convert::object(resource, Scope::Fleet, uid, 1));
        relay.hub_says(vec![put(Resource::Cluster(cluster), CLUSTER), put(fleet, Uid([7; 16]))]);
        relay
    }

    /// Takes a revision of the hub's.
    pub(crate) fn hub_says(&self, changes: Vec<Change>) {
        let revision = self.head() + 1;
        let at = Some(Position { revision, ..Position::default() });
        let make = |_: &MergedLog| Ok::<_, Infallible>((Batch::Changes(changes), ()));
        let _ = self.log.take_with(&Feed::Upstream, (at, at), Unread::default(), make);
    }

    /// The hub has an import of `web` in these namespaces and no others; this cluster's export has these conflicts.
    pub(crate) fn hub_imports(&self, namespaces: &[&str], conflicts: &[&str]) {
        let held: Vec<Object> =
            self.log.read(|log| log.contents().list_in(Kind::ServiceImport, Scope::Fleet).cloned().collect());
        let gone = held.into_iter().map(|object| Change::Delete { key: object.key, uid: object.uid });
        let conflict = |reason: &&str| ServiceConflict {
            cluster: CLUSTER,
            reason: (*reason).into(),
            message: "they differ".into(),
        };
        let put = |(n, namespace): (u8, &&str)| {
            let import = ServiceImport {
                namespace: Name::new(*namespace).unwrap(),
                name: Name::new("web").unwrap(),
                vips: vec!["10.255.0.7".parse().unwrap()],
                ports: vec![],
                clusters: vec![CLUSTER],
                conflicts: conflicts.iter().map(conflict).collect(),
                traits: Default::default(),
            };
            Change::Put(convert::object(Resource::ServiceImport(import), Scope::Fleet, Uid([n; 16]), 1))
        };
        self.hub_says(gone.collect());
        self.hub_says((20..).zip(namespaces).map(put).collect());
    }

    /// Another cluster exports `shop/web` with this one backend.
    pub(crate) fn hub_exports(&self, backend: &str) {
        let (name, lima) = (|name: &str| Name::new(name).unwrap(), Uid([9; 16]));
        let cluster = Cluster {
            name: name("lima"),
            region: "us".into(),
            labels: Labels::new(),
            prefixes: vec!["10.2.0.0/16".parse().unwrap()],
            default_action: Action::Accept,
            draining: false,
        };
        let addresses = vec![backend.parse().unwrap()];
        let endpoints = vec![BackendEndpoint { addresses, ready: true, serving: true, ..Default::default() }];
        let export = ServiceExport {
            namespace: name("shop"),
            name: name("web"),
            created_ms: 1,
            selector: Labels::new(),
            ports: vec![],
            affinity: Affinity::default(),
            weight: 1,
            traits: Default::default(),
            backends: vec![Backends { endpoints, ports: vec![] }],
        };
        self.hub_says(vec![
            Change::Put(convert::object(Resource::Cluster(cluster), Scope::Fleet, lima, 1)),
            Change::Put(convert::object(
                Resource::ServiceExport(export),
                Scope::Cluster(lima),
                Uid([8; 16]),
                self.head(),
            )),
        ]);
    }

    pub(crate) fn head(&self) -> u64 {
        self.log.read(|log| log.contents().position().revision)
    }

    /// The first of the fleet's objects of a kind.
    pub(crate) fn object(&self, kind: Kind) -> Object {
        self.log.read(|log| log.contents().list_in(kind, Scope::Fleet).next().cloned()).unwrap()
    }

    /// The cluster's own policies, each with its priority.
    pub(crate) fn policies(&self) -> Vec<String> {
        let one = |object: &Object| match &*object.resource {
            Resource::Policy(policy) => format!("{} {}", policy.title(), policy.priority),
            _ => unreachable!(),
        };
        self.log.read(|log| log.contents().list_in(Kind::Policy, Scope::Cluster(CLUSTER)).map(one).collect())
    }

    pub(crate) fn node_holds(&self, node: &str, revision: u64) {
        let epoch = self.log.read(|log| log.contents().position().epoch);
        let held = convert::position_to_wire(&Position { epoch, revision, ..Position::default() });
        let node = node.to_owned();
        self.statuses.send_replace(vec![v1::NodeStatus {
            node,
            connected: true,
            held: Some(held),
            ..Default::default()
        }]);
    }

    pub(crate) fn node_refuses(&self, node: &str, policy: &str) {
        let (kind, scope, namespace) = (Kind::Policy, Scope::Cluster(CLUSTER), String::new());
        let key = Key { kind, scope, namespace, name: Name::new(policy).unwrap() };
        let (code, message) = ("does_not_fit".into(), "too large".into());
        let refused = vec![convert::refusal_to_wire(&Refusal { key, revision: 1, code, message })];
        let node = node.to_owned();
        self.statuses.send_replace(vec![v1::NodeStatus { node, connected: true, refused, ..Default::default() }]);
    }

    pub(crate) fn trouble(&self) -> Vec<String> {
        self.problems.all()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// As a relay takes its inventory; `rest` is what would change it.
async fn follow(
    log: Arc<SharedLog>,
    mut inventory: InventoryWatch,
    rest: watch::Sender<Arc<Inventory>>,
    problems: Problems,
) {
    log.begun().await;
    loop {
        let now = inventory.borrow_and_update().clone();
        let make = |log: &MergedLog| Ok::<_, Infallible>((ClusterObjects::of(&now, log, 0, &mut fresh_uid).batch, ()));
        let _ = log.take_with(&Feed::Local, (None, None), Unread::default(), make);
        problems.set("inventory", now.problems.clone());
        if inventory.changed().await.is_err() {
            drop(rest);
            return;
        }
    }
}

/// What the cluster has beside.
const SHOP: &str = "
apiVersion: axle.dev/v1alpha1
kind: Namespace
metadata: {name: shop}
---
apiVersion: axle.dev/v1alpha1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
";
