//! What a cluster goes through: hub away, API server away, agents that start without it, a node that is drained. Whoever
//! may not never gets through meanwhile, and whoever may always does.
use std::{collections::BTreeSet, fs, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context as _, bail, ensure};
use axle_tests::{
    binaries, eventually,
    fleet::{Fleet, PATIENCE, Settings, scenario},
    kubernetes::{Cluster, Node},
    process::run,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    installed::{address, gets, install, is_cut, kubectl},
    pods::{on, server, sleeper, within},
};

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn what_a_cluster_goes_through_opens_and_cuts_nothing() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let oslo = install(fleet, "oslo", 1, 2)?;
        fleet.settle(2)?;
        let mut stage = Stage { fleet, oslo };
        stage.pods_start_with_the_hub_away()?;
        stage.a_namespace_is_relabelled()?;
        stage.the_api_server_restarts_while_policies_change()?;
        stage.agents_start_with_the_api_server_away()?;
        stage.a_node_is_drained()
    })
}

struct Stage<'a> {
    fleet: &'a mut Fleet,
    oslo: Cluster,
}

impl Stage<'_> {
    fn kubectl(&self, line: &str) -> anyhow::Result<String> {
        kubectl(&self.oslo, line)
    }

    fn server(&self, name: &str) -> anyhow::Result<String> {
        Ok(format!("{}:8080", address(&self.oslo, name)?))
    }

    /// On either node, under policies by label.
    fn pods_start_with_the_hub_away(&mut self) -> anyhow::Result<()> {
        self.fleet.hub.kill()?;
        self.oslo.admin().apply(POLICIES)?;
        for n in ["1", "2"] {
            let pods =
                [server(&format!("server-{n}")), sleeper(&format!("client-{n}")), sleeper(&format!("stranger-{n}"))];
            self.oslo.admin().apply(&on(&format!("oslo{n}"), &pods.concat()))?;
        }
        self.oslo.admin().apply(WEB)?;
        self.kubectl("wait --for=condition=Ready pod --all --timeout=60s")?;
        for server in ["server-1", "server-2"] {
            let server = self.server(server)?;
            for n in ["1", "2"] {
                gets(&self.oslo, &format!("client-{n}"), &server)?;
                is_cut(&self.oslo, &format!("stranger-{n}"), &server)?;
            }
        }
        self.fleet.hub.start()?;
        self.fleet.settle(2)?;
        self.the_hub_has_the_pods_that_there_are()
    }

    fn a_namespace_is_relabelled(&self) -> anyhow::Result<()> {
        let near = self.server("server-1")?;
        self.kubectl("create namespace guests")?;
        self.oslo.admin().apply(&within("guests", &sleeper("guest")))?;
        self.kubectl("wait --for=condition=Ready pod/guest -n guests --timeout=60s")?;
        let asks = || {
            let url = format!("http://{near}/");
            self.kubectl(&format!("exec -n guests guest -- timeout 2 wget -qO- {url}"))
        };
        ensure!(asks().is_err(), "its namespace has no such label yet");
        self.kubectl("label namespace guests welcome=yes")?;
        eventually("the guest to be let in", PATIENCE, asks)?;
        self.kubectl("label namespace guests welcome-")?;
        eventually("the guest to be cut", PATIENCE, || match asks() {
            Ok(page) => bail!("it got {page:?}"),
            Err(_) => Ok(()),
        })
    }

    fn the_api_server_restarts_while_policies_change(&mut self) -> anyhow::Result<()> {
        let far = self.server("server-2")?;
        // What was changed before is at the hub by then.
        thread::sleep(Duration::from_secs(2));
        let head = self.fleet.status()?["head"]["revision"].clone();
        self.begin("client-1", &far)?;
        self.begin("client-2", &far)?;
        self.begin("stranger-1", &far)?;
        self.oslo.api.kill()?;
        // The hub's policies come all the same, with proof.
        self.fleet.hub.apply(CUT)?;
        thread::sleep(Duration::from_secs(3));
        self.oslo.api.resume()?;
        self.fleet.hub.axle(&["policy", "delete", "cut"])?;
        gets(&self.oslo, "client-2", &far)?;
        self.end("client-1", &['y'])?;
        self.end("client-2", &['y', 'n', 'y'])?;
        self.end("stranger-1", &['n'])?;
        self.fleet.settle(2)?;
        // Who was forgotten by the server's history lists anew; nothing came, went or changed by that.
        let now = self.fleet.status()?["head"]["revision"].clone();
        let moved = now.as_u64().zip(head.as_u64()).map(|(now, head)| now - head);
        ensure!(moved == Some(2), "one policy came and went: {head} to {now}");
        // What the cluster's people change is heard again.
        self.oslo.admin().apply(&POLICIES.replace("[client]", "[client, stranger]"))?;
        gets(&self.oslo, "stranger-1", &far)?;
        self.oslo.admin().apply(POLICIES)?;
        eventually("the stranger to be cut again", PATIENCE, || is_cut(&self.oslo, "stranger-1", &far))?;
        self.the_hub_has_the_pods_that_there_are()
    }

    fn agents_start_with_the_api_server_away(&mut self) -> anyhow::Result<()> {
        let far = self.server("server-2")?;
        self.begin("client-1", &far)?;
        self.begin("stranger-1", &far)?;
        self.oslo.api.kill()?;
        let before = self.oslo.nodes.iter().map(status).collect::<anyhow::Result<Vec<_>>>()?;
        self.oslo.nodes.iter().try_for_each(kill_agent)?;
        for (node, before) in self.oslo.nodes.iter().zip(before) {
            eventually("the next agent to enforce", PATIENCE, || {
                let now = status(node)?;
                ensure!(enforced(&now) == enforced(&before), "{now}");
                let problems = now["problems"].to_string();
                for wanted in ["cannot be asked to list pods", "cannot be asked to list nodes"] {
                    ensure!(problems.contains(wanted), "{wanted:?} is not among {problems}");
                }
                Ok(())
            })?;
        }
        self.oslo.api.resume()?;
        self.end("client-1", &['y'])?;
        self.end("stranger-1", &['n'])?;
        self.fleet.settle(2)?;
        for node in &self.oslo.nodes {
            eventually("the API server to be heard", PATIENCE, || {
                let problems = status(node)?["problems"].to_string();
                ensure!(!problems.contains("API server"), "{problems}");
                Ok(())
            })?;
        }
        self.the_hub_has_the_pods_that_there_are()
    }

    fn a_node_is_drained(&self) -> anyhow::Result<()> {
        let near = self.server("server-1")?;
        self.begin("client-1", &near)?;
        self.begin("stranger-1", "web")?;
        // A scheduler that has not got over the API server's restart yet puts a pod there again.
        let moved = eventually("a node without pods", Duration::from_secs(120), || {
            self.kubectl("drain oslo2 --ignore-daemonsets --delete-emptydir-data --force --timeout=120s")?;
            self.kubectl("rollout status deployment/web --timeout=60s")?;
            let pods =
                self.kubectl("get pods -l app=web -o jsonpath={range.items[*]}{.spec.nodeName}={.status.podIP},{end}")?;
            ensure!(!pods.contains("oslo2="), "{pods}");
            Ok(pods)
        })?;
        self.fleet.settle(2)?;
        self.end("client-1", &['y'])?;
        self.end("stranger-1", &['n'])?;
        for (_, pod) in moved.split(',').filter_map(|pod| pod.split_once('=')) {
            gets(&self.oslo, "client-1", &format!("{pod}:8080"))?;
            is_cut(&self.oslo, "stranger-1", &format!("{pod}:8080"))?;
        }
        gets(&self.oslo, "client-1", "web")?;
        self.the_hub_has_the_pods_that_there_are()?;
        self.kubectl("uncordon oslo2").map(drop)
    }

    /// The pod asks there again and again, and writes down what came of it.
    fn begin(&self, pod: &str, server: &str) -> anyhow::Result<()> {
        let once = format!("timeout 2 wget -qO- http://{server}/ >/dev/null 2>&1 && printf y || printf n");
        let script = format!(
            "rm -f /tmp/enough; sh -c 'until [ -e /tmp/enough ]; do {once}; sleep 0.1; done' >/tmp/said 2>&1 </dev/null &"
        );
        self.oslo.admin().run(&["exec", pod, "--", "sh", "-c", &script])?;
        self.said(pod).map(drop)
    }

    /// It asks no more. What came of it must be this: `y` for answers, `n` for none, each for one or more of them.
    fn end(&self, pod: &str, wanted: &[char]) -> anyhow::Result<()> {
        eventually("the last answer", Duration::from_secs(10), || {
            let said = self.said(pod)?;
            let mut turns: Vec<char> = said.chars().collect();
            turns.dedup();
            ensure!(turns == wanted, "{pod}: wanted {wanted:?}, got {said}");
            Ok(())
        })?;
        self.kubectl(&format!("exec {pod} -- touch /tmp/enough")).map(drop)
    }

    fn said(&self, pod: &str) -> anyhow::Result<String> {
        eventually(&format!("{pod} to have asked"), PATIENCE, || {
            let said = self.kubectl(&format!("exec {pod} -- cat /tmp/said"))?;
            ensure!(!said.is_empty(), "not yet");
            Ok(said)
        })
    }

    /// No ghosts, and none that is missing: each pod with a network of its own, on its node, by its addresses.
    fn the_hub_has_the_pods_that_there_are(&self) -> anyhow::Result<()> {
        eventually("the hub to have the pods that there are", PATIENCE, || {
            let pods = self.oslo.admin().json(&["get", "pods", "--all-namespaces"])?;
            let pods = pods["items"].as_array().context("a list has items")?;
            let own = pods.iter().filter(|pod| pod["spec"]["hostNetwork"] != true);
            let there: BTreeSet<String> = own
                .map(|pod| {
                    let addresses = pod["status"]["podIPs"].as_array().into_iter().flatten().map(|one| &one["ip"]);
                    said_of(&pod["metadata"], &pod["spec"]["nodeName"], addresses)
                })
                .collect();
            let endpoints = self.fleet.hub.json(&["endpoint", "list"])?;
            let known: BTreeSet<String> = endpoints
                .as_array()
                .into_iter()
                .flatten()
                .map(|endpoint| {
                    said_of(endpoint, &endpoint["node"], endpoint["addresses"].as_array().into_iter().flatten())
                })
                .collect();
            ensure!(known == there, "known: {known:#?}, there: {there:#?}");
            Ok(())
        })
    }
}

