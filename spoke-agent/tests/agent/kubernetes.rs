//! Whole agents beside a real API server: nobody runs pods there, so what a kubelet would say is said by the tests.
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use axle_agent::{
    app::{App, KubernetesSettings, Settings},
    control::{Reply, Request, ask},
    inventory::InventoryWatch,
    kubernetes::{
        ApiServer, Lease, NetworkPolicies, Reviewer, Times, attachment::Place as Attached, cluster_inventory,
        local_inventory,
    },
    relay::enrollment::{Review as _, Unproven},
    role::Role,
    status::Status,
};
use axle_core::model::{Kind, Name};
use axle_tests::{
    kubernetes::ApiServer as Server,
    process::{Place, Process},
};
use axle_transport::pki::JoinToken;
use tokio::sync::watch;

use super::stage::{Stage, ip, on_stage};

const NAMESPACE: &str = "axle-system";
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster with one node and our installation in it, without any pod.
struct Cluster {
    server: Server,
}

impl Cluster {
    fn start() -> Self {
        let server = Server::start().unwrap();
        server.namespace(NAMESPACE).unwrap();
        server.namespace("shop").unwrap();
        let cluster = Self { server };
        cluster.apply(include_str!("kubernetes.yaml"));
        cluster.node();
        cluster
    }

    fn apply(&self, documents: &str) {
        self.server.admin().apply(documents).unwrap();
    }

    fn kubectl(&self, line: &str) -> String {
        self.server.admin().run(&line.split(' ').collect::<Vec<_>>()).unwrap()
    }

    fn node(&self) {
        self.apply("{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {zone: a}}}");
    }

    /// A pod of node n1, as this account.
    fn pod(&self, namespace: &str, name: &str, account: &str) {
        self.apply(&format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}, spec: \
             {{nodeName: n1, serviceAccountName: {account}, containers: [{{name: a, image: a, ports: [{{name: http, \
             containerPort: 80}}]}}]}}}}"
        ));
    }

    /// The kubelet says that the pod runs, at this address.
    fn runs(&self, name: &str, address: &str) {
        let status = format!(
            r#"{{"status":{{"phase":"Running","podIP":"{address}","podIPs":[{{"ip":"{address}"}}],"conditions":[{{"type":"Ready","status":"True"}}]}}}}"#
        );
        self.server.admin().run(&["patch", "pod", name, "-n", "shop", "--subresource=status", "-p", &status]).unwrap();
    }

    fn uid(&self, pod: &str) -> String {
        self.kubectl(&format!("get pod {pod} -n shop -o jsonpath={{.metadata.uid}}"))
    }

    fn gone(&self, pod: &str) {
        self.kubectl(&format!("delete pod {pod} -n shop --force --grace-period=0"));
    }

    /// The token that the kubelet would give to that pod.
    fn token(&self, account: &str, pod: &str, audience: &str) -> String {
        let bound =
            if pod.is_empty() { String::new() } else { format!(" --bound-object-kind Pod --bound-object-name {pod}") };
        self.kubectl(&format!("create token {account} -n {NAMESPACE} --audience {audience}{bound}")).trim().to_owned()
    }

    fn kubeconfig(&self, account: &str) -> PathBuf {
        let user = format!("system:serviceaccount:{NAMESPACE}:{account}");
        self.server.user(&user, Some("system:serviceaccounts")).unwrap().kubeconfig().to_owned()
    }

    async fn api(&self, account: &str) -> ApiServer {
        ApiServer::find(Some(&self.kubeconfig(account))).await.unwrap()
    }

    /// A relay, as the process that its pod is.
    fn relay(&self, stage: &Stage, pod: &str, token: Option<&JoinToken>) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_axle-agent"));
        command.args([
            "run",
            "--kubernetes",
            "--roles",
            "relay",
            "--node",
            "n1",
            "--namespace",
            NAMESPACE,
            "--pod",
            pod,
        ]);
        command.args(["--cluster", stage.cluster().as_str(), "--hub", &stage.hub_address(), "--heartbeat", "1s"]);
        command.args(["--http-listen", "off", "--state-dir"]).arg(stage.state(pod));
        command.arg("--kubeconfig").arg(self.kubeconfig("axle-relay"));
        command.env("AXLE_TOKEN", token.map(|token| token.reveal().to_string()).unwrap_or_default());
        Process::start(pod, command, &Place::default(), &stage.state(&format!("{pod}.log"))).unwrap()
    }

    fn agent(&self, stage: &Stage) -> Settings {
        let kubernetes = KubernetesSettings {
            kubeconfig: Some(self.kubeconfig("axle-agent")),
            namespace: Some(NAMESPACE.into()),
            pod: "agent-n1".into(),
            node: Name::new("n1").unwrap(),
            token: stage.state("token"),
            node_account: "axle-agent".into(),
            cgroup_root: stage.state("no cgroups"),
            rescan: Duration::from_secs(30),
            chain: None,
            network_policies: NetworkPolicies::Enforce,
            joins: None,
        };
        Settings { roles: vec![Role::Node], kubernetes: Some(kubernetes), ..stage.settings("n1") }
    }
}

