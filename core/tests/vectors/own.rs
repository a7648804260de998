//! What the conformance suite cannot see.
use axle_core::{
    identity::Identity,
    model::Scope,
    policy::{Flow, Target, Verdict, evaluate, tables::PortTable},
};

use super::bench::{Bench, ROOMY, labels, name};

const WEB: (PortTable, u16) = (PortTable::Tcp, 80);
const DNS: (PortTable, u16) = (PortTable::Udp, 53);
const ECHO: (PortTable, u16) = (PortTable::Icmp, 8 << 8);

const A: &str = "10.1.0.1";
const B: &str = "10.1.0.2";
const OTHER: &str = "10.1.0.3";
/// On the host's network: its address is its node's.
const HOST: &str = "172.18.0.1";
const FAR: &str = "10.2.0.1";
const OUTSIDE: &str = "192.0.2.1";

/// Two clusters; in `east` `a` and `b` of namespace `shop` (team red), `other` of `back` (team blue) and one on the host's
/// network; in `west` a namesake of `a`.
fn bench() -> Bench {
    let mut bench = Bench::new(ROOMY);
    for (of, n) in [("east", 1), ("west", 2)] {
        bench.cluster(of, &[("env", of)], &[&format!("10.{n}.0.0/16"), &format!("fd00:{n}::/32")]);
        bench.node(of, "n1", &[("os", "linux")], &format!("172.18.0.{}", n + 8));
        bench.namespace(of, "shop", &[("team", "red")]);
        bench.namespace(of, "back", &[("team", "blue")]);
    }
    bench.node("east", "n2", &[("os", "linux")], HOST);
    bench.workload("east/shop/a", &[("app", "a"), ("tier", "front")], A);
    bench.workload("east/shop/b", &[("app", "b")], B);
    bench.workload("east/back/other", &[("app", "other")], OTHER);
    bench.workload("east/shop/host", &[("app", "a")], HOST);
    bench.workload("west/shop/a", &[("app", "a")], FAR);
    bench
}

/// A ClusterNetworkPolicy about every workload.
fn cluster_policy(name: &str, tier: &str, priority: u16, rules: &str) -> String {
    let head = "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\n";
    format!(
        "{head}metadata: {{name: {name}}}\nspec: {{tier: {tier}, priority: {priority}, subject: {{namespaces: {{}}}}, {rules}}}\n---\n"
    )
}

fn network_policy(name: &str, spec: &str) -> String {
    let head = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n";
    format!("{head}metadata: {{name: {name}, namespace: shop}}\nspec: {spec}\n---\n")
}

fn mesh_policy(name: &str, spec: &str) -> String {
    let head = "apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\n";
    format!("{head}metadata: {{name: {name}}}\nspec: {{tier: Admin, priority: 5, {spec}}}\n---\n")
}

fn egress(action: &str, peer: &str) -> String {
    format!("egress: [{{action: {action}, to: [{peer}]}}]")
}

/// With these policies of cluster `east`, `a` reaches `b` on port 80 or does not.
#[track_caller]
fn decides(policies: &[String], accepted: bool) {
    let mut bench = bench();
    let east = bench.scope("east");
    policies.iter().for_each(|policy| bench.apply(east, policy));
    bench.expect(A, B, WEB, accepted);
}

#[test]
fn several_baseline_policies_and_equal_priorities() {
    let baseline =
        |of: &str, priority, action| cluster_policy(of, "Baseline", priority, &egress(action, "{namespaces: {}}"));
    decides(&[baseline("x", 20, "Deny"), baseline("y", 10, "Accept")], true);
    decides(&[baseline("x", 10, "Deny"), baseline("y", 20, "Accept")], false);
    decides(&[baseline("x", 10, "Pass"), baseline("y", 20, "Deny")], true);
    for tier in ["Admin", "Baseline"] {
        let of = |of: &str, action| cluster_policy(of, tier, 10, &egress(action, "{namespaces: {}}"));
        decides(&[of("a", "Accept"), of("b", "Pass"), of("c", "Deny")], false);
        decides(
            &[of("a", "Accept"), of("b", "Pass"), cluster_policy("c", tier, 11, &egress("Deny", "{namespaces: {}}"))],
            true,
        );
    }
}

