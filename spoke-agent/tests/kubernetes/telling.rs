//! Policies from the API server into a relay's log, and what the relay tells of them there.
use axle_agent::kubernetes::NetworkPolicies;
use axle_core::{log::Change, model::Kind};
use serde_json::{Value, json};

use crate::stage::{Relay, Stage, until, yaml};

fn mesh(name: &str, fields: &str) -> Value {
    yaml(&format!(
        "{{apiVersion: axle.dev/v1alpha1, kind: MeshNetworkPolicy, metadata: {{name: {name}}}, spec: {{{fields}}}}}"
    ))
}

const ONE: &str = "tier: Admin, priority: 1, subject: {namespaces: {}}, ingress: []";
const MISSPELT: &str = "tier: Admin, priority: 2, subject: {pods: {podSelector: {matchLabel: {a: b}}}}, ingress: []";

/// `(status, reason, observed generation)` of a condition.
fn condition(object: &Value, kind: &str) -> (String, String, i64) {
    let none = Vec::new();
    let all = object["status"]["conditions"].as_array().unwrap_or(&none);
    let Some(one) = all.iter().find(|one| one["type"] == kind) else { return <_>::default() };
    let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"), one["observedGeneration"].as_i64().unwrap_or(-1))
}

fn said(status: &str, reason: &str, generation: i64) -> (String, String, i64) {
    (status.into(), reason.into(), generation)
}

#[tokio::test]
async fn a_policy_is_accepted_programmed_or_refused_and_the_version_before_stays() {
    let stage = Stage::new().await;
    let relay = Relay::start(&stage.relay, NetworkPolicies::Enforce);
    let policies = stage.api("axle.dev/v1alpha1", "MeshNetworkPolicy", None);
    let get = async |name: &str| policies.get(name).await.unwrap().data;

    stage.apply(&mesh("p", ONE)).await.unwrap();
    until("the log to have it", async || relay.policies() == ["p 1"]).await;
    until("the first word of it", async || condition(&get("p").await, "Programmed") == said("Unknown", "NoNodes", 1))
        .await;
    relay.node_holds("n1", 0);
    until("one to be behind", async || condition(&get("p").await, "Programmed").1 == "Pending").await;
    relay.node_holds("n1", relay.head());
    until("it to be in the kernel", async || condition(&get("p").await, "Programmed").0 == "True").await;
    assert_eq!(condition(&get("p").await, "Accepted"), said("True", "Accepted", 1));
    assert_eq!(get("p").await["status"]["nodes"], "1/1");

    stage.apply(&mesh("p", MISSPELT)).await.unwrap();
    stage.apply(&mesh("q", ONE)).await.unwrap();
    until("the refusal", async || condition(&get("p").await, "Accepted") == said("False", "UnknownField", 2)).await;
    until("the other one", async || relay.policies() == ["p 1", "q 1"]).await;
    assert_eq!(condition(&get("p").await, "Programmed").1, "OlderVersion");
    let message = get("p").await["status"]["conditions"][0]["message"].to_string();
    assert!(
        message.contains("spec.subject.pods.podSelector") && message.contains("the version before stays"),
        "{message}"
    );

    let events = stage.api("events.k8s.io/v1", "Event", Some("default"));
    let of_p = async || {
        let all = events.list(&kube::api::ListParams::default()).await.unwrap();
        let of_p = |event: &&kube::api::DynamicObject| event.data["regarding"]["name"] == "p";
        all.items.iter().filter(of_p).map(|event| event.data.clone()).collect::<Vec<_>>()
    };
    until("an event", async || of_p().await.len() == 1).await;
    assert_eq!((&of_p().await[0]["reason"], &of_p().await[0]["type"]), (&json!("UnknownField"), &json!("Warning")));
    let version = policies.get("p").await.unwrap().metadata.resource_version;
    relay.node_holds("n1", relay.head());
    until("q to be in the kernel", async || condition(&get("q").await, "Programmed").0 == "True").await;
    assert!(of_p().await.len() == 1 && of_p().await[0]["series"].is_null(), "said once");
    assert_eq!(policies.get("p").await.unwrap().metadata.resource_version, version, "written once");

    relay.node_refuses("n1", "q");
    until("the node's refusal", async || condition(&get("q").await, "Accepted") == said("False", "DoesNotFit", 1))
        .await;
    stage.apply(&mesh("p", &ONE.replace("1,", "3,"))).await.unwrap();
    until("it to be mended", async || relay.policies() == ["p 3", "q 1"]).await;
    policies.delete("p", &Default::default()).await.unwrap();
    until("it to be gone", async || relay.policies() == ["q 1"]).await;
}

