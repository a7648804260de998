//! Whole agents beside a real API server: nobody runs pods there, so what a kubelet would say is said by the tests.
mod agents;
mod api;
mod doubles;
mod leaders;
mod permissions;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use axle_agent::{
    app::{KubernetesSettings, Settings},
    kubernetes::{ApiServer, NetworkPolicies},
    role::Role,
};
use axle_core::model::Name;
use axle_tests::{
    kubernetes::{ApiServer as Server, program},
    process::{Place, Process, run},
};
use axle_transport::pki::JoinToken;

use super::stage::Stage;

const NAMESPACE: &str = "axle-system";
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a relay answers probes.
fn probed(pod: &str) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 7400 + pod.bytes().last().map_or(0, u16::from)).into()
}

fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts")
}

/// The accounts of an installation and what they may do, as the chart says.
fn permissions() -> String {
    let mut helm = Command::new(program("helm").unwrap());
    helm.args(["template", "agents", "axle-agent", "--namespace", NAMESPACE, "--show-only", "templates/rbac.yaml"]);
    run(helm.args(["--set", "hub.address=hub:7443,hub.cluster=alpha"]).current_dir(charts())).unwrap()
}

/// In front of the relay.
const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: axle-relay, namespace: axle-system}, spec: \
                       {clusterIP: 10.96.0.77, selector: {axle.dev/relay: leader}, ports: [{port: 7444}]}}";

/// A cluster with one node and our installation in it, without any pod.
struct Cluster {
    server: Server,
    /// Where its relays listen.
    relays: &'static str,
}

impl Cluster {
    fn start() -> Self {
        let server = Server::start().unwrap();
        server.namespace(NAMESPACE).unwrap();
        server.namespace("shop").unwrap();
        let cluster = Self { server, relays: "[::]:7444" };
        cluster.permit();
        cluster.apply(SERVICE);
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

    /// Gives the accounts what the chart gives them.
    fn permit(&self) {
        self.server.admin().feed(&["apply", "-n", NAMESPACE, "-f", "-"], &permissions()).unwrap();
    }

    /// The kinds that the chart brings, and ClusterNetworkPolicy.
    fn definitions(&self) {
        let crds = charts().join("axle-agent/crds");
        for file in [crds, program("clusternetworkpolicies.yaml").unwrap()] {
            self.server.admin().run(&["apply", "--server-side", "-f", file.to_str().unwrap()]).unwrap();
        }
        self.kubectl("wait --for=condition=Established crd --all --timeout=60s");
    }

    /// A relay, as the process that its pod is.
    fn relay(&self, stage: &Stage, pod: &str, token: Option<&JoinToken>) -> Process {
        self.relay_in(stage, NAMESPACE, &self.kubeconfig("axle-relay"), pod, token)
    }

    fn relay_in(
        &self,
        stage: &Stage,
        namespace: &str,
        kubeconfig: &Path,
        pod: &str,
        token: Option<&JoinToken>,
    ) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_axle-agent"));
        command.args([
            "run",
            "--kubernetes",
            "--roles",
            "relay",
            "--node",
            "n1",
            "--namespace",
            namespace,
            "--pod",
            pod,
        ]);
        command.args(["--cluster", stage.cluster().as_str(), "--hub", &stage.hub_address(), "--heartbeat", "1s"]);
        command.args(["--http-listen", "off", "--state-dir"]).arg(stage.state(pod));
        command.arg("--kubeconfig").arg(kubeconfig).args(["--relay-listen", self.relays]);
        command.env("AXLE_PROBE_LISTEN", probed(pod).to_string());
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
            probe_listen: None,
            joins: None,
        };
        Settings { roles: vec![Role::Node], kubernetes: Some(kubernetes), ..stage.settings("n1") }
    }
}