fn said_of<'v>(named: &Value, node: &Value, addresses: impl Iterator<Item = &'v Value>) -> String {
    let mut addresses: Vec<_> = addresses.filter_map(Value::as_str).collect();
    addresses.sort_unstable();
    let [namespace, name, node] =
        [&named["namespace"], &named["name"], node].map(|text| text.as_str().unwrap_or_default());
    format!("{namespace}/{name} on {node} at {}", addresses.join(", "))
}

/// What the node's agent says of itself, with no API server between.
fn status(node: &Node) -> anyhow::Result<Value> {
    let mut command = Command::new(binaries()?.join("axle-agent"));
    command.args(["status", "-o", "json", "--state-dir"]).arg(node.root()?.join("var/lib/axle"));
    Ok(serde_json::from_str(&run(&mut command)?)?)
}

/// Which workloads it protects.
fn enforced(status: &Value) -> BTreeSet<String> {
    let all = status["node"]["workloads"].as_array().into_iter().flatten();
    all.filter(|workload| workload["enforced"] == true).map(|workload| workload["uid"].to_string()).collect()
}

/// As the kernel would for want of memory; the kubelet starts another.
fn kill_agent(node: &Node) -> anyhow::Result<()> {
    let pid = agent_of(&node.host.cgroup)?.with_context(|| format!("{} has no agent", node.host.name))?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    eventually("it to end", PATIENCE, || {
        ensure!(agent_of(&node.host.cgroup)? != Some(pid), "it runs");
        Ok(())
    })
}

/// The process of the node's role, among those of this group and below.
fn agent_of(group: &Path) -> anyhow::Result<Option<i32>> {
    for pid in fs::read_to_string(group.join("cgroup.procs"))?.lines() {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if line.contains("axle-agent\0run\0--roles\0node") {
            return Ok(Some(pid.parse()?));
        }
    }
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Some(pid) = agent_of(&entry.path())?
        {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

const POLICIES: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: callers}
spec:
  podSelector: {matchExpressions: [{key: app, operator: In, values: [server, web]}]}
  policyTypes: [Ingress]
  ingress:
  - from:
    - podSelector: {matchExpressions: [{key: app, operator: In, values: [client]}]}
    - namespaceSelector: {matchLabels: {welcome: \"yes\"}}
";

const CUT: &str = "
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {name: cut}
spec:
  tier: Admin
  priority: 10
  subject: {pods: {podSelector: {matchLabels: {called: client-2}}}}
  egress:
  - {name: nowhere, action: Deny, to: [{namespaces: {}}]}
";

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: a
        image: test.local/busybox:1
        command: [sh, -c, "echo page > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"]
        readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"#;