#[tokio::test]
async fn kinds_of_kubernetes_are_taken_when_they_are_there_and_left_alone_if_told_so() {
    let stage = Stage::new().await;
    stage.server.namespace("shop").unwrap();
    let relay = Relay::start(&stage.relay, NetworkPolicies::Enforce);
    let beside = Relay::start(&stage.relay, NetworkPolicies::Ignore);
    let of_namespace = yaml(
        "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: np, namespace: shop}, \
         spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}], ports: [{port: 80}]}]}}",
    );
    stage.apply(&of_namespace).await.unwrap();
    until("the log to have it", async || relay.policies() == ["shop/np 0"]).await;
    assert_eq!(relay.trouble(), Vec::<String>::new(), "a kind that is not installed is no trouble");

    stage.install_cluster_network_policy().await;
    let of_cluster = yaml(
        "{apiVersion: policy.networking.k8s.io/v1alpha2, kind: ClusterNetworkPolicy, metadata: {name: cnp}, \
         spec: {tier: Baseline, priority: 5, subject: {namespaces: {}}, \
         egress: [{action: Deny, to: [{networks: [10.0.0.0/8]}], protocols: [{tcp: {destinationPort: {number: 80}}}]}]}}",
    );
    stage.apply(&of_cluster).await.unwrap();
    until("the new kind", async || relay.policies() == ["clusternetworkpolicy.cnp 5", "shop/np 0"]).await;
    until("the same beside a plugin", async || beside.policies() == ["clusternetworkpolicy.cnp 5"]).await;
    let api = stage.api("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy", None);
    until("its condition", async || {
        condition(&api.get("cnp").await.unwrap().data, "axle.dev/Accepted") == said("True", "Accepted", 1)
    })
    .await;
}

#[tokio::test]
async fn what_the_hub_has_is_mirrored_and_edits_are_undone() {
    let stage = Stage::new().await;
    let relay = Relay::start(&stage.relay, NetworkPolicies::Enforce);
    let mirrors = stage.api("axle.dev/v1alpha1", "FleetPolicy", None);
    let priority =
        async || mirrors.get_opt("fleet").await.unwrap().map(|one| one.data["spec"]["policy"]["priority"].clone());
    until("the mirror", async || priority().await == Some(json!(9))).await;
    let clusters = stage.api("axle.dev/v1alpha1", "Cluster", None);
    until("this cluster", async || {
        clusters.get_opt("oslo").await.unwrap().is_some_and(|one| one.data["status"]["here"] == true)
    })
    .await;
    let oslo = clusters.get("oslo").await.unwrap();
    assert_eq!(oslo.data["spec"]["prefixes"], json!(["10.1.0.0/16"]));
    assert_eq!(oslo.metadata.labels.unwrap()["env"], "prod");

    let mut edited = mesh("fleet", "");
    edited["kind"] = "FleetPolicy".into();
    edited["spec"] = json!({"uid": "x", "name": "fleet", "policy": {"priority": 1, "more": true}});
    stage.apply(&edited).await.unwrap();
    until("the edit to be undone", async || {
        let spec = mirrors.get("fleet").await.unwrap().data["spec"].clone();
        spec["policy"]["priority"] == 9 && spec["policy"]["more"].is_null() && spec["uid"] != "x"
    })
    .await;
    edited["metadata"]["name"] = "stray".into();
    stage.apply(&edited).await.unwrap();
    until("the stray one to go", async || mirrors.get_opt("stray").await.unwrap().is_none()).await;
    mirrors.delete("fleet", &Default::default()).await.unwrap();
    until("it to be back", async || priority().await == Some(json!(9))).await;

    let key = relay.object(Kind::Policy);
    relay.hub_says(vec![Change::Delete { key: key.key, uid: key.uid }]);
    until("it to be gone", async || priority().await.is_none()).await;
}