#[test]
fn tiers_and_what_isolation_ends() {
    let admin = |action| cluster_policy("x", "Admin", 1, &egress(action, "{namespaces: {}}"));
    let isolated = || network_policy("n", "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress]}");
    let baseline = || cluster_policy("y", "Baseline", 1, &egress("Accept", "{namespaces: {}}"));
    decides(&[isolated()], false);
    decides(&[isolated(), baseline()], false);
    decides(&[isolated(), admin("Pass"), baseline()], false);
    decides(&[isolated(), admin("Accept")], true);
    decides(&[network_policy("n", "{podSelector: {}, egress: [{}]}"), admin("Deny")], false);
    // An empty list leaves the direction alone, unlike a NetworkPolicy's.
    decides(&[cluster_policy("x", "Admin", 1, "egress: [], ingress: []")], true);
    // One direction does not affect the other.
    decides(&[network_policy("n", "{podSelector: {matchLabels: {app: a}}, ingress: []}")], true);
    decides(&[network_policy("n", "{podSelector: {matchLabels: {app: b}}, ingress: []}")], false);
}

#[test]
fn protocols_on_an_equal_number_and_named_ports() {
    let mut bench = bench();
    let east = bench.scope("east");
    let rules = "egress: [{action: Deny, to: [{namespaces: {}}], protocols: [{udp: {destinationPort: {number: 80}}}]}]";
    bench.apply(east, &cluster_policy("x", "Admin", 1, rules));
    bench.expect(A, B, WEB, true);
    bench.expect(A, B, (PortTable::Udp, 80), false);
    bench.expect(A, B, (PortTable::Sctp, 80), true);
    let named = |ports: &str| {
        network_policy("n", &format!("{{podSelector: {{matchLabels: {{app: b}}}}, ingress: [{{ports: [{ports}]}}]}}"))
    };
    bench.clear();
    bench.apply(east, &named("{port: web}"));
    bench.expect(A, B, WEB, true);
    bench.expect(A, B, (PortTable::Tcp, 8080), false);
    bench.apply(east, &named("{port: web, protocol: UDP}"));
    bench.expect(A, B, WEB, false);
    bench.expect(A, B, (PortTable::Udp, 80), false);
    bench.apply(east, &named("{port: dns, protocol: UDP}, {protocol: SCTP}, {port: 8000, endPort: 8002}"));
    bench.expect(A, B, DNS, true);
    bench.expect(A, B, (PortTable::Tcp, 53), false);
    bench.expect(A, B, (PortTable::Sctp, 9003), true);
    for (port, accepted) in [(7999, false), (8000, true), (8002, true), (8003, false)] {
        bench.expect(A, B, (PortTable::Tcp, port), accepted);
    }
    // Without a protocol a name is of any.
    bench.clear();
    let rules = "ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{destinationNamedPort: dns}]}]";
    bench.apply(east, &cluster_policy("x", "Admin", 1, rules));
    bench.expect(A, B, DNS, false);
    bench.expect(A, B, WEB, true);
}

#[test]
fn who_is_on_the_hosts_network_is_the_node() {
    let mut bench = bench();
    let east = bench.scope("east");
    bench.apply(east, &cluster_policy("x", "Admin", 1, &egress("Deny", "{namespaces: {}}")));
    bench.expect(A, B, WEB, false);
    bench.expect(A, HOST, WEB, true);
    bench.expect(HOST, B, WEB, true);
    bench.apply(east, &cluster_policy("x", "Admin", 1, &egress("Deny", "{nodes: {matchLabels: {os: linux}}}")));
    bench.expect(A, HOST, WEB, false);
    bench.expect(A, B, WEB, true);
    bench.apply(east, &cluster_policy("x", "Admin", 1, &egress("Deny", "{nodes: {matchLabels: {os: other}}}")));
    bench.expect(A, HOST, WEB, true);
    // A node on which a workload runs is never cut off by isolation, another is.
    bench.clear();
    bench.apply(east, &network_policy("n", "{podSelector: {}, ingress: []}"));
    bench.expect("172.18.0.9", A, WEB, true);
    bench.expect(HOST, A, WEB, false);
}

