//! What the API's objects say.
use std::thread;

use anyhow::{Context as _, ensure};
use axle_tests::{
    eventually,
    fleet::{PATIENCE, Settings, scenario},
};
use serde_json::{Value, json};

use super::{NAMESPACE, Offer, PLAIN, Pair, Site, Specification, YOUNGER, check, clusters};
use crate::pods::sleeper;

const SPECIFICATIONS: [Specification; 16] = [
    ("R2 an import is there as long as one of two clusters exports", r2),
    ("R3 a service with an address becomes a ClusterSetIP everywhere, and its export is valid", r3),
    ("R4 sessionAffinity and its configuration are the service's", r4),
    ("R5 internalTrafficPolicy is the service's", r5),
    ("R6 trafficDistribution is the service's", r6),
    ("R7 an address of each family, in the service's order", r7),
    ("R8 ports are the service's", r8),
    ("R9 different ports become their union, and a conflict", r9),
    ("R10 of two numbers of one port the oldest export's counts, and there is a conflict", r10),
    ("R11 a headless service becomes Headless everywhere", r11),
    ("R12 which never gets an address", r12),
    ("R13 an ExternalName is not valid, and never imported", r13),
    ("R14 with an address and headless: the oldest export's type, and a conflict", r14),
    ("O1 only labels and annotations that are exported are imported", o1),
    ("O2 of different ones the oldest export's count, and there is a conflict", o2),
    ("O13 slices have their labels, and go with the export", o13),
];

/// What the suite does not look at.
const FURTHER: [Specification; 5] = [
    ("each reason of a conflict", reasons),
    ("a conflict ends when the exports agree", agreement),
    ("an import is only where its namespace is", namespaces),
    ("a slice that is right is not written again, and others' slices are left alone", slices),
    ("an export without a service is not valid", no_service),
];

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn imports_are_what_the_specification_wants() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let (clusters, pair) = clusters(fleet)?;
        for site in pair.both() {
            site.kubectl.feed(&["apply", "--namespace", NAMESPACE, "-f", "-"], &sleeper("web"))?;
        }
        check(&pair, &[&SPECIFICATIONS[..], &FURTHER].concat())?;
        // A cluster that is gone exports nothing; one that is only away, or a hub that is, takes nothing with it.
        pair.lima.offer("lost", PLAIN)?;
        eventually("lima's backends in oslo", PATIENCE, || slice_of(&pair.oslo, "lost", "lima"))?;
        fleet.hub.kill()?;
        thread::sleep(YOUNGER);
        slice_of(&pair.oslo, "lost", "lima")?;
        fleet.hub.start()?;
        fleet.hub.axle(&["cluster", "remove", "lima"])?;
        eventually("the removed cluster's imports to go", PATIENCE, || pair.oslo.has_no_import("lost"))?;
        eventually("its slices to go", PATIENCE, || none(&pair.oslo, "lost", "lima"))?;
        drop(clusters);
        Ok(())
    })
}

fn r2(pair: &Pair) -> anyhow::Result<()> {
    pair.conflict("r2", PLAIN, PLAIN)?;
    pair.everywhere("both exporters", |site| {
        let clusters = &site.import("r2")?["status"]["clusters"];
        ensure!(*clusters == json!([{"cluster": "oslo"}, {"cluster": "lima"}]), "{clusters}");
        Ok(())
    })?;
    pair.oslo.withdraw("r2")?;
    pair.everywhere("one exporter", |site| {
        let clusters = &site.import("r2")?["status"]["clusters"];
        ensure!(*clusters == json!([{"cluster": "lima"}]), "{clusters}");
        Ok(())
    })?;
    pair.lima.withdraw("r2")?;
    pair.everywhere("no import", |site| site.has_no_import("r2"))
}

fn r3(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("r3", PLAIN)?;
    pair.everywhere("ClusterSetIP", |site| site.imports("r3", "type", &json!("ClusterSetIP")))?;
    eventually("Valid", PATIENCE, || pair.oslo.says("r3", "Valid", "True", "Valid"))?;
    eventually("Ready", PATIENCE, || pair.oslo.says("r3", "Ready", "True", "Exported"))?;
    pair.oslo.withdraw("r3")?;
    pair.everywhere("no import", |site| site.has_no_import("r3"))
}

fn r4(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("r4", PLAIN)?;
    pair.everywhere("affinity", |site| {
        site.imports("r4", "sessionAffinity", &json!("ClientIP"))?;
        site.imports("r4", "sessionAffinityConfig", &json!({"clientIP": {"timeoutSeconds": 10}}))
    })
}

