//! NetworkPolicies of a namespace, by kubectl, with kube-proxy and the cluster's DNS as they are.
use std::{thread, time::Duration};

use anyhow::ensure;
use axle_tests::{
    eventually,
    fleet::{Fleet, PATIENCE, Settings, scenario},
    kubernetes::Cluster,
};

use crate::{
    installed::{gets, install, is_cut, kubectl},
    pods::sleeper,
};

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn default_deny_with_accepts_by_label_through_service_and_dns() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let oslo = install(fleet, "oslo", 1, 2)?;
        oslo.admin().apply(&[SHOP, &sleeper("client"), &sleeper("stranger")].concat())?;
        ready(&oslo)?;
        fleet.settle(2)?;
        for pod in ["client", "stranger"] {
            gets(&oslo, pod, "web")?;
        }

        oslo.admin().apply(POLICIES)?;
        eventually("the stranger to be cut", PATIENCE, || is_cut(&oslo, "stranger", &service(&oslo)?))?;
        gets(&oslo, "client", "web")?;
        gets(&oslo, "client", "web.default.svc.cluster.local")?;
        is_cut(&oslo, "client", &format!("{}:8081", service(&oslo)?))?;

        // Whoever is given the labels may, and no longer when they are taken away.
        oslo.admin().run(&["label", "pod", "stranger", "app=client", "--overwrite"])?;
        gets(&oslo, "stranger", "web")?;
        oslo.admin().run(&["label", "pod", "stranger", "app=stranger", "--overwrite"])?;
        eventually("it to be cut again", PATIENCE, || is_cut(&oslo, "stranger", &service(&oslo)?))?;

        // New pods behind the service, and the kubelet's probes of them, under the same policies.
        oslo.admin().run(&["rollout", "restart", "deployment/web"])?;
        ready(&oslo)?;
        gets(&oslo, "client", "web")?;
        is_cut(&oslo, "stranger", &service(&oslo)?)?;

        the_agents_go_and_come_back(fleet, &oslo)
    })
}

fn the_agents_go_and_come_back(fleet: &Fleet, oslo: &Cluster) -> anyhow::Result<()> {
    kubectl(oslo, "delete pods -n axle-system -l app.kubernetes.io/name=axle-agent --now --wait=false")?;
    for _ in 0..5 {
        is_cut(oslo, "stranger", &service(oslo)?)?;
        gets(oslo, "client", "web")?;
    }
    oslo.admin().run(&["rollout", "status", "daemonset/axle-agent", "--namespace=axle-system", "--timeout=60s"])?;
    fleet.settle(2)?;
    // Long enough for some probes to fail, if they did.
    thread::sleep(Duration::from_secs(5));
    let pods = oslo.admin().json(&["get", "pods", "--selector=app=web"])?;
    for pod in pods["items"].as_array().into_iter().flatten() {
        ensure!(pod["status"]["containerStatuses"][0]["ready"] == true, "a probe failed: {}", pod["status"]);
        ensure!(pod["status"]["containerStatuses"][0]["restartCount"] == 0, "{}", pod["status"]);
    }
    Ok(())
}

fn ready(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.admin().run(&["rollout", "status", "deployment/web", "--timeout=60s"])?;
    cluster.admin().run(&["wait", "--for=condition=Ready", "pod/client", "pod/stranger", "--timeout=60s"]).map(drop)
}

/// By address: a stranger may not ask for names.
fn service(cluster: &Cluster) -> anyhow::Result<String> {
    cluster.admin().run(&["get", "service", "web", "--output=jsonpath={.spec.clusterIP}"])
}

const SHOP: &str = r#"
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
        command: [sh, -c, "echo page > /tmp/index.html; httpd -p 8081 -h /tmp; exec httpd -f -p 8080 -h /tmp"]
        ports: [{name: http, containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1, failureThreshold: 2}
        livenessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1, failureThreshold: 5}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}, {name: other, port: 8081}]
"#;

const POLICIES: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress]
  ingress: [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: http}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: client}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {app: web}}}]
  - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]
    ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
"#;