fn problems(app: &App) -> String {
    app.status().problems.join("\n")
}

async fn relay_status(stage: &Stage, pod: &str) -> Option<Status> {
    let Ok(Reply::Status(status)) = ask(&stage.state(pod).join("agent.sock"), &Request::Status).await else {
        return None;
    };
    Some(*status)
}

/// From an empty cluster to its workloads at the hub; a pod's next incarnation; the API server away; another replica leads.
#[test]
fn a_cluster_joins_and_its_pods_are_known() {
    on_stage(async |stage: &mut Stage| {
        // In the place of kube-proxy.
        ip("addr add 10.96.0.77/32 dev lo");
        stage.hub_starts().await;
        let mut cluster = Cluster::start();
        for (pod, account) in [("relay-a", "axle-relay"), ("relay-b", "axle-relay"), ("agent-n1", "axle-agent")] {
            cluster.pod(NAMESPACE, pod, account);
        }
        fs::write(stage.state("token"), cluster.token("axle-agent", "agent-n1", "axle.dev/relay")).unwrap();
        let token = stage.token().await;
        let relay = cluster.relay(stage, "relay-a", Some(&token));
        let settings = cluster.agent(stage);
        let node = stage.start(settings.clone()).await;
        cluster.pod("shop", "w1", "default");
        cluster.runs("w1", "10.1.0.1");
        let stage = &*stage;
        let has = |uid: &str| stage.uids(Kind::Endpoint).iter().map(ToString::to_string).eq([uid]);
        let uid = cluster.uid("w1");
        stage.until("the hub has the pod", || has(&uid)).await;
        stage.until("the node enforces", || stage.holds_head(&node)).await;
        assert!(node.status().node.unwrap().workloads[0].reason.contains("which interface"), "nobody says it here");
        assert!(stage.count(Kind::Namespace) >= 2, "namespaces come with their labels");

        // A pod of the same name is another one.
        cluster.gone("w1");
        stage.until("it is gone", || stage.count(Kind::Endpoint) == 0).await;
        cluster.pod("shop", "w1", "default");
        cluster.runs("w1", "10.1.0.1");
        let uid = cluster.uid("w1");
        stage.until("the hub has the next one", || has(&uid)).await;

        // The API server goes away. Whoever starts meanwhile starts with what is known.
        cluster.server.kill().unwrap();
        stage.until("the node says so", || problems(&node).contains("pods")).await;
        drop(node);
        let node = stage.start(settings).await;
        stage.until("it is back", || node.status().node.unwrap().connected).await;
        assert!(has(&uid) && problems(&node).contains("cannot be asked to list pods"), "{}", problems(&node));
        cluster.server.resume().unwrap();
        stage.until("all is well", || !problems(&node).contains("API server")).await;
        assert!(has(&uid));

        // Another replica waits, and leads as soon as the first is told to stop.
        let _second = cluster.relay(stage, "relay-b", None);
        let (began, mut waits) = (Instant::now(), false);
        while !waits && began.elapsed() < PATIENCE {
            let status = relay_status(stage, "relay-b").await;
            waits =
                status.is_some_and(|status| status.problems.join("\n").contains("stands by: relay-a holds the lease"));
        }
        assert!(waits, "the second stands by, and says so");
        relay.stop(PATIENCE).unwrap();
        stage.until("the node has lost it", || !node.status().node.unwrap().connected).await;
        let began = Instant::now();
        stage.until("the next one lets it in", || node.status().node.unwrap().connected).await;
        assert!(began.elapsed() < Duration::from_secs(10), "the lease was given up, the node's key is known");
        let (began, mut well) = (Instant::now(), false);
        while !well && began.elapsed() < PATIENCE {
            let relay = relay_status(stage, "relay-b").await.and_then(|status| status.relay);
            well = relay.is_some_and(|relay| relay.connected && relay.nodes.iter().all(|node| node.connected));
        }
        assert!(well && has(&uid), "and the hub has what it had");
        let leaders = || cluster.kubectl("get pods -n axle-system -l axle.dev/relay=leader -o name");
        stage.until("the Service leads there", || leaders().trim() == "pod/relay-b").await;

        // The machine is taken out of the cluster.
        cluster.gone("w1");
        cluster.kubectl("delete pod agent-n1 -n axle-system --force --grace-period=0");
        cluster.kubectl("delete node n1");
        stage.until("the hub has no node", || stage.count(Kind::Node) == 0).await;
    });
}

