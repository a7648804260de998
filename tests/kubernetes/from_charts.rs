//! The charts in a real cluster: a hub from one, the cluster's agents from the other, real pods, and policy between them.
use std::{fs, thread, time::Duration};

use anyhow::{Context as _, anyhow, bail, ensure};
use axle_tests::{eventually, fabric::Fabric, kubernetes::Cluster, scenario};
use serde_json::Value;

use crate::{
    installed::{agents, helm, kubectl, load, load_agent, prefixes},
    pods::{server, sleeper},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// The hub's pod, as kubectl names it.
const HUB: [&str; 3] = ["-n", "axle", "hub-axle-hub-0"];

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn a_fleet_of_one_cluster_comes_and_goes_by_the_charts() -> anyhow::Result<()> {
    scenario(Fabric::new, Fabric::folder, |fabric| {
        let mut cluster = Cluster::start(fabric, "oslo", 1, 2)?;
        load(&mut cluster, "axle-hub:0.1.0", ["axle-hub", "axle"])?;
        load_agent(&mut cluster)?;
        let mut fleet = Installed { cluster, context: String::new() };
        fleet.hub()?;
        fleet.agents()?;
        fleet.pods()?;
        fleet.metrics_are_where_pods_come()?;
        fleet.an_upgrade_loses_and_opens_nothing()?;
        fleet.uninstalled()
    })
}

struct Installed {
    cluster: Cluster,
    /// The admin's context for `axle`.
    context: String,
}

impl Installed {
    fn kubectl(&self, line: &str) -> anyhow::Result<String> {
        kubectl(&self.cluster, line)
    }

    fn helm(&self, line: &str) -> anyhow::Result<()> {
        helm(&self.cluster, &line.split(' ').collect::<Vec<_>>())
    }

    /// `axle`, in the hub's pod.
    fn axle(&self, line: &str) -> anyhow::Result<String> {
        let arguments: Vec<_> = ["exec", "-i"]
            .into_iter()
            .chain(HUB)
            .chain(["--", "axle", "--config", "/dev/stdin"])
            .chain(line.split(' '))
            .collect();
        self.cluster.admin().feed(&arguments, &self.context)
    }

    fn hub(&mut self) -> anyhow::Result<()> {
        let node = self.kubectl("get nodes -o jsonpath={.items[0].metadata.name}")?;
        self.cluster.admin().apply(&VOLUME.replace("NODE", &node))?;
        self.kubectl("wait --for=jsonpath={.status.phase}=Succeeded pod/prepare -n axle --timeout=60s")?;
        self.helm("install hub axle-hub --namespace axle --wait --timeout 2m")?;
        self.helm("test hub --namespace axle")?;
        let token = ["axle-hub", "token", "--subject", "me", "--role", "admin", "--context", "localhost:7443"];
        let arguments: Vec<_> = ["exec"].into_iter().chain(HUB).chain(["--"]).chain(token).collect();
        self.context = self.cluster.admin().run(&arguments)?;
        Ok(())
    }

    fn agents(&self) -> anyhow::Result<()> {
        self.axle(&format!("cluster add oslo {}", prefixes(&self.cluster)?))?;
        let token: Value = serde_json::from_str(&self.axle("token create --cluster oslo -o json")?)?;
        let token = token["token"].as_str().context("a token")?;
        self.kubectl("create namespace axle-system")?;
        self.kubectl(&format!("create secret generic axle-join -n axle-system --from-literal=token={token}"))?;
        self.install(&[])?;
        self.kubectl("delete secret axle-join -n axle-system")?;
        self.helm("test agents --namespace axle-system")
    }

    fn install(&self, more: &[&str]) -> anyhow::Result<()> {
        let more = [more, &["--wait", "--timeout=2m"]].concat();
        agents(&self.cluster, "hub-axle-hub.axle.svc:7443", "oslo", &more)?;
        eventually("both nodes to enforce", PATIENCE, || {
            let status = self.axle("status")?;
            let enforcing = status.lines().filter(|line| line.contains("enforcing")).count();
            if enforcing == 2 { Ok(()) } else { bail!("{status}") }
        })
    }

    /// A pod gets the page of `web`, or nothing.
    fn ask(&self, pod: &str) -> anyhow::Result<String> {
        self.kubectl(&format!("exec {pod} -- timeout 3 wget -qO- http://web/"))
    }

    fn passes(&self, pod: &str) -> anyhow::Result<String> {
        eventually(&format!("{pod} to pass"), PATIENCE, || self.ask(pod))
    }

    fn is_cut(&self, pod: &str) -> anyhow::Result<()> {
        eventually(&format!("{pod} to be cut"), PATIENCE, || match self.ask(pod) {
            Ok(page) => bail!("it got {page:?}"),
            Err(_) => Ok(()),
        })
    }

    fn pods(&self) -> anyhow::Result<()> {
        self.cluster.admin().apply(&[SERVICE, &server("web"), &sleeper("shop"), &sleeper("scraper")].concat())?;
        self.kubectl("wait --for=condition=Ready pod/web pod/shop pod/scraper --timeout=60s")?;
        self.passes("shop")?;
        self.passes("scraper")?;
        self.cluster.admin().apply(POLICY)?;
        self.is_cut("scraper")?;
        self.passes("shop").map(drop)
    }

    fn metrics_are_where_pods_come(&self) -> anyhow::Result<()> {
        let asked = "get pods -n axle-system -o jsonpath={range.items[*]}{.status.podIP}/{end}";
        let addresses = self.kubectl(asked)?;
        let addresses: Vec<_> = addresses.split_terminator('/').collect();
        ensure!(addresses.len() == 4, "wanted two agents and two relays: {addresses:?}");
        for address in addresses {
            let ask =
                |path: &str| self.kubectl(&format!("exec shop -- timeout 3 wget -qO- http://{address}:7082/{path}"));
            let figures = eventually("metrics", PATIENCE, || ask("metrics"))?;
            ensure!(figures.contains("axle_agent_problems"), "{figures}");
            ensure!(ask("readyz").is_err(), "it is for metrics alone");
        }
        Ok(())
    }

    fn an_upgrade_loses_and_opens_nothing(&self) -> anyhow::Result<()> {
        let asking = |pod: &'static str| {
            let often = "for i in $(seq 600); do [ -e /tmp/enough ] && exit; timeout 2 wget -qO- http://web/ || echo none; sleep 0.1; done";
            self.cluster.admin().run(&["exec", pod, "--", "sh", "-c", often])
        };
        let (shop, scraper) = thread::scope(|scope| {
            let (shop, scraper) = (scope.spawn(|| asking("shop")), scope.spawn(|| asking("scraper")));
            self.install(&["--set", "agent.podAnnotations.round=two,relay.podAnnotations.round=two"])?;
            self.kubectl("exec shop -- touch /tmp/enough")?;
            self.kubectl("exec scraper -- touch /tmp/enough")?;
            let join = |thread: thread::ScopedJoinHandle<'_, anyhow::Result<String>>| {
                thread.join().map_err(|_| anyhow!("it panicked"))?
            };
            anyhow::Ok((join(shop)?, join(scraper)?))
        })?;
        ensure!(!shop.contains("none") && shop.contains("page"), "shop lost something: {shop}");
        ensure!(!scraper.contains("page"), "scraper got through: {scraper}");
        Ok(())
    }

    fn uninstalled(&self) -> anyhow::Result<()> {
        // An agent that is only away keeps new pods out.
        let aside = |value: &str| {
            let patch = format!(r#"{{"spec":{{"template":{{"spec":{{"nodeSelector":{{"aside":{value}}}}}}}}}}}"#);
            self.cluster.admin().run(&["patch", "daemonset/axle-agent", "-n", "axle-system", "--patch", &patch])
        };
        aside(r#""yes""#)?;
        self.kubectl("wait --for=delete pod -l app.kubernetes.io/name=axle-agent -n axle-system --timeout=60s")?;
        self.cluster.admin().apply(&sleeper("late"))?;
        ensure!(self.kubectl("wait --for=condition=Ready pod/late --timeout=20s").is_err(), "it started unprotected");
        aside("null")?;
        self.kubectl("wait --for=condition=Ready pod/late --timeout=120s")?;

        // Who runs stays as protected as it was, and who starts gets a network.
        self.helm("uninstall agents --namespace axle-system --wait")?;
        self.is_gone()?;
        self.passes("shop")?;
        self.is_cut("scraper")?;
        self.cluster.admin().apply(&sleeper("later"))?;
        self.kubectl("wait --for=condition=Ready pod/later --timeout=60s")?;

        // Installed again it needs no token: the relay's credentials are in its Secret.
        self.install(&["--set", "uninstall.cleanup=true"])?;
        self.is_cut("later")?;
        self.helm("uninstall agents --namespace axle-system --wait")?;
        self.is_gone()?;
        self.passes("scraper").map(drop)
    }

    /// Nothing of the agents is there any more, and nothing of what cleaned up after them.
    fn is_gone(&self) -> anyhow::Result<()> {
        eventually("everything of the release to go", PATIENCE, || {
            let rest = self.kubectl(
                "get pods,daemonsets,deployments,jobs,serviceaccounts,roles,rolebindings -n axle-system -o name",
            )?;
            let rest = rest.replace("serviceaccount/default\n", "");
            ensure!(rest.is_empty(), "{rest}");
            Ok(())
        })?;
        for node in &self.cluster.nodes {
            let root = node.root()?;
            let chain = fs::read_to_string(root.join("etc/cni/net.d/10-pods.conflist"))?;
            ensure!(!chain.contains("axle-cni") && !root.join("opt/cni/bin/axle-cni").exists(), "{chain}");
        }
        Ok(())
    }
}

const VOLUME: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: axle}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: hub}
spec:
  capacity: {storage: 8Gi}
  accessModes: [ReadWriteOnce]
  hostPath: {path: /var/lib/axle-hub}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [NODE]}]}]}}
---
apiVersion: v1
kind: Pod
metadata: {name: prepare, namespace: axle}
spec:
  nodeName: NODE
  restartPolicy: Never
  containers:
  - {name: prepare, image: test.local/busybox:1, command: [chmod, \"777\", /volume], volumeMounts: [{name: volume, mountPath: /volume}]}
  volumes: [{name: volume, hostPath: {path: /var/lib/axle-hub, type: DirectoryOrCreate}}]
";

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"#;

const POLICY: &str = "
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {name: web-callers}
spec:
  tier: Admin
  priority: 10
  subject: {pods: {podSelector: {matchLabels: {app: web}}}}
  ingress:
  - {name: the-shop, action: Accept, from: [{pods: {podSelector: {matchLabels: {app: shop}}}}]}
  - {name: nobody-else, action: Deny, from: [{namespaces: {}}]}
";
