//! What pods reach by the names of the fleet's services, through their cluster's own DNS.
use anyhow::{bail, ensure};
use axle_tests::{
    eventually,
    fleet::{PATIENCE, Settings, scenario},
};
use serde_json::{Value, json};

use super::{PLAIN, Pair, Site, Specification, check, clusters};

const SPECIFICATIONS: [Specification; 11] = [
    ("R1 a service that is not exported is reached from nowhere", r1),
    ("O3 an exported service is reached by its name", o3),
    ("O4 of two clusters that have a service the one that exports it answers", o4),
    ("O5 a port with two numbers leads to the cluster whose number it is", o5),
    ("O6 different ports lead to their own cluster each", o6),
    ("O7 A and AAAA are the import's addresses", o7),
    ("O8 SRV of a service with an address", o8),
    ("O9 cluster.local stays the cluster's own", o9),
    ("O10 A and AAAA of a headless service are all its ready backends", o10),
    ("O11 a backend has its own name below its cluster's", o11),
    ("O12 SRV of a headless service", o12),
];

const FURTHER: [Specification; 1] = [("Cilium's annotations: global, shared, affinity", annotations)];

#[test]
#[ignore = "'make test-kubernetes' runs it"]
fn names_of_the_fleet_lead_to_backends_of_both_clusters() -> anyhow::Result<()> {
    scenario(Settings::default(), |fleet| {
        let (clusters, pair) = clusters(fleet)?;
        for site in pair.both() {
            site.kubectl.apply(&PODS.replace("CLUSTER", site.name))?;
            forward(site)?;
        }
        for site in pair.both() {
            for what in ["deployment/web", "statefulset/db"] {
                site.in_namespace(&["rollout", "status", what, "--timeout=60s"])?;
            }
            site.in_namespace(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"])?;
        }
        check(&pair, &[&SPECIFICATIONS[..], &FURTHER].concat())?;
        fail_over(&pair)?;
        // Who may ask for names at all may ask for these, also where DNS itself may reach hardly anything.
        for site in pair.both() {
            let api = site.kubectl.run(&[
                "get",
                "endpoints",
                "kubernetes",
                "--output=jsonpath={.subsets[0].addresses[0].ip}",
            ])?;
            site.kubectl.apply(&DENY.replace("API", &api))?;
        }
        // Ended by `timeout`: nothing came back from an address that the name has all the same.
        let cut = "timeout 2 wget -qO- http://web.shop.svc.cluster.local/";
        pair.everywhere("the deny", |site| match site.client(cut) {
            Err(why) if why.to_string().contains("exit code 143") => Ok(()),
            got => bail!("wanted silence: {got:?}"),
        })?;
        fleet.hub.kill()?;
        for site in pair.both() {
            site.kubectl.run(&[
                "delete",
                "pods",
                "--namespace=axle-system",
                "--selector=app.kubernetes.io/name=axle-agent",
                "--now",
            ])?;
        }
        pair.everywhere("names under default deny, without a hub", |site| addresses_are(site, "f", &vips(site, "f")?))?;
        drop(clusters);
        Ok(())
    })
}

/// The lines that the README has, in the cluster's DNS.
fn forward(site: &Site) -> anyhow::Result<()> {
    let way = ["get", "service", "axle-dns", "--namespace=axle-system", "--output=jsonpath={.spec.clusterIP}"];
    let address = site.kubectl.run(&way)?;
    let dns = ["--namespace", "kube-system"];
    let mut map = site.kubectl.json(&[&dns[..], &["get", "configmap", "coredns"]].concat())?;
    let corefile = map["data"]["Corefile"].as_str().unwrap_or_default();
    map["data"]["Corefile"] =
        json!(format!("{corefile}\nclusterset.local:53 {{\n  errors\n  forward . {address}\n}}\n"));
    site.kubectl.apply(&map.to_string())?;
    site.kubectl.run(&[&dns[..], &["rollout", "restart", "deployment/coredns"]].concat())?;
    site.kubectl.run(&[&dns[..], &["rollout", "status", "deployment/coredns", "--timeout=60s"]].concat()).map(drop)
}

impl Site {
    /// What a shell prints in the client's pod.
    fn client(&self, script: &str) -> anyhow::Result<String> {
        self.in_namespace(&["exec", "client", "--", "sh", "-c", script])
    }
}

fn name(service: &str) -> String {
    format!("{service}.shop.svc.clusterset.local")
}

/// An import's addresses.
fn vips(site: &Site, service: &str) -> anyhow::Result<Vec<String>> {
    let import = site.import(service)?;
    let ips = import["spec"]["ips"].as_array().into_iter().flatten();
    let ips: Vec<String> = ips.filter_map(|ip| ip.as_str().map(str::to_owned)).collect();
    ensure!(ips.len() == 2, "wanted an address of each family: {import}");
    Ok(ips)
}

/// From both clusters, by name and by each address, every one of ten calls is answered with this page.
fn answers(pair: &Pair, service: &str, port: u16, page: &str) -> anyhow::Result<()> {
    pair.everywhere(&format!("{service}:{port} to answer {page}"), |site| {
        let mut hosts = vec![name(service)];
        for ip in vips(site, service)? {
            hosts.push(if ip.contains(':') { format!("[{ip}]") } else { ip });
        }
        for host in hosts {
            let got =
                site.client(&format!("for i in $(seq 10); do timeout 3 wget -qO- http://{host}:{port}/; done"))?;
            let pages: Vec<_> = got.lines().collect();
            ensure!(pages == [page; 10], "{host}:{port} answered {pages:?}");
        }
        Ok(())
    })
}

/// The addresses that a name below the service's has.
fn addresses_are(site: &Site, service: &str, wanted: &[String]) -> anyhow::Result<()> {
    let mut all = Vec::new();
    for family in ["a", "aaaa"] {
        let said = site.client(&format!("nslookup -type={family} {}.", name(service)))?;
        all.extend(said.lines().filter_map(|line| line.strip_prefix("Address: ").map(str::to_owned)));
    }
    let mut wanted = wanted.to_vec();
    all.sort();
    wanted.sort();
    ensure!(all == wanted, "wanted {wanted:?}, got {all:?}");
    Ok(())
}

fn has_no_name(site: &Site, service: &str) -> anyhow::Result<()> {
    let said = site.client(&format!("nslookup -type=a {}. 2>&1 || true", name(service)))?;
    ensure!(said.contains("NXDOMAIN"), "{said}");
    Ok(())
}

/// Ports and names, as the service's own name has them.
fn srv(site: &Site, service: &str) -> anyhow::Result<Vec<(String, String)>> {
    let said = site.client(&format!("nslookup -type=srv {}.", name(service)))?;
    let records = said.lines().filter_map(|line| line.split_once("service = "));
    let mut records: Vec<_> = records
        .filter_map(|(_, record)| {
            let mut words = record.split_whitespace().skip(2);
            Some((words.next()?.to_owned(), words.next()?.trim_end_matches('.').to_owned()))
        })
        .collect();
    records.sort();
    Ok(records)
}

/// The addresses of a cluster's pods, by pod.
fn pods(site: &Site, app: &str) -> anyhow::Result<Vec<(String, Vec<String>)>> {
    let found = site.kubectl.json(&["--namespace=shop", "get", "pods", &format!("--selector=app={app}")])?;
    let one = |pod: &Value| {
        let ips = pod["status"]["podIPs"].as_array()?.iter().filter_map(|ip| ip["ip"].as_str().map(str::to_owned));
        Some((pod["metadata"]["name"].as_str()?.to_owned(), ips.collect()))
    };
    Ok(found["items"].as_array().into_iter().flatten().filter_map(one).collect())
}

fn r1(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.serve("r1", &[])?;
    for site in pair.both() {
        let got =
            site.client(&format!("for i in $(seq 20); do timeout 1 wget -qO- http://{}:42/; done; true", name("r1")))?;
        ensure!(got.is_empty(), "{got}");
        has_no_name(site, "r1")?;
    }
    Ok(())
}

fn o3(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("o3", PLAIN)?;
    answers(pair, "o3", 42, "oslo")
}

fn o4(pair: &Pair) -> anyhow::Result<()> {
    pair.lima.serve("o4", &[])?;
    pair.oslo.offer("o4", PLAIN)?;
    answers(pair, "o4", 42, "oslo")
}

fn with_port(name: &str, number: u16) -> [(&'static str, Value); 1] {
    [("ports", json!([{"name": name, "port": number, "targetPort": 8080}]))]
}

fn o5(pair: &Pair) -> anyhow::Result<()> {
    pair.conflict("o5", PLAIN, (&with_port("tcp", 4242), Value::Null))?;
    pair.conflicts("o5", "PortConflict")?;
    answers(pair, "o5", 42, "oslo")
}

fn o6(pair: &Pair) -> anyhow::Result<()> {
    pair.conflict("o6", PLAIN, (&with_port("tcp2", 4242), Value::Null))?;
    answers(pair, "o6", 42, "oslo")?;
    answers(pair, "o6", 4242, "lima")
}

fn o7(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("o7", PLAIN)?;
    pair.everywhere("the import's addresses", |site| addresses_are(site, "o7", &vips(site, "o7")?))
}

fn o8(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("o8", PLAIN)?;
    let wanted = [("42".to_owned(), name("o8"))];
    for of in ["o8", "_tcp._tcp.o8", "_udp._udp.o8"] {
        pair.everywhere(of, |site| {
            let got = srv(site, of)?;
            ensure!(got == wanted, "{got:?}");
            Ok(())
        })?;
    }
    Ok(())
}

fn o9(pair: &Pair) -> anyhow::Result<()> {
    pair.conflict("o9", PLAIN, PLAIN)?;
    pair.everywhere("an import", |site| site.import("o9").map(drop))?;
    for site in pair.both() {
        let service = site.get("service", "o9")?["spec"]["clusterIP"].clone();
        let said = site.client("nslookup -type=a o9.shop.svc.cluster.local.")?;
        let addresses: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("Address: ")).collect();
        ensure!(service == json!(addresses.first()) && addresses.len() == 1, "{service} {said}");
        let pages =
            site.client("for i in $(seq 10); do timeout 3 wget -qO- http://o9.shop.svc.cluster.local:42/; done")?;
        ensure!(pages.lines().collect::<Vec<_>>() == [site.name; 10], "{pages}");
    }
    Ok(())
}

const HEADLESS: [(&str, Value); 3] = [
    ("sessionAffinity", Value::Null),
    ("sessionAffinityConfig", Value::Null),
    ("publishNotReadyAddresses", Value::Null),
];

/// A headless service of these pods.
fn headless(app: &str) -> Vec<(&'static str, Value)> {
    let of = [("clusterIP", json!("None")), ("selector", json!({"app": app}))];
    [&HEADLESS[..], &of].concat()
}

fn o10(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("o10", (&headless("web"), Value::Null))?;
    let wanted: Vec<String> = pods(&pair.oslo, "web")?.into_iter().flat_map(|(_, addresses)| addresses).collect();
    ensure!(wanted.len() == 4, "two pods with two addresses each: {wanted:?}");
    pair.everywhere("every backend", |site| addresses_are(site, "o10", &wanted))
}

fn o11(pair: &Pair) -> anyhow::Result<()> {
    let db = headless("db");
    pair.conflict("o11", (&db, Value::Null), (&db, Value::Null))?;
    for site in pair.both() {
        for (pod, addresses) in pods(site, "db")? {
            let its = format!("{pod}.{}.o11", site.name);
            pair.everywhere(&its, |asking| addresses_are(asking, &its, &addresses))?;
        }
    }
    pair.everywhere("no name of a cluster", |site| has_no_name(site, "oslo.o11"))
}

fn o12(pair: &Pair) -> anyhow::Result<()> {
    pair.oslo.offer("o12", (&headless("web"), Value::Null))?;
    let addresses = pods(&pair.oslo, "web")?.into_iter().flat_map(|(_, addresses)| addresses);
    let record =
        |address: String| ("8080".to_owned(), format!("{}.oslo.{}", address.replace(['.', ':'], "-"), name("o12")));
    let mut wanted: Vec<_> = addresses.map(record).collect();
    wanted.sort();
    pair.everywhere("every backend", |site| {
        let got = srv(site, "o12")?;
        ensure!(got == wanted, "wanted {wanted:?}, got {got:?}");
        Ok(())
    })
}

fn annotations(pair: &Pair) -> anyhow::Result<()> {
    for (service, oslo, lima) in [
        ("c-any", r#"{service.cilium.io/global: "true"}"#, r#"{service.cilium.io/global: "true"}"#),
        (
            "c-near",
            r#"{service.cilium.io/global: "true", service.cilium.io/affinity: local}"#,
            r#"{service.cilium.io/global: "true"}"#,
        ),
        (
            "c-far",
            r#"{service.cilium.io/global: "true", service.cilium.io/affinity: remote}"#,
            r#"{service.cilium.io/global: "true"}"#,
        ),
        (
            "c-shy",
            r#"{service.cilium.io/global: "true"}"#,
            r#"{service.cilium.io/global: "true", service.cilium.io/shared: "false"}"#,
        ),
    ] {
        for (site, annotations) in [(&pair.oslo, oslo), (&pair.lima, lima)] {
            site.kubectl.apply(&ANNOTATED.replace("NAME", service).replace("ANNOTATIONS", annotations))?;
        }
    }
    for (site, service, wanted) in [
        (&pair.oslo, "c-any", &["lima", "oslo"][..]),
        (&pair.lima, "c-any", &["lima", "oslo"]),
        (&pair.oslo, "c-near", &["oslo"]),
        (&pair.oslo, "c-far", &["lima"]),
        (&pair.oslo, "c-shy", &["oslo"]),
        (&pair.lima, "c-shy", &["lima", "oslo"]),
    ] {
        eventually(&format!("{service} in {}", site.name), PATIENCE, || {
            let pages = site.client(&format!("for i in $(seq 30); do timeout 3 wget -qO- http://{service}/; done"))?;
            let mut different: Vec<&str> = pages.lines().collect();
            ensure!(different.len() == 30, "{pages}");
            different.sort_unstable();
            different.dedup();
            ensure!(different == wanted, "wanted {wanted:?}, got {pages}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Each cluster's clients stay at home until nobody is there.
fn fail_over(pair: &Pair) -> anyhow::Result<()> {
    for site in pair.both() {
        site.offer("f", PLAIN)?;
    }
    let scaled =
        |replicas: &str| pair.oslo.in_namespace(&["scale", "deployment/web", &format!("--replicas={replicas}")]);
    let at_home = || {
        pair.everywhere("its own backends", |site| {
            let pages =
                site.client(&format!("for i in $(seq 10); do timeout 3 wget -qO- http://{}:42/; done", name("f")))?;
            ensure!(pages.lines().collect::<Vec<_>>() == [site.name; 10], "{pages}");
            Ok(())
        })
    };
    at_home()?;
    scaled("0")?;
    answers(pair, "f", 42, "lima")?;
    scaled("2")?;
    at_home()
}

const PODS: &str = include_str!("pods.yaml");

const ANNOTATED: &str = "
apiVersion: v1
kind: Service
metadata: {name: NAME, namespace: shop, annotations: ANNOTATIONS}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
";

const DENY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: only-names, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  egress:
  - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]
    ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: dns, namespace: kube-system}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{namespaceSelector: {}}]}]
  egress: [{to: [{ipBlock: {cidr: API/32}}]}]
";