/// Services with their slices and namespaces with their labels, as they change.
#[test]
fn the_relay_knows_services_and_namespaces() {
    runtime(async {
        let mut cluster = Cluster::start();
        let api = cluster.api("axle-relay").await;
        let mut inventory = cluster_inventory(&api);
        let text = |now: &axle_agent::inventory::Inventory| format!("{:?}", now.documents);
        waits(&mut inventory, "all is listed", |now| now.complete && text(now).contains("10.96.0.77")).await;
        cluster.apply(
            "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.78, ports: \
             [{port: 80}]}}\n---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, namespace: shop, \
             labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{port: 8080}], endpoints: [{addresses: \
             [10.1.0.9]}]}",
        );
        cluster.kubectl("label namespace shop team=a");
        let wanted = ["10.96.0.78", "10.1.0.9", "\"team\": \"a\""];
        waits(&mut inventory, "changes come", |now| wanted.iter().all(|wanted| text(now).contains(wanted))).await;
        // What goes while nobody can say so is gone afterwards, and nothing else.
        cluster.server.kill().unwrap();
        waits(&mut inventory, "it is away", |now| now.problems.len() == 3 && now.complete).await;
        cluster.server.resume().unwrap();
        cluster.kubectl("delete service web -n shop");
        let gone =
            |now: &axle_agent::inventory::Inventory| !text(now).contains("10.96.0.78") && now.problems.is_empty();
        waits(&mut inventory, "it is gone", gone).await;
        assert!(text(&inventory.borrow()).contains("10.96.0.77"));
    });
}

fn runtime(scene: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(scene);
}

async fn waits(inventory: &mut InventoryWatch, what: &str, wanted: impl Fn(&axle_agent::inventory::Inventory) -> bool) {
    let found = inventory.wait_for(|inventory| wanted(inventory));
    assert!(tokio::time::timeout(Duration::from_secs(60), found).await.is_ok(), "{what}");
}

/// A permission that is missing is named, and counts as nothing known; once it is there, everything is.
#[test]
fn what_rbac_forbids_is_named_until_it_is_allowed() {
    runtime(async {
        let cluster = Cluster::start();
        cluster.pod("shop", "w1", "default");
        cluster.runs("w1", "10.1.0.1");
        cluster.kubectl("delete clusterrolebinding axle-agent");
        let api = cluster.api("axle-agent").await;
        let (places, attachments) = watch::channel(Arc::<BTreeMap<_, _>>::default());
        let mut inventory = local_inventory(&api, &Name::new("n1").unwrap(), attachments);
        let names = |inventory: &axle_agent::inventory::Inventory, resource: &str| {
            let wanted = format!("does not let this agent list {resource}");
            inventory
                .problems
                .iter()
                .any(|problem| problem.contains(&wanted) && problem.contains("verbs [get, list, watch]"))
        };
        waits(&mut inventory, "both are named", |now| names(now, "pods") && names(now, "nodes") && !now.complete).await;
        cluster.apply(include_str!("kubernetes.yaml"));
        waits(&mut inventory, "all is known", |now| now.complete && now.documents.len() == 1).await;
        let place = Attached { interface: "veth1".into(), addresses: vec![] };
        places.send_replace(Arc::new([(cluster.uid("w1"), place)].into()));
        let placed = |now: &axle_agent::inventory::Inventory| format!("{:?}", now.documents).contains("veth1");
        waits(&mut inventory, "it is placed", placed).await;
        assert_eq!(inventory.borrow().machine.as_ref().unwrap().labels["zone"], "a");
    });
}