#[test]
fn expressions() {
    let team = |operator: &str| {
        let selector = format!("{{namespaces: {{matchExpressions: [{{key: team, operator: {operator}}}]}}}}");
        vec![cluster_policy("x", "Admin", 1, &egress("Deny", &selector))]
    };
    decides(&team("In, values: [red, green]"), false);
    decides(&team("In, values: [blue]"), true);
    decides(&team("NotIn, values: [blue]"), false);
    decides(&team("Exists"), false);
    decides(&team("DoesNotExist"), true);
    let absent = "{pods: {podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [front]}]}}}";
    decides(&[cluster_policy("x", "Admin", 1, &egress("Deny", absent))], false);
    // A selector that is only negative never selects what has no labels to test.
    let mut bench = bench();
    let east = bench.scope("east");
    bench.apply(east, &cluster_policy("x", "Admin", 1, &egress("Deny", absent)));
    bench.expect(A, OUTSIDE, WEB, true);
    bench.expect(A, HOST, WEB, true);
}

#[test]
fn blocks_over_workloads_of_other_clusters() {
    let mut bench = bench();
    let east = bench.scope("east");
    bench.apply(east, &cluster_policy("x", "Admin", 1, &egress("Deny", "{networks: [10.0.0.0/8]}")));
    bench.expect(A, FAR, WEB, false);
    bench.expect(A, B, WEB, false);
    bench.expect(A, OUTSIDE, WEB, true);
    // A label peer of a cluster's policy means that cluster, an unknown address too.
    bench.apply(east, &cluster_policy("x", "Admin", 1, &egress("Deny", "{namespaces: {}}")));
    bench.expect(A, FAR, WEB, true);
    bench.expect(A, "10.1.9.9", WEB, false);
    bench.expect(A, "10.2.9.9", WEB, true);
    bench.clear();
    bench.apply(
        Scope::Fleet,
        &mesh_policy(
            "x",
            &format!(
                "subject: {{namespaces: {{}}}}, {}",
                egress("Deny", "{clusters: {regions: [west-region]}, namespaces: {}}")
            ),
        ),
    );
    bench.expect(A, FAR, WEB, false);
    bench.expect(A, B, WEB, true);
    let block = "{podSelector: {matchLabels: {app: a}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.3/32]}}]}]}";
    bench.clear();
    bench.apply(east, &network_policy("n", block));
    bench.expect(A, B, WEB, true);
    bench.expect(A, FAR, WEB, true);
    bench.expect(A, OTHER, WEB, false);
}

#[test]
fn icmp_is_a_protocol_of_its_own() {
    let mut bench = bench();
    let east = bench.scope("east");
    bench.apply(east, &network_policy("n", "{podSelector: {}, ingress: [{ports: [{port: web}]}]}"));
    bench.expect(A, B, ECHO, false);
    bench.apply(east, &network_policy("n", "{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"));
    bench.expect(A, B, ECHO, true);
    bench.expect(OTHER, B, ECHO, false);
    bench.clear();
    let rules = "subject: {namespaces: {}}, ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{icmp: {type: 8}}]}]";
    bench.apply(east, &mesh_policy("x", rules));
    bench.expect(A, B, ECHO, false);
    bench.expect(A, B, (PortTable::Icmp, 13 << 8), true);
    bench.expect(A, B, WEB, true);
}

#[test]
fn labels_that_change() {
    let mut bench = bench();
    let east = bench.scope("east");
    bench.apply(
        east,
        &network_policy(
            "n",
            "{podSelector: {matchLabels: {app: b}}, ingress: [{from: [{podSelector: {matchLabels: {tier: front}}}]}]}",
        ),
    );
    bench.expect(A, B, WEB, true);
    bench.workload("east/shop/a", &[("app", "a")], A);
    bench.expect(A, B, WEB, false);
    bench.workload("east/shop/b", &[("app", "c")], B);
    bench.expect(A, B, WEB, true);
    bench.clear();
    bench.apply(east, &cluster_policy("x", "Admin", 1, &egress("Deny", "{namespaces: {matchLabels: {team: red}}}")));
    bench.expect(OTHER, B, WEB, false);
    bench.namespace("east", "shop", &[("team", "green")]);
    bench.expect(OTHER, B, WEB, true);
}

