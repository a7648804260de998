//! What agents may do at the API server: what is missing is named, and what is named is what the chart gives.
use std::{collections::BTreeSet, fs, process::Command, time::Instant};

use axle_agent::{
    control::{Reply, Request, ask},
    status::Status,
};
use axle_core::state;
use axle_tests::process::{Place, Process};
use serde_json::{Value, json};

use super::{
    super::stage::{Stage, ip, on_stage},
    Cluster, NAMESPACE, PATIENCE, permissions,
};

/// Account, resource as rules call it with its group, verb.
type Permission = (String, String, String);

/// Begins with accounts that may do nothing, and gives them whatever their agents' status says that they lack, as somebody
/// would who reads it.
#[test]
fn whatever_is_missing_is_named_and_that_is_what_the_chart_gives() {
    on_stage(async |stage: &mut Stage| {
        ip("addr add 10.96.0.77/32 dev lo");
        stage.hub_starts().await;
        stage.add_cluster().await;
        let cluster = Cluster::start();
        cluster.definitions();
        give(&cluster, &BTreeSet::new());
        for (pod, account) in [("relay-a", "axle-relay"), ("agent-n1", "axle-agent")] {
            cluster.pod(NAMESPACE, pod, account);
        }
        fs::write(stage.state("token"), cluster.token("axle-agent", "agent-n1", "axle.dev/relay")).unwrap();
        cluster.apply(OBJECTS);
        stage.command(state::Command::PutPolicies { policies: vec![stage.policy("of-the-fleet")] }).await;
        let relay = cluster.relay(stage, "relay-a", Some(&stage.token().await));
        let node = node(&cluster, stage);
        let mut ladder = Ladder { cluster: &cluster, stage, relay, given: BTreeSet::new() };

        let get = |what: &str| {
            cluster.server.admin().run(&["get", what, "-n", "shop", "-o", "jsonpath={..status}"]).unwrap_or_default()
        };
        let has = |what: &str, text: &str| get(what).contains(text);
        let imported = "-l multicluster.kubernetes.io/service-name=web -o jsonpath={..addresses}";
        let slices = || cluster.kubectl(&format!("get endpointslices -n shop {imported}"));
        ladder
            .until("the node is in", async |ladder| {
                ladder.status("agent-n1").await.is_some_and(|status| status.node.is_some_and(|node| node.connected))
            })
            .await;
        ladder
            .until("all is told", async |_| {
                has("mnp/good", "Programmed")
                    && has("mnp/bad", "UnknownField")
                    && has("cnp/of-the-cluster", "axle.dev/Accepted")
                    && has("fleetpolicies/of-the-fleet", "Programmed")
                    && has("clusters.axle.dev/alpha", "here")
                    && has("serviceexports/web", "Ready")
                    && has("serviceimports/web", "clusters")
                    && slices().contains("10.1.9.1")
                    && cluster.kubectl("get events -A -o name").contains("bad")
            })
            .await;
        // What is told of twice, and what nobody should have there.
        cluster.apply(&OBJECTS.replace("matchLabel:", "matchLabels:").replace("10.1.9.1", "10.1.9.2"));
        ladder.until("it is mended", async |_| has("mnp/bad", "Programmed") && slices().contains("10.1.9.2")).await;
        cluster.apply(OBJECTS);
        cluster.apply(STRAYS);
        cluster.kubectl("delete serviceexports web -n shop");
        ladder
            .until("strays go", async |_| {
                let there = cluster.kubectl("get fleetpolicies,clusters.axle.dev,serviceimports -A -o name");
                !there.contains("stray") && !there.contains("web") && slices().is_empty()
            })
            .await;
        ladder
            .until("nothing is wrong", async |ladder| {
                let repeated = cluster.kubectl("get events -A -o jsonpath={.items[*].series.count}");
                ladder.problems().await.iter().all(|problem| !problem.contains("API server")) && !repeated.is_empty()
            })
            .await;

        let chart = of_chart(&cluster);
        // Who may watch may get as well, whether it is done or not.
        let is_get_of_watcher = |(account, resource, verb): &&Permission| {
            verb == "get" && chart.contains(&(account.clone(), resource.clone(), "watch".into()))
        };
        let lines = |all: &BTreeSet<Permission>| -> Vec<String> {
            all.iter().filter(|one| !is_get_of_watcher(one)).map(line).collect()
        };
        assert_eq!(
            lines(&ladder.given).join("\n"),
            lines(&chart).join("\n"),
            "what was named, and what the chart gives"
        );
        // Whoever reads only logs knows it too.
        let logs = [ladder.relay.log(), node.log()].map(|log| fs::read_to_string(log).unwrap()).concat();
        let silent: Vec<_> = ladder.given.iter().filter(|one| !named(&logs).contains(one)).map(line).collect();
        assert!(silent.is_empty(), "the logs do not name {silent:?}");
    });
}

struct Ladder<'a> {
    cluster: &'a Cluster,
    stage: &'a Stage,
    relay: Process,
    given: BTreeSet<Permission>,
}