#[test]
fn only_the_tokens_of_the_nodes_own_agents_prove_which_node_it_is() {
    runtime(async {
        let cluster = Cluster::start();
        cluster.pod(NAMESPACE, "agent-n1", "axle-agent");
        cluster.pod(NAMESPACE, "relay-a", "axle-relay");
        let client = cluster.api("axle-relay").await.client();
        let reviewer = Reviewer::new(client, NAMESPACE, "axle-agent");
        let good = cluster.token("axle-agent", "agent-n1", "axle.dev/relay");
        assert_eq!(reviewer.node_of(&good).await.unwrap().as_str(), "n1");
        for (token, wanted) in [
            (cluster.token("axle-agent", "agent-n1", "somebody-else"), "does not take the token"),
            (cluster.token("axle-agent", "", "axle.dev/relay"), "names no node"),
            (
                cluster.token("axle-relay", "relay-a", "axle.dev/relay"),
                "wanted system:serviceaccount:axle-system:axle-agent",
            ),
            ("none".to_owned(), "does not take the token"),
        ] {
            let refused = reviewer.node_of(&token).await;
            assert!(matches!(&refused, Err(Unproven::Refused(why)) if why.contains(wanted)), "{wanted}: {refused:?}");
        }
        cluster.kubectl("delete pod agent-n1 -n axle-system --force --grace-period=0");
        let (began, mut refused) = (Instant::now(), false);
        while !refused && began.elapsed() < Duration::from_secs(60) {
            refused = matches!(reviewer.node_of(&good).await, Err(Unproven::Refused(_)));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(refused, "the pod is gone");
        // Nobody but the relay may ask, and then it is no verdict about the token.
        let reviewer = Reviewer::new(cluster.api("axle-agent").await.client(), NAMESPACE, "axle-agent");
        let unknown = reviewer.node_of(&good).await;
        assert!(
            matches!(&unknown, Err(Unproven::Unknown(why)) if why.contains("create tokenreviews.authentication.k8s.io"))
        );
    });
}

#[test]
fn one_of_two_holds_the_lease_and_whoever_cannot_renew_it_gives_it_up() {
    runtime(async {
        let mut cluster = Cluster::start();
        let [lease, deadline] = [4, 2].map(Duration::from_secs);
        let [renew, retry] = [500, 100].map(Duration::from_millis);
        let times = Times { lease, deadline, renew, retry };
        let api = cluster.api("axle-relay").await;
        let want = |me: &str| Arc::new(Lease::new(api.client(), NAMESPACE, "axle-relay", me, times));
        let (a, b) = (want("a"), want("b"));
        let turn = a.acquire(|why| panic!("{why}")).await;
        let kept = tokio::spawn({
            let a = a.clone();
            async move { a.keep(turn).await }
        });
        let next = b.acquire(|why| assert!(why.contains("a holds the lease"), "{why}"));
        let waited = tokio::time::timeout(lease * 2, next).await;
        assert!(waited.is_err() && !kept.is_finished(), "it is renewed");
        // Given up, it is the next one's at once.
        kept.abort();
        a.release().await;
        let turn = tokio::time::timeout(lease / 2, b.acquire(|_| {})).await.unwrap();
        let kept = tokio::spawn({
            let b = b.clone();
            async move { b.keep(turn).await }
        });
        a.release().await;
        tokio::time::sleep(renew * 2).await;
        assert!(!kept.is_finished(), "what is another's is not given up");
        // Without the API server nobody leads, before anybody else could.
        cluster.server.kill().unwrap();
        let why = tokio::time::timeout(deadline + renew * 2, kept).await.unwrap().unwrap();
        assert!(why.contains("could not be renewed"), "{why}");
        cluster.server.resume().unwrap();
        let turn = tokio::time::timeout(lease * 3, a.acquire(|_| {})).await.unwrap();
        // Taken away by force.
        let taken = r#"{"spec":{"holderIdentity":"c"}}"#;
        cluster
            .server
            .admin()
            .run(&["patch", "lease", "axle-relay", "-n", NAMESPACE, "--type=merge", "-p", taken])
            .unwrap();
        let why = tokio::time::timeout(deadline, a.keep(turn)).await.unwrap();
        assert_eq!(why, "c has taken the lease axle-relay");
    });
}