#[test]
fn a_workload_reaches_itself() {
    let mut bench = bench();
    bench.apply(
        Scope::Fleet,
        &mesh_policy("x", "subject: {namespaces: {}}, egress: [{action: Deny, to: [{networks: [0.0.0.0/0]}]}]"),
    );
    bench.expect(A, A, WEB, true);
    bench.expect(A, B, WEB, false);
}

#[test]
fn unknown_peers_fail_closed() {
    let zone = |action: &str| cluster_policy("x", "Admin", 1, &egress(action, "{namespaces: {}}, {zones: [a]}"));
    let deny = || cluster_policy("y", "Admin", 2, &egress("Deny", "{namespaces: {}}"));
    decides(&[zone("Deny")], false);
    decides(&[zone("Pass")], false);
    decides(&[zone("Accept"), deny()], false);
    decides(&[zone("Accept")], true);
}

#[test]
fn services_and_identities() {
    let mut bench = bench();
    let to = |peer: &str| {
        mesh_policy(
            "x",
            &format!(
                "subject: {{pods: {{podSelector: {{matchLabels: {{app: b}}}}}}}}, {}, {{action: Deny, to: [{{networks: [0.0.0.0/0]}}]}}]",
                egress("Accept", peer).trim_end_matches(']')
            ),
        )
    };
    bench.apply(Scope::Fleet, &to("{service: {namespace: shop, name: web}}"));
    bench.expect(B, A, WEB, false);
    bench.export("east", "shop", "web", &[("app", "a")]);
    bench.expect(B, A, WEB, true);
    bench.expect(B, FAR, WEB, false);
    bench.export("west", "shop", "web", &[("app", "a")]);
    bench.expect(B, FAR, WEB, true);
    bench.apply(Scope::Fleet, &to("{clusters: {names: [west]}, service: {namespace: shop, name: web}}"));
    bench.expect(B, A, WEB, false);
    bench.expect(B, FAR, WEB, true);
    bench.export("west", "shop", "web", &[]);
    bench.expect(B, FAR, WEB, false);
    let far = Identity { namespace: name("shop"), service_account: String::new(), labels: labels(&[("app", "a")]) };
    bench.apply(Scope::Fleet, &to(&format!("{{identities: [{}]}}", far.id())));
    bench.expect(B, FAR, WEB, true);
    bench.expect(B, A, WEB, false);
    bench.workload("west/shop/a", &[("app", "a"), ("new", "label")], FAR);
    bench.expect(B, FAR, WEB, false);
}

/// A policy of a namespace that is applied at the hub is about that namespace in every cluster.
#[test]
fn a_network_policy_of_the_fleet() {
    let mut bench = bench();
    bench.apply(
        Scope::Fleet,
        &network_policy("n", "{podSelector: {matchLabels: {app: a}}, ingress: [{from: [{podSelector: {}}]}]}"),
    );
    bench.expect(OTHER, A, WEB, false);
    bench.expect(OTHER, FAR, WEB, false);
    bench.expect(B, A, WEB, true);
    bench.expect(B, FAR, WEB, true);
    bench.expect(A, OTHER, WEB, true);
}

/// A name opens the way to an address outside that it is known to lead to, and never to a workload. The data plane does not
/// learn names yet: its tables accept nothing by name.
#[test]
fn domain_names() {
    let mut bench = bench();
    let rules = "subject: {namespaces: {}}, egress: [{action: Accept, to: [{domainNames: [\"*.example.com\"]}]}, {action: Deny, to: [{networks: [0.0.0.0/0]}]}]";
    bench.apply(Scope::Fleet, &mesh_policy("x", rules));
    bench.expect(A, OUTSIDE, WEB, false);
    let mut world = bench.world.clone();
    let mut reaches = |to: &str, called: &str| {
        world.learn_domain_name(called, to.parse().unwrap());
        let target = Target { table: PortTable::Tcp, number: 80 };
        evaluate(&world, Flow { from: A.parse().unwrap(), to: to.parse().unwrap(), target }).verdict()
            == Verdict::Accept
    };
    assert!(!reaches(OUTSIDE, "example.com"));
    assert!(reaches(OUTSIDE, "API.example.com."));
    assert!(!reaches(B, "api.example.com"));
}