impl Ladder<'_> {
    async fn status(&self, pod: &str) -> Option<Status> {
        match ask(&self.stage.state(pod).join("agent.sock"), &Request::Status).await {
            Ok(Reply::Status(status)) => Some(*status),
            _ => None,
        }
    }

    async fn problems(&self) -> Vec<String> {
        let mut all = Vec::new();
        for pod in ["relay-a", "agent-n1"] {
            all.extend(self.status(pod).await.into_iter().flat_map(|status| status.problems));
        }
        all
    }

    /// Waits until it is so, and gives what is asked for meanwhile.
    async fn until(&mut self, what: &str, is_so: impl AsyncFn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self).await {
            let problems = self.problems().await;
            assert!(began.elapsed() < PATIENCE * 2, "in vain: {what}; {problems:#?}\ngiven: {:#?}", self.given);
            let before = self.given.len();
            self.given.extend(named(&problems.join("\n")));
            if self.given.len() > before {
                give(self.cluster, &self.given);
            }
            // In the place of the kubelet.
            if self.relay.check_alive().is_err() {
                self.relay = self.cluster.relay(self.stage, "relay-a", None);
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

/// In the place of the chart's roles.
fn give(cluster: &Cluster, given: &BTreeSet<Permission>) {
    for account in ["axle-agent", "axle-relay"] {
        let rule = |(_, resource, verb): &Permission| {
            let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
            json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})
        };
        let rules: Vec<Value> = given.iter().filter(|(whose, ..)| whose == account).map(rule).collect();
        for (kind, namespace, rules) in [("ClusterRole", "", rules), ("Role", NAMESPACE, vec![])] {
            let role = json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind,
                "metadata": {"name": account, "namespace": namespace}, "rules": rules,
            });
            cluster.apply(&role.to_string());
        }
    }
}

/// By the API server's own words in these sentences.
fn named(text: &str) -> BTreeSet<Permission> {
    let one = |part: &str| {
        let account = part.split_once('"')?.0;
        let verb = part.split_once("cannot ")?.1.split_once(' ')?.0;
        let mut quoted = part.split_once("resource \"")?.1.split('"');
        let (resource, group) = (quoted.next()?, quoted.nth(1)?);
        Some((account.to_owned(), called(resource, group), verb.to_owned()))
    };
    text.replace("\\\"", "\"").split("User \"system:serviceaccount:axle-system:").skip(1).filter_map(one).collect()
}

/// What the roles of the chart give.
fn of_chart(cluster: &Cluster) -> BTreeSet<Permission> {
    let arguments = ["create", "--dry-run=client", "-o", "json", "-f", "-"];
    let objects = cluster.server.admin().feed(&arguments, &permissions()).unwrap();
    let objects = serde_json::Deserializer::from_str(&objects).into_iter().map(Result::<Value, _>::unwrap);
    let texts = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap_or_default() };
    let mut given = BTreeSet::new();
    for object in objects {
        let account = object["metadata"]["name"].as_str().unwrap();
        for rule in object["rules"].as_array().into_iter().flatten() {
            for (group, resource) in pairs(&texts(&rule["apiGroups"]), &texts(&rule["resources"])) {
                for verb in texts(&rule["verbs"]) {
                    given.insert((account.to_owned(), called(resource, group), verb));
                }
            }
        }
    }
    given
}

fn pairs<'t>(some: &'t [String], others: &'t [String]) -> impl Iterator<Item = (&'t str, &'t str)> {
    some.iter().flat_map(|one| others.iter().map(|other| (&**one, &**other)))
}

/// As people name a resource, such as `endpointslices.discovery.k8s.io`.
fn called(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

fn line((account, resource, verb): &Permission) -> String {
    format!("{account} {verb} {resource}")
}

/// The node's agent, as the process that its pod is.
fn node(cluster: &Cluster, stage: &Stage) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_axle-agent"));
    command.args([
        "run",
        "--kubernetes",
        "--roles",
        "node",
        "--node",
        "n1",
        "--pod",
        "agent-n1",
        "--namespace",
        NAMESPACE,
    ]);
    command.args(["--http-listen", "off", "--heartbeat", "1s", "--cgroup-root", "/none"]);
    command.arg("--state-dir").arg(stage.state("agent-n1")).arg("--node-token").arg(stage.state("token"));
    command.arg("--pin-dir").arg(stage.settings("n1").pins).arg("--kubeconfig").arg(cluster.kubeconfig("axle-agent"));
    Process::start("agent-n1", command, &Place::default(), &stage.state("agent-n1.log")).unwrap()
}

const OBJECTS: &str = "
{apiVersion: axle.dev/v1alpha1, kind: MeshNetworkPolicy, metadata: {name: good}, spec: {tier: Admin, priority: 1,
  subject: {namespaces: {}}, ingress: []}}
---
{apiVersion: axle.dev/v1alpha1, kind: MeshNetworkPolicy, metadata: {name: bad}, spec: {tier: Admin, priority: 1,
  subject: {pods: {podSelector: {matchLabel: {a: b}}}}, ingress: []}}
---
{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: of-the-cluster},
  spec: {tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: [{action: Accept, from: [{namespaces: {}}]}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {ports: [{port: 80}]}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web, namespace: shop,
  labels: {kubernetes.io/service-name: web}}, addressType: IPv4, ports: [{name: '', port: 80}], endpoints: [{addresses: [10.1.9.1]}]}
---
{apiVersion: multicluster.x-k8s.io/v1beta1, kind: ServiceExport, metadata: {name: web, namespace: shop}}
";

const STRAYS: &str = "
{apiVersion: axle.dev/v1alpha1, kind: Cluster, metadata: {name: stray}, spec: {uid: '', region: '', prefixes: [], defaultAction: Accept}}
---
{apiVersion: axle.dev/v1alpha1, kind: FleetPolicy, metadata: {name: stray}, spec: {name: stray, uid: '', policy: {}}}
";
