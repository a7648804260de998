//! Two hubs by the chart on a Postgres outside the cluster that demands TLS: what is acknowledged while they are exchanged is
//! kept, and reaches the agents, which stay.
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail, ensure};
use axle_tests::{
    binaries, eventually,
    fabric::{Fabric, Host},
    kubernetes::Cluster,
    postgres::Postgres,
    process::{Place, run},
    scenario,
};
use serde_json::{Value, json};

use crate::installed::{agents, helm, kubectl, load, load_agent, prefixes};

const PATIENCE: Duration = Duration::from_secs(90);

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn two_hubs_on_postgres_are_exchanged_and_nothing_is_lost() -> anyhow::Result<()> {
    scenario(Fabric::new, Fabric::folder, |fabric| {
        let host = fabric.host("people")?;
        let postgres = Postgres::start_on(&host)?;
        let mut cluster = Cluster::start(fabric, "oslo", 1, 2)?;
        for name in ["axle-hub:0.1.0", "axle-hub:0.1.1"] {
            load(&mut cluster, name, ["axle-hub", "axle"])?;
        }
        load_agent(&mut cluster)?;
        let folder = fabric.folder();
        let fleet = OnPostgres { cluster, host, folder };
        fleet.hubs(&postgres)?;
        fleet.agents()?;
        fleet.only_one_hub_may_be_evicted_at_a_time()?;
        fleet.nothing_is_lost()
    })
}

struct OnPostgres {
    cluster: Cluster,
    /// Where people are.
    host: Host,
    folder: PathBuf,
}

impl OnPostgres {
    fn kubectl(&self, line: &str) -> anyhow::Result<String> {
        kubectl(&self.cluster, line)
    }

    /// `axle` from outside of the cluster, by the node port of the first node.
    fn axle(&self, line: &str) -> anyhow::Result<String> {
        let mut command = Command::new(binaries()?.join("axle"));
        command.args(line.split(' ')).env("AXLE_CONFIG", self.folder.join("axle.yaml"));
        Place { netns: Some(self.host.netns.path()), cgroup: None }.put(&mut command)?;
        run(&mut command)
    }

    fn upgrade(&self, more: &str) -> anyhow::Result<()> {
        let addresses: Vec<_> =
            self.cluster.nodes.iter().map(|node| format!("{}:30443", node.host.addresses[0])).collect();
        let addresses = addresses.join(",");
        let line = format!(
            "upgrade --install hub axle-hub --namespace axle --wait --timeout 3m --set replicas=2,database.kind=postgres \
             --set database.postgres.existingSecret=database,database.postgres.ca.existingSecret=database \
             --set service.type=NodePort,service.nodePort=30443,advertise={{{addresses},hub-axle-hub.axle.svc:7443}}{more}"
        );
        helm(&self.cluster, &line.split(' ').collect::<Vec<_>>())
    }

    fn hubs(&self, postgres: &Postgres) -> anyhow::Result<()> {
        self.kubectl("create namespace axle")?;
        let ([url, _], ca) = (postgres.tls_database()?, postgres.ca()?);
        let (url, ca) = (format!("--from-literal=url={url}"), format!("--from-file=ca.crt={}", ca.display()));
        self.kubectl(&format!("create secret generic database -n axle {url} {ca}"))?;
        self.upgrade("")?;
        helm(&self.cluster, &["test", "hub", "--namespace=axle"])?;
        let address = self.cluster.nodes[0].host.addresses[0];
        let context = self.kubectl(&format!(
            "exec -n axle deployment/hub-axle-hub -- axle-hub token --subject me --role admin --context {address}:30443"
        ))?;
        let file = self.folder.join("axle.yaml");
        fs::write(&file, context)?;
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        self.axle("status").map(drop)
    }