fn r5(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("r5", (&[("internalTrafficPolicy", json!("Local"))], Value::Null))?;
    pair.everywhere("the policy", |site| site.imports("r5", "internalTrafficPolicy", &json!("Local")))
}

fn r6(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("r6", (&[("trafficDistribution", json!("PreferClose"))], Value::Null))?;
    pair.everywhere("the preference", |site| site.imports("r6", "trafficDistribution", &json!("PreferClose")))
}

fn r7(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("r7", (&[("ipFamilies", json!(["IPv6", "IPv4"]))], Value::Null))?;
    pair.everywhere("two addresses", |site| {
        let import = site.import("r7")?;
        let [v6, v4] = [0, 1].map(|at| import["spec"]["ips"][at].as_str().unwrap_or_default().to_owned());
        ensure!(import["spec"]["ipFamilies"] == json!(["IPv6", "IPv4"]), "{import}");
        v6.parse::<std::net::Ipv6Addr>().with_context(|| format!("{v6:?}"))?;
        v4.parse::<std::net::Ipv4Addr>().with_context(|| format!("{v4:?}")).map(drop)
    })
}

fn r8(pair: &Pair) -> anyhow::Result<()> {
    let ports = json!([
        {"name": "tcp", "port": 42, "targetPort": 8080, "appProtocol": "http"},
        {"name": "udp", "port": 42, "protocol": "UDP"},
    ]);
    pair.oslo.offer("r8", (&[("ports", ports)], Value::Null))?;
    let wanted = json!([
        {"name": "tcp", "port": 42, "protocol": "TCP", "appProtocol": "http"},
        {"name": "udp", "port": 42, "protocol": "UDP"},
    ]);
    pair.everywhere("ports", |site| site.imports("r8", "ports", &wanted))
}

fn port(name: &str, number: u16) -> Value {
    json!({"name": name, "port": number, "targetPort": 8080, "protocol": "TCP"})
}

/// As an import has it.
fn imported(name: &str, number: u16) -> Value {
    json!({"name": name, "port": number, "protocol": "TCP"})
}

fn r9(pair: &Pair) -> anyhow::Result<()> {
    let ports = |ports: Value| [("ports", ports)];
    let (older, younger) = (ports(json!([port("a", 42)])), ports(json!([port("b", 43)])));
    pair.conflict("r9", (&older, Value::Null), (&younger, Value::Null))?;
    let union = json!([imported("a", 42), imported("b", 43)]);
    pair.everywhere("the union", |site| site.imports("r9", "ports", &union))?;
    pair.conflicts("r9", "PortConflict")
}

fn r10(pair: &Pair) -> anyhow::Result<()> {
    let ports = |number| [("ports", json!([port("a", number)]))];
    pair.conflict("r10", (&ports(42), Value::Null), (&ports(43), Value::Null))?;
    pair.conflicts("r10", "PortConflict")?;
    pair.everywhere("the oldest's", |site| site.imports("r10", "ports", &json!([imported("a", 42)])))
}