#[tokio::test]
async fn exports_have_their_conditions_and_imports_are_written_where_their_namespace_is() {
    let stage = Stage::new().await;
    ["shop", "empty"].iter().for_each(|name| stage.server.namespace(name).unwrap());
    let relay = Relay::start(&stage.relay, NetworkPolicies::Enforce);
    let export = |name: &str| {
        yaml(&format!(
            "{{apiVersion: multicluster.x-k8s.io/v1beta1, kind: ServiceExport, metadata: {{name: {name}, namespace: shop}}, \
             spec: {{exportedLabels: {{a: b}}}}}}"
        ))
    };
    let external = yaml(
        "{apiVersion: v1, kind: Service, metadata: {name: external, namespace: shop}, \
         spec: {type: ExternalName, externalName: a.example.com}}",
    );
    stage.apply(&external).await.unwrap();
    for name in ["web", "external", "nothing"] {
        stage.apply(&export(name)).await.unwrap();
    }
    let exports = stage.api("multicluster.x-k8s.io/v1beta1", "ServiceExport", Some("shop"));
    let is = async |name: &str, kind: &str, status: &str, reason: &str| {
        condition(&exports.get(name).await.unwrap().data, kind) == said(status, reason, 1)
    };
    until("one without a Service", async || is("nothing", "Valid", "False", "NoService").await).await;
    until("an ExternalName", async || is("external", "Valid", "False", "InvalidServiceType").await).await;
    until("one that is good", async || is("web", "Valid", "True", "Valid").await).await;
    assert!(is("web", "Ready", "False", "Pending").await, "the hub has not answered");

    relay.hub_imports(&["shop", "elsewhere"], &[]);
    until("the hub's answer", async || is("web", "Ready", "True", "Exported").await).await;
    assert!(is("web", "Conflict", "False", "NoConflicts").await);
    let imports = stage.api("multicluster.x-k8s.io/v1beta1", "ServiceImport", Some("shop"));
    let import = async || imports.get_opt("web").await.unwrap().map(|import| import.data);
    until("the import", async || {
        import().await.is_some_and(|import| import["status"]["clusters"] == json!([{"cluster": "oslo"}]))
    })
    .await;
    let spec = import().await.unwrap()["spec"].clone();
    assert_eq!((&spec["type"], &spec["ips"]), (&json!("ClusterSetIP"), &json!(["10.255.0.7"])));
    relay.hub_imports(&["shop"], &["PortConflict"]);
    until("a conflict", async || is("web", "Conflict", "True", "PortConflict").await).await;

    let mut foreign = spec.clone();
    foreign["type"] = "Headless".into();
    let document = |name: &str, spec: &Value| {
        json!({
            "apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceImport",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec,
        })
    };
    stage.apply(&document("web", &foreign)).await.unwrap();
    stage.apply(&document("of-another", &foreign)).await.unwrap();
    until("the edit to be undone", async || import().await.unwrap()["spec"]["type"] == "ClusterSetIP").await;
    relay.hub_imports(&[], &[]);
    until("the import to go", async || import().await.is_none()).await;
    assert!(imports.get_opt("of-another").await.unwrap().is_some(), "another implementation's stays");

    // Also where it has the name of one of the fleet's: two that write one object would never end.
    stage.apply(&document("web", &foreign)).await.unwrap();
    relay.hub_imports(&["shop"], &[]);
    let left = "ServiceImport shop/web is somebody else's and stays as it is";
    until("it is said", async || relay.trouble().iter().any(|sentence| sentence.starts_with(left))).await;
    assert_eq!(import().await.unwrap()["spec"], foreign);
    assert!(import().await.unwrap()["status"]["clusters"].is_null(), "nor is its status written");
    imports.delete("web", &Default::default()).await.unwrap();
    until("ours comes in its place", async || import().await.is_some_and(|import| import["spec"] == spec)).await;
    until("nothing is wrong", async || relay.trouble().is_empty()).await;
}

