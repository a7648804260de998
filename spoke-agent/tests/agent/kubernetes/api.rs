//! Parts of agents, beside a real API server.
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axle_agent::{
    inventory::InventoryWatch,
    kubernetes::{
        ApiServer, Lease, Reviewer, Times, Trouble, Turn, attachment::Place, cluster_inventory, local_inventory,
    },
    relay::enrollment::{Review as _, Unproven},
};
use axle_core::model::Name;
use tokio::{sync::watch, task::JoinHandle};

use super::{Cluster, NAMESPACE};

/// Services with their slices and namespaces with their labels, as they change.
#[test]
fn the_relay_knows_services_and_namespaces() {
    runtime(async {
        let mut cluster = Cluster::start();
        let api = cluster.api("axle-relay").await;
        let mut inventory = cluster_inventory(&api, NAMESPACE);
        let text = |now: &axle_agent::inventory::Inventory| format!("{:?}", now.documents);
        cluster.apply("{apiVersion: v1, kind: Service, metadata: {name: axle-relay, namespace: shop}, spec: {clusterIP: 10.96.0.76, ports: [{port: 80}]}}");
        cluster.apply("{apiVersion: v1, kind: Service, metadata: {name: other, namespace: shop}, spec: {clusterIP: 10.96.0.79, ports: [{port: 80}]}}");
        waits(&mut inventory, "all is listed", |now| now.complete && text(now).contains("10.96.0.79")).await;
        assert!(!text(&inventory.borrow()).contains("10.96.0.77"), "the relay's own Service");
        assert!(text(&inventory.borrow()).contains("10.96.0.76"), "one of its name elsewhere");
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
        assert!(text(&inventory.borrow()).contains("10.96.0.79"));
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
                .any(|problem| problem.contains(&wanted) && problem.contains("verbs [list, watch]"))
        };
        waits(&mut inventory, "both are named", |now| names(now, "pods") && names(now, "nodes") && !now.complete).await;
        cluster.permit();
        waits(&mut inventory, "all is known", |now| now.complete && now.documents.len() == 1).await;
        let place = Place { interface: "veth1".into(), addresses: vec![] };
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

/// A lease of 4 s on a real API server, which many want.
struct Leased {
    cluster: Cluster,
    api: ApiServer,
    times: Times,
}

impl Leased {
    async fn new() -> Self {
        let cluster = Cluster::start();
        let api = cluster.api("axle-relay").await;
        let [renew, retry] = [500, 100].map(Duration::from_millis);
        Self { cluster, api, times: Times { lease: Duration::from_secs(4), renew, retry } }
    }

    fn want(&self, me: &str) -> Arc<Lease> {
        Arc::new(Lease::new(self.api.client(), NAMESPACE, "axle-relay", me, self.times))
    }

    async fn keep(lease: &Arc<Lease>, turn: Turn) -> (JoinHandle<String>, watch::Receiver<Option<String>>) {
        let (lease, (told, trouble)) = (lease.clone(), watch::channel(None));
        (tokio::spawn(async move { lease.keep(turn, move |why| drop(told.send_replace(why))).await }), trouble)
    }

    /// Somebody else writes into it.
    fn write(&self, spec: &str) {
        let spec = format!(r#"{{"spec":{spec}}}"#);
        let line = ["patch", "lease", "axle-relay", "-n", NAMESPACE, "--type=merge", "-p", &spec];
        self.cluster.server.admin().run(&line).unwrap();
    }
}

async fn nothing_known() -> Result<u32, Trouble> {
    Ok(0)
}

#[test]
fn one_of_two_holds_the_lease_until_the_other_can_have_it() {
    runtime(async {
        let mut leased = Leased::new().await;
        let Times { lease, renew, .. } = leased.times;
        let (a, b) = (leased.want("a"), leased.want("b"));
        let turn = a.acquire(nothing_known, |why| panic!("{why}")).await;
        assert_eq!(turn.term(), 1);
        let (kept, _) = Leased::keep(&a, turn).await;
        let next = b.acquire(nothing_known, |why| assert!(why.contains("a holds the lease"), "{why}"));
        let waited = tokio::time::timeout(lease * 2, next).await;
        assert!(waited.is_err() && !kept.is_finished(), "it is renewed");
        // Given up, it is the next one's at once.
        kept.abort();
        a.release().await;
        let turn = tokio::time::timeout(lease / 2, b.acquire(nothing_known, |_| {})).await.unwrap();
        assert_eq!(turn.term(), 2);
        assert!(b.still_held().await.is_ok());
        assert_eq!(a.still_held().await.unwrap_err().to_string(), "b holds the lease axle-relay");
        let (kept, mut trouble) = Leased::keep(&b, turn).await;
        a.release().await;
        tokio::time::sleep(renew * 2).await;
        assert!(!kept.is_finished(), "what is another's is not given up");

        // While the API server is away nobody else can have it, nor just because it was away.
        let waits = tokio::spawn(async move { a.acquire(nothing_known, |_| {}).await });
        leased.cluster.server.kill().unwrap();
        let why = trouble.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert!(why.contains("the API server cannot be asked to update leases"), "{why}");
        tokio::time::sleep(lease + renew).await;
        assert!(!kept.is_finished() && !waits.is_finished(), "it is still b's");
        leased.cluster.server.resume().unwrap();
        tokio::time::timeout(lease * 3, trouble.wait_for(Option::is_none)).await.unwrap().unwrap();
        tokio::time::sleep(lease * 2).await;
        assert!(!kept.is_finished() && !waits.is_finished(), "and it is renewed again");

        // Taken away by force.
        leased.write(r#"{"holderIdentity":"c"}"#);
        let why = tokio::time::timeout(renew * 4, kept).await.unwrap().unwrap();
        assert_eq!(why, "c has taken the lease axle-relay");
        let turn = tokio::time::timeout(lease * 3, waits).await.unwrap().unwrap();
        assert_eq!(turn.term(), 3);
        // Removed, it is as it was.
        leased.cluster.kubectl("delete lease axle-relay -n axle-system");
        let turn = b.acquire(|| async { Ok(3) }, |_| {}).await;
        assert_eq!(turn.term(), 4);
    });
}

#[test]
fn no_clock_but_ones_own_says_when_a_lease_is_over() {
    runtime(async {
        let leased = Leased::new().await;
        let Times { lease, retry, .. } = leased.times;
        let (a, b) = (leased.want("a"), leased.want("b"));
        let _ = a.acquire(nothing_known, |_| {}).await;
        // Its holder's clock is decades behind or ahead, and it renews.
        let began = tokio::spawn(async move {
            let _ = b.acquire(nothing_known, |_| {}).await;
            Instant::now()
        });
        let mut renewed = Instant::now();
        for round in 0..12 {
            let year = if round % 2 == 0 { 1980 } else { 2080 };
            renewed = Instant::now();
            leased.write(&format!(r#"{{"renewTime":"{year}-01-01T00:00:{round:02}.000000Z"}}"#));
            assert!(!began.is_finished(), "round {round}");
            tokio::time::sleep(lease / 4).await;
        }
        let taken = tokio::time::timeout(lease * 3, began).await.unwrap().unwrap();
        let waited = taken.duration_since(renewed);
        assert!(waited >= lease && waited < lease * 2 + retry, "{waited:?}");
    });
}