fn headless() -> [(&'static str, Value); 3] {
    [("clusterIP", json!("None")), ("sessionAffinity", json!("None")), ("sessionAffinityConfig", Value::Null)]
}

fn r11(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("r11", (&headless(), Value::Null))?;
    pair.everywhere("Headless", |site| {
        site.imports("r11", "ipFamilies", &json!(["IPv4", "IPv6"]))?;
        site.imports("r11", "type", &json!("Headless"))
    })?;
    pair.oslo.withdraw("r11")?;
    pair.everywhere("no import", |site| site.has_no_import("r11"))
}

fn r12(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("r12", (&headless(), Value::Null))?;
    pair.everywhere("an import", |site| site.import("r12").map(drop))?;
    for _ in 0..5 {
        thread::sleep(YOUNGER);
        pair.lima.imports("r12", "ips", &Value::Null)?;
    }
    Ok(())
}

fn r13(pair: &Pair) -> anyhow::Result<()> {
    let away = [("type", json!("ExternalName")), ("externalName", json!("example.com"))];
    let cleared =
        ["selector", "ipFamilyPolicy", "sessionAffinity", "sessionAffinityConfig"].map(|name| (name, Value::Null));
    pair.oslo.offer("r13", (&[&away[..], &cleared].concat(), Value::Null))?;
    eventually("not Valid", PATIENCE, || pair.oslo.says("r13", "Valid", "False", "InvalidServiceType"))?;
    pair.everywhere("no import", |site| site.has_no_import("r13"))
}

fn r14(pair: &Pair) -> anyhow::Result<()> {
    pair.conflict("r14", PLAIN, (&headless(), Value::Null))?;
    eventually("a conflict", PATIENCE, || type_conflict(&pair.oslo))?;
    eventually("a conflict", PATIENCE, || type_conflict(&pair.lima))?;
    pair.everywhere("the oldest's", |site| site.imports("r14", "type", &json!("ClusterSetIP")))
}

/// There may be others: a headless service has no session affinity.
fn type_conflict(site: &Site) -> anyhow::Result<()> {
    let export = site.get("serviceexports.multicluster.x-k8s.io", "r14")?["status"].to_string();
    ensure!(export.contains("TypeConflict"), "{export}");
    Ok(())
}

fn exported(label: &str) -> Value {
    json!({"exportedLabels": {label: "true"}, "exportedAnnotations": {label: "true"}})
}

/// The exported ones of `wanted`, and nothing of the service's or the export's own.
fn carries(site: &Site, name: &str, wanted: &str, unwanted: &str) -> anyhow::Result<()> {
    let metadata = site.import(name)?["metadata"].clone();
    for map in ["labels", "annotations"] {
        let map = &metadata[map];
        ensure!(map[wanted] == "true" && map[unwanted].is_null() && map["own"].is_null(), "{metadata}");
    }
    Ok(())
}

fn o1(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("o1", (&[], exported("first")))?;
    pair.everywhere("what is exported", |site| carries(site, "o1", "first", "second"))
}

fn o2(pair: &Pair) -> anyhow::Result<()> {
    pair.conflict("o2", (&[], exported("first")), (&[], exported("second")))?;
    pair.conflicts("o2", "AnnotationsConflict,LabelsConflict")?;
    pair.everywhere("the oldest's", |site| carries(site, "o2", "first", "second"))
}

fn o13(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("o13", PLAIN)?;
    pair.everywhere("slices of both families", |site| {
        let mut families: Vec<_> =
            site.slices("o13", "oslo")?.iter().map(|slice| slice["addressType"].clone()).collect();
        families.sort_by_key(Value::to_string);
        ensure!(families == [json!("IPv4"), json!("IPv6")], "{families:?}");
        ensure!(site.import("o13")?["status"]["endpointSliceObjects"] == "Present");
        slice_of(site, "o13", "oslo")
    })?;
    let own = pair.oslo.get("service", "o13")?;
    ensure!(own["spec"]["clusterIP"] != "None", "{own}");
    pair.oslo.withdraw("o13")?;
    pair.everywhere("no slices", |site| none(site, "o13", "oslo"))
}

/// Slices that are as they should be, with the cluster's two backends.
fn slice_of(site: &Site, name: &str, cluster: &str) -> anyhow::Result<()> {
    let slices = site.slices(name, cluster)?;
    ensure!(!slices.is_empty(), "no slices of {name} from {cluster}");
    for slice in slices {
        let managed_by = &slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"];
        ensure!(
            managed_by == "axle-agent" && slice["metadata"]["ownerReferences"][0]["kind"] == "ServiceImport",
            "{slice}"
        );
        let endpoints = slice["endpoints"].as_array().context("no endpoints")?;
        ensure!(endpoints.len() == 1 && endpoints[0]["conditions"]["ready"] == true, "{slice}");
        ensure!(
            slice["ports"].as_array().is_some_and(|ports| ports.iter().all(|port| port["port"] == 8080)),
            "{slice}"
        );
    }
    Ok(())
}

fn none(site: &Site, name: &str, cluster: &str) -> anyhow::Result<()> {
    let slices = site.slices(name, cluster)?;
    ensure!(slices.is_empty(), "{slices:?}");
    Ok(())
}

fn reasons(pair: &Pair) -> anyhow::Result<()> {
    let one = |field, value: Value| vec![(field, value)];
    let timeout = json!({"clientIP": {"timeoutSeconds": 20}});
    let none = [("sessionAffinity", json!("None")), ("sessionAffinityConfig", Value::Null)];
    let families = [("ipFamilies", json!(["IPv4"])), ("ipFamilyPolicy", json!("SingleStack"))];
    let cases = [
        ("b1", one("sessionAffinityConfig", timeout), "SessionAffinityConfigConflict"),
        ("b2", none.to_vec(), "SessionAffinityConflict"),
        ("b3", one("internalTrafficPolicy", json!("Local")), "InternalTrafficPolicyConflict"),
        ("b4", one("trafficDistribution", json!("PreferClose")), "TrafficDistributionConflict"),
        ("b5", families.to_vec(), "IPFamilyConflict"),
        ("b6", [headless().to_vec(), one("trafficDistribution", json!("PreferClose"))].concat(), ""),
    ];
    for (name, _, _) in &cases {
        pair.oslo.offer(name, PLAIN)?;
    }
    thread::sleep(YOUNGER);
    for (name, different, _) in &cases {
        pair.lima.offer(name, (different, Value::Null))?;
    }
    for (name, _, reason) in &cases[..5] {
        pair.conflicts(name, reason).with_context(|| format!("{name}, {reason}"))?;
    }
    // Several at once, in the order of the alphabet.
    pair.conflicts("b6", "SessionAffinityConflict,TrafficDistributionConflict,TypeConflict")
}

fn agreement(pair: &Pair) -> anyhow::Result<()> {
    let local: Offer<'_> = (&[("internalTrafficPolicy", json!("Local"))], Value::Null);
    pair.conflict("agreement", PLAIN, local)?;
    pair.conflicts("agreement", "InternalTrafficPolicyConflict")?;
    let before = pair.lima.import("agreement")?["spec"].clone();
    pair.lima.serve("agreement", &[("internalTrafficPolicy", json!("Cluster"))])?;
    pair.everywhere("agreement", |site| site.says("agreement", "Conflict", "False", "NoConflicts"))?;
    ensure!(pair.lima.import("agreement")?["spec"] == before, "the import stays as it was");
    Ok(())
}

fn namespaces(pair: &Pair) -> anyhow::Result<()> {
    let in_oslo = |arguments: &[&str]| pair.oslo.kubectl.run(&[arguments, &["--namespace=far"]].concat());
    pair.oslo.kubectl.run(&["create", "namespace", "far"])?;
    in_oslo(&["create", "service", "clusterip", "far", "--tcp=80"])?;
    pair.oslo.kubectl.apply(
        "{apiVersion: multicluster.x-k8s.io/v1beta1, kind: ServiceExport, metadata: {name: far, namespace: far}}",
    )?;
    eventually("the import where it is exported", PATIENCE, || in_oslo(&["get", "svcim", "far"]))?;
    let in_lima = || pair.lima.kubectl.run(&["get", "svcim", "far", "--namespace=far"]);
    thread::sleep(YOUNGER);
    ensure!(in_lima().is_err(), "its namespace is not there");
    pair.lima.kubectl.run(&["create", "namespace", "far"])?;
    eventually("the import where the namespace has come", PATIENCE, in_lima).map(drop)
}

fn slices(pair: &Pair) -> anyhow::Result<()> {
    let foreign = FOREIGN.replace("OURS", "slices");
    pair.lima.kubectl.apply(&foreign)?;
    pair.oslo.offer("slices", PLAIN)?;
    eventually("slices", PATIENCE, || slice_of(&pair.lima, "slices", "oslo"))?;
    let versions = || -> anyhow::Result<Vec<Value>> {
        let slices = pair.lima.slices("slices", "oslo")?;
        Ok(slices.iter().map(|slice| slice["metadata"]["resourceVersion"].clone()).collect())
    };
    let before = versions()?;
    pair.lima.offer("slices", PLAIN)?;
    eventually("the other cluster's", PATIENCE, || slice_of(&pair.oslo, "slices", "lima"))?;
    eventually("its own", PATIENCE, || slice_of(&pair.lima, "slices", "lima"))?;
    ensure!(versions()? == before, "written again");
    pair.oslo.withdraw("slices")?;
    pair.lima.withdraw("slices")?;
    pair.everywhere("no slices", |site| none(site, "slices", "oslo"))?;
    pair.lima.get("endpointslice", "foreign").map(drop)
}

fn no_service(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("no-service", PLAIN)?;
    pair.everywhere("the import", |site| site.import("no-service").map(drop))?;
    pair.oslo.in_namespace(&["delete", "service", "no-service"])?;
    eventually("not Valid", PATIENCE, || pair.oslo.says("no-service", "Valid", "False", "NoService"))?;
    pair.everywhere("no import", |site| site.has_no_import("no-service"))
}

const FOREIGN: &str = r#"
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: foreign
  namespace: shop
  labels:
    multicluster.kubernetes.io/service-name: OURS
    multicluster.kubernetes.io/source-cluster: somewhere
    endpointslice.kubernetes.io/managed-by: somebody
addressType: IPv4
endpoints: [{addresses: [192.0.2.1]}]
ports: [{name: tcp, port: 1}]
"#;