#[tokio::test]
async fn a_slice_that_somebody_takes_for_theirs_is_made_again_under_another_name() {
    let stage = Stage::new().await;
    stage.server.namespace("shop").unwrap();
    let relay = Relay::start(&stage.relay, NetworkPolicies::Enforce);
    relay.hub_imports(&["shop"], &[]);
    relay.hub_exports("10.2.0.7");
    let slices = stage.api("discovery.k8s.io/v1", "EndpointSlice", Some("shop"));
    let ours = async || {
        let ours = kube::api::ListParams::default().labels("endpointslice.kubernetes.io/managed-by=axle-agent");
        let one = |slice: &kube::api::DynamicObject| {
            let address = slice.data["endpoints"][0]["addresses"][0].as_str().unwrap().to_owned();
            (slice.metadata.name.clone().unwrap(), address)
        };
        slices.list(&ours).await.unwrap().items.iter().map(one).collect::<Vec<_>>()
    };
    until("a slice", async || ours().await.len() == 1).await;
    let [(name, _)] = &ours().await[..] else { unreachable!() };
    let admin = stage.server.admin();
    admin.run(&["label", "endpointslice", name, "-n", "shop", "endpointslice.kubernetes.io/managed-by-"]).unwrap();
    until("another one", async || ours().await.iter().any(|(other, _)| other != name)).await;
    relay.hub_exports("10.2.0.8");
    until("it follows", async || ours().await.iter().map(|(_, address)| address).eq(["10.2.0.8"])).await;
    assert_eq!(slices.get(name).await.unwrap().data["endpoints"][0]["addresses"], json!(["10.2.0.7"]), "left alone");
    assert_eq!(relay.trouble(), Vec::<String>::new());
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let stage = Stage::new().await;
    let nobody = crate::stage::client(stage.server.user("nobody", None).unwrap().kubeconfig()).await;
    let relay = Relay::start(&nobody, NetworkPolicies::Enforce);
    for wanted in [
        "list meshnetworkpolicies.axle.dev",
        "list networkpolicies.networking.k8s.io",
        "list fleetpolicies.axle.dev",
        "list clusters.axle.dev",
    ] {
        until(wanted, async || relay.trouble().iter().any(|sentence| sentence.contains(wanted))).await;
    }
    let reader = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "reader"},
        "rules": [{
            "apiGroups": ["axle.dev", "networking.k8s.io", "policy.networking.k8s.io"],
            "resources": ["*"],
            "verbs": ["get", "list", "watch"],
        }],
    });
    stage.apply(&reader).await.unwrap();
    let kubectl = stage.server.admin();
    kubectl.run(&["create", "clusterrolebinding", "reader", "--clusterrole=reader", "--user=nobody"]).unwrap();
    stage.apply(&mesh("p", ONE)).await.unwrap();
    until("it may read", async || relay.policies() == ["p 1"]).await;
    for wanted in ["cannot patch resource \"fleetpolicies\"", "cannot patch resource \"meshnetworkpolicies/status\""] {
        until(wanted, async || relay.trouble().iter().any(|sentence| sentence.contains(wanted))).await;
    }
}
