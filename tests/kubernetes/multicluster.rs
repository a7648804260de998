//! The Multi-Cluster Services API in two clusters. Each of the 27 specifications of its conformance suite has a function
//! here, R1 to R14 those that it requires and O1 to O13 those that it does not, and after them stands what it leaves out.
//!
//! Source: the suite of kubernetes-sigs/mcs-api at version 0.5.0. All of them share two clusters: whatever they do has the
//! name of the specification.
mod imports;
mod traffic;

use std::{sync::Mutex, thread, time::Duration};

use anyhow::{Context as _, bail, ensure};
use axle_tests::{
    eventually,
    fleet::{Fleet, PATIENCE},
    kubernetes::{Cluster, Kubectl},
};
use serde_json::{Value, json};

use crate::installed::install;

/// Where all of it is, in both clusters.
const NAMESPACE: &str = "shop";
/// Creation times are whole seconds: an export that comes this much later is younger.
const YOUNGER: Duration = Duration::from_millis(1100);

/// A cluster of the pair.
#[derive(Debug, Clone)]
struct Site {
    name: &'static str,
    kubectl: Kubectl,
}

/// Two clusters that share a namespace.
#[derive(Debug)]
struct Pair {
    oslo: Site,
    lima: Site,
}

/// Two clusters with Axle in them, of two nodes and one.
fn clusters(fleet: &mut Fleet) -> anyhow::Result<([Cluster; 2], Pair)> {
    let (oslo, lima) = (install(fleet, "oslo", 1, 2)?, install(fleet, "lima", 2, 1)?);
    let site = |name, cluster: &Cluster| Site { name, kubectl: cluster.admin().clone() };
    let pair = Pair { oslo: site("oslo", &oslo), lima: site("lima", &lima) };
    for site in pair.both() {
        site.kubectl.run(&["create", "namespace", NAMESPACE])?;
    }
    Ok(([oslo, lima], pair))
}

type Specification = (&'static str, fn(&Pair) -> anyhow::Result<()>);

/// Checks specifications, some at a time: they mostly wait.
fn check(pair: &Pair, specifications: &[Specification]) -> anyhow::Result<()> {
    let (queue, failures) = (Mutex::new(specifications.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((title, holds)) = queue.lock().ok().and_then(|mut queue| queue.next()) {
                    if let (Err(why), Ok(mut failures)) = (holds(pair), failures.lock()) {
                        failures.push(format!("{title}: {why:#}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

impl Pair {
    fn both(&self) -> [&Site; 2] {
        [&self.oslo, &self.lima]
    }

    /// In both clusters, if not at once.
    fn everywhere(&self, what: &str, holds: impl Fn(&Site) -> anyhow::Result<()>) -> anyhow::Result<()> {
        for site in self.both() {
            eventually(&format!("{what} in {}", site.name), PATIENCE, || holds(site))?;
        }
        Ok(())
    }

    /// The service is offered by oslo, and by lima with a service of its own after that.
    fn conflict(&self, name: &str, older: Offer<'_>, younger: Offer<'_>) -> anyhow::Result<()> {
        self.oslo.offer(name, older)?;
        eventually("the first import", PATIENCE, || self.oslo.import(name))?;
        thread::sleep(YOUNGER);
        self.lima.offer(name, younger)
    }

    /// Both exports have a conflict of these reasons.
    fn conflicts(&self, name: &str, reasons: &str) -> anyhow::Result<()> {
        self.everywhere("a conflict", |site| site.says(name, "Conflict", "True", reasons))
    }
}

/// What differs in a service's specification and in its export's.
type Offer<'o> = (&'o [(&'o str, Value)], Value);

/// A service as the suite has it.
const PLAIN: Offer<'static> = (&[], Value::Null);

impl Site {
    fn in_namespace(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl.run(&[&["--namespace", NAMESPACE], arguments].concat())
    }

    fn get(&self, kind: &str, name: &str) -> anyhow::Result<Value> {
        self.kubectl.json(&["--namespace", NAMESPACE, "get", kind, name])
    }

    /// Makes the service, and exports it.
    fn offer(&self, name: &str, (service, export): Offer<'_>) -> anyhow::Result<()> {
        self.serve(name, service)?;
        let metadata =
            json!({"name": name, "namespace": NAMESPACE, "labels": {"own": "e"}, "annotations": {"own": "e"}});
        let api_version = "multicluster.x-k8s.io/v1beta1";
        let export = json!({"apiVersion": api_version, "kind": "ServiceExport", "metadata": metadata, "spec": export});
        self.kubectl.apply(&export.to_string()).map(drop)
    }

    /// A service of two ports and both families, where clients stay for ten seconds; only `different` is otherwise.
    fn serve(&self, name: &str, different: &[(&str, Value)]) -> anyhow::Result<()> {
        let mut spec = json!({
            "selector": {"app": "web"}, "ipFamilyPolicy": "PreferDualStack",
            "sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10}},
            "ports": [
                {"name": "tcp", "port": 42, "targetPort": 8080},
                {"name": "udp", "port": 42, "protocol": "UDP", "targetPort": 8080},
            ],
        });
        different.iter().for_each(|(field, value)| spec[field] = value.clone());
        let metadata =
            json!({"name": name, "namespace": NAMESPACE, "labels": {"own": "s"}, "annotations": {"own": "s"}});
        let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec});
        self.kubectl.apply(&service.to_string()).map(drop)
    }

    fn withdraw(&self, name: &str) -> anyhow::Result<()> {
        self.in_namespace(&["delete", "serviceexports.multicluster.x-k8s.io", name]).map(drop)
    }

    fn import(&self, name: &str) -> anyhow::Result<Value> {
        self.get("serviceimports.multicluster.x-k8s.io", name)
    }

    fn has_no_import(&self, name: &str) -> anyhow::Result<()> {
        match self.import(name) {
            Err(why) if why.to_string().contains("NotFound") => Ok(()),
            got => bail!("wanted no import: {got:?}"),
        }
    }

    /// A field of an import's specification is so.
    fn imports(&self, name: &str, field: &str, wanted: &Value) -> anyhow::Result<()> {
        let import = self.import(name)?;
        ensure!(import["spec"][field] == *wanted, "{field}: wanted {wanted}, got {}", import["spec"]);
        Ok(())
    }

    /// What is said of an export.
    fn says(&self, name: &str, kind: &str, status: &str, reason: &str) -> anyhow::Result<()> {
        let export = self.get("serviceexports.multicluster.x-k8s.io", name)?;
        let conditions = export["status"]["conditions"].as_array().context("no conditions yet")?;
        let condition = conditions.iter().find(|condition| condition["type"] == kind);
        let condition = condition.with_context(|| format!("no {kind} in {conditions:?}"))?;
        ensure!(condition["status"] == status && condition["reason"] == reason, "{condition}");
        Ok(())
    }

    /// The slices of an import's backends in `cluster`.
    fn slices(&self, name: &str, cluster: &str) -> anyhow::Result<Vec<Value>> {
        let labels = [("service-name", name), ("source-cluster", cluster)];
        let labels = labels.map(|(label, value)| format!("multicluster.kubernetes.io/{label}={value}")).join(",");
        let found = self.kubectl.json(&["--namespace", NAMESPACE, "get", "endpointslices", "--selector", &labels])?;
        Ok(found["items"].as_array().cloned().unwrap_or_default())
    }
}