    fn agents(&self) -> anyhow::Result<()> {
        self.axle(&format!("cluster add oslo {}", prefixes(&self.cluster)?))?;
        let token: Value = serde_json::from_str(&self.axle("token create --cluster oslo -o json")?)?;
        let token = token["token"].as_str().context("a token")?;
        self.kubectl("create namespace axle-system")?;
        self.kubectl(&format!("create secret generic axle-join -n axle-system --from-literal=token={token}"))?;
        agents(&self.cluster, "hub-axle-hub.axle.svc:7443", "oslo", &["--wait", "--timeout=2m"])?;
        eventually("both nodes to enforce", PATIENCE, || {
            let status = self.axle("status")?;
            let enforcing = status.lines().filter(|line| line.contains("enforcing")).count();
            if enforcing == 2 { Ok(()) } else { bail!("{status}") }
        })
    }

    fn only_one_hub_may_be_evicted_at_a_time(&self) -> anyhow::Result<()> {
        let hubs =
            self.kubectl("get pods -n axle -l app.kubernetes.io/name=axle-hub -o jsonpath={.items[*].metadata.name}")?;
        let evict = |pod: &str| {
            let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}});
            let path = format!("/api/v1/namespaces/axle/pods/{pod}/eviction");
            self.cluster.admin().feed(&["create", "--raw", &path, "-f", "-"], &eviction.to_string())
        };
        let (one, other) = hubs.split_once(' ').with_context(|| format!("wanted two hubs: {hubs:?}"))?;
        evict(one)?;
        let refused = evict(other).err().context("both hubs were evicted")?.to_string();
        ensure!(refused.contains("disruption budget"), "{refused}");
        self.kubectl("rollout status -n axle deployment/hub-axle-hub --timeout=60s").map(drop)
    }

    fn nothing_is_lost(&self) -> anyhow::Result<()> {
        let enough = AtomicBool::new(false);
        let written = thread::scope(|scope| {
            let writing = scope.spawn(|| self.write_until(&enough));
            // Other settings come one hub after the other, another version after all old ones have ended.
            let exchanged = self
                .upgrade(",updateStrategy=RollingUpdate,settings.heartbeat=5s")
                .and_then(|()| self.upgrade(",image.tag=0.1.1"));
            enough.store(true, Ordering::Relaxed);
            let written = writing.join().map_err(|_| anyhow!("it panicked"))?;
            exchanged.and(written)
        })?;
        ensure!(written >= 10, "only {written} policies were written");
        let images = self.kubectl("get pods -n axle -o jsonpath={.items[*].spec.containers[*].image}")?;
        ensure!(images == "axle.dev/axle-hub:0.1.1 axle.dev/axle-hub:0.1.1", "{images}");

        let list: Value = serde_json::from_str(&self.axle("policy list -o json")?)?;
        let list: Vec<_> = list.as_array().into_iter().flatten().filter_map(|policy| policy["name"].as_str()).collect();
        let lost: Vec<_> = (0..written).filter(|number| !list.contains(&format!("p{number}").as_str())).collect();
        ensure!(lost.is_empty(), "of {written} policies these are lost: {lost:?}");
        // Every node has the last of them in its kernel, and no agent has ended for that.
        self.apply(written, " --wait")?;
        let restarts =
            self.kubectl("get pods -n axle-system -o jsonpath={.items[*].status.containerStatuses[*].restartCount}")?;
        ensure!(restarts.split(' ').all(|count| count == "0"), "agents were restarted: {restarts}");
        Ok(())
    }

    /// How many policies were acknowledged, one after the other.
    fn write_until(&self, enough: &AtomicBool) -> anyhow::Result<usize> {
        let mut written = 0;
        while !enough.load(Ordering::Relaxed) {
            eventually("a hub to take a policy", PATIENCE, || self.apply(written, ""))?;
            written += 1;
        }
        Ok(written)
    }

    fn apply(&self, number: usize, how: &str) -> anyhow::Result<String> {
        let file = self.folder.join("policy.yaml");
        fs::write(&file, POLICY.replace("NUMBER", &number.to_string()))?;
        self.axle(&format!("policy apply -f {}{how}", file.display()))
    }
}

const POLICY: &str = "
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {name: pNUMBER}
spec:
  tier: Admin
  priority: 10
  subject: {pods: {podSelector: {matchLabels: {number: 'NUMBER'}}}}
  ingress: [{name: nobody, action: Deny, from: [{clusters: {}, namespaces: {}}]}]
";
