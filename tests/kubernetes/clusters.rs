//! Whole clusters on one network.
use std::{fs, mem, thread, time::Duration};

use anyhow::{Context as _, anyhow, ensure};
use axle_tests::{cgroup, eventually, fabric::Fabric, kubernetes::Cluster, scenario};
use serde_json::Value;

#[test]
fn pods_of_two_clusters_reach_each_other_and_their_own_services_by_name() -> anyhow::Result<()> {
    scenario(Fabric::new, Fabric::folder, two_clusters)
}

fn two_clusters(fabric: &mut Fabric) -> anyhow::Result<()> {
    let oslo = Cluster::start(fabric, "oslo", 1, 2)?;
    let lima = Cluster::start(fabric, "lima", 2, 1)?;
    for (cluster, name) in [(&oslo, "oslo"), (&lima, "lima")] {
        cluster.admin().apply(&WEB.replace("CLUSTER", name))?;
        cluster.admin().run(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    }
    for (here, own, there, other) in [(&oslo, "oslo", &lima, "lima"), (&lima, "lima", &oslo, "oslo")] {
        for pod in pod_addresses(there)? {
            answers(here, &pod, 8080, other)?;
        }
        let service = here.admin().json(&["get", "service", "web"])?;
        let names = ["web", "web.default.svc.cluster.local"].map(str::to_owned);
        for way in [&names[..], &texts(&service["spec"]["clusterIPs"])].concat() {
            answers(here, &way, 80, own)?;
        }
    }
    // Nothing rewrites where a packet comes from: whichever pod of the other cluster asked stands in the server's log.
    let asked = oslo.admin().run(&["logs", "--selector=app=web", "--tail=-1"])?;
    let askers: Vec<_> = pod_addresses(&lima)?.into_iter().filter(|pod| asked.contains(pod)).collect();
    ensure!(askers.len() == 2, "wanted the two addresses of one pod, got {askers:?} in:\n{asked}");
    Ok(())
}

/// The kernel ends what a thread started with the thread, however that ends: so it is after SIGKILL too.
#[test]
fn a_cluster_ends_with_who_started_it_and_leaves_nothing() -> anyhow::Result<()> {
    let name = format!("ended-{}", std::process::id());
    let mut fabric = Fabric::new(&name)?;
    let group = cgroup::of_run(&cgroup::root()?, &name);
    let is_populated = || anyhow::Ok(fs::read_to_string(group.join("cgroup.events"))?.contains("populated 1"));
    thread::scope(|scope| {
        let start = || Cluster::start(&mut fabric, "oslo", 1, 1).map(mem::forget);
        scope.spawn(start).join().map_err(|_| anyhow!("it panicked"))?
    })?;
    // A second is plenty for an idle machine.
    eventually("all processes to end", Duration::from_secs(20), || {
        ensure!(!is_populated()?, "some run");
        Ok(())
    })?;
    drop(fabric);
    ensure!(!group.exists(), "{} is left", group.display());
    for root in cgroup::v1_roots()? {
        let group = cgroup::of_run(&root, &name);
        ensure!(!group.exists(), "{} is left", group.display());
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(!mounts.contains(&name), "mounts are left:\n{mounts}");
    Ok(())
}

/// A pod of `from` gets the page of `cluster` at `host`, a name or an address.
fn answers(from: &Cluster, host: &str, port: u16, cluster: &str) -> anyhow::Result<()> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let url = format!("http://{host}:{port}/");
    // A name or a service may be a moment late after its pods.
    let page = eventually(&format!("{url} to answer"), Duration::from_secs(20), || {
        from.admin().run(&["exec", "deployment/web", "--", "wget", "-qO-", &url])
    })?;
    ensure!(page.trim() == cluster, "{url} answered {page:?}, wanted {cluster}");
    Ok(())
}

/// Of all pods of `web`, both families.
fn pod_addresses(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let pods = cluster.admin().json(&["get", "pods", "--selector=app=web"])?;
    let pods = pods["items"].as_array().context("a list of pods has items")?;
    let addresses = pods.iter().filter_map(|pod| pod["status"]["podIPs"].as_array()).flatten();
    let addresses: Vec<_> = addresses.filter_map(|address| address["ip"].as_str().map(str::to_owned)).collect();
    ensure!(addresses.len() == 4, "wanted two pods with an address of each family, got {addresses:?}");
    Ok(addresses)
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

const WEB: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: test.local/busybox:1
        command: [sh, -c, "echo CLUSTER > /tmp/index.html; exec httpd -f -vv -p 8080 -h /tmp"]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: web}}}
"#;
