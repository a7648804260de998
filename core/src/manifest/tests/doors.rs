//! The policies of Kubernetes, and what of ours they have no word for.
use super::*;

const NETWORK_POLICY: &str = r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: db
  namespace: shop
  labels: {app: db}
  annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}"}
  resourceVersion: "12"
  creationTimestamp: null
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - podSelector: {matchLabels: {app: web}}
    - namespaceSelector: {}
    - namespaceSelector: {matchLabels: {team: ops}}
      podSelector: {}
    - ipBlock: {cidr: 10.1.2.3/16, except: [10.1.5.0/24]}
    ports:
    - port: 5432
    - {protocol: UDP, port: 32000, endPort: 32768}
    - {protocol: SCTP}
    - {port: metrics}
  - {}
  egress:
  - to: []
    ports: []
status: {}
"#;

const CLUSTER_POLICY: &str = r#"
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: guard, labels: {a: b}, uid: 1-2-3}
spec:
  tier: Admin
  priority: 1000
  subject: {pods: {podSelector: {matchLabels: {app: web}}}}
  ingress:
  - action: Pass
    from: [{namespaces: {}}, {pods: {namespaceSelector: {}, podSelector: {}}}]
    protocols: [{destinationNamedPort: web}, {udp: {destinationPort: {number: 53}}}]
  egress:
  - {name: nodes, action: Deny, to: [{nodes: {}}]}
  - {name: names, action: Accept, to: [{domainNames: [kubernetes.io, "*.kubernetes.io"]}]}
  - name: blocks
    action: Accept
    to: [{networks: [10.1.2.3/8, "fd00::/8"]}]
    protocols: [{sctp: {destinationPort: {range: {start: 1, end: 2}}}}]
status: {conditions: []}
"#;

fn one(text: &str) -> Policy {
    parse_policies(text).unwrap_or_else(|faults| panic!("{faults:#?}")).remove(0)
}

fn direction(ingress: Option<&str>, egress: Option<&str>, types: Option<&str>) -> (bool, bool) {
    let line = |key: &str, value: Option<&str>| value.map(|value| format!("  {key}: {value}\n")).unwrap_or_default();
    let (ingress, egress) = (line("ingress", ingress), line("egress", egress));
    let types = line("policyTypes", types);
    let policy = one(&format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: a, namespace: b}}\nspec:\n  podSelector: {{}}\n{ingress}{egress}{types}"
    ));
    (policy.ingress.is_some(), policy.egress.is_some())
}

#[test]
fn a_network_policy_means_what_kubernetes_says() {
    let policy = one(NETWORK_POLICY);
    assert_eq!((policy.tier, policy.title()), (Tier::Namespace, "shop/db".to_owned()));
    let rules = policy.ingress.as_ref().unwrap();
    let Peers::Of(peers) = &rules[0].peers else { panic!("peers") };
    let everywhere = LabelSelector::default();
    assert!(
        matches!(&peers[0], Peer::Pods { namespaces, .. } if namespaces.match_labels[NAMESPACE_NAME_LABEL] == "shop"),
        "pods alone are those of the policy's namespace"
    );
    assert!(
        matches!(&peers[1], Peer::Pods { namespaces, pods, .. } if *namespaces == everywhere && *pods == everywhere)
    );
    assert!(matches!(&peers[2], Peer::Pods { namespaces, .. } if namespaces.match_labels["team"] == "ops"));
    let Peer::Networks(blocks) = &peers[3] else { panic!("a block") };
    assert_eq!(blocks[0].cidr, "10.1.0.0/16".parse().unwrap(), "host bits do not count");
    let ports = [
        PortMatch::Range { protocol: Protocol::Tcp, first: 5432, last: 5432 },
        PortMatch::Range { protocol: Protocol::Udp, first: 32000, last: 32768 },
        PortMatch::Protocol(Protocol::Sctp),
        PortMatch::Named { protocol: Some(Protocol::Tcp), name: "metrics".into() },
    ];
    assert_eq!(rules[0].ports, Ports::Of(ports.into()));
    assert_eq!((&rules[1].peers, &rules[1].ports), (&Peers::Any, &Ports::Any), "an empty rule is everything");
    let egress = policy.egress.as_ref().unwrap();
    assert_eq!((&egress[0].peers, &egress[0].ports), (&Peers::Any, &Ports::Any), "empty lists are everything");
}

#[test]
fn a_list_as_kubectl_prints_it() {
    let item = NETWORK_POLICY.trim().lines().collect::<Vec<_>>().join("\n  ");
    let list = format!("apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: \"\"}}\nitems:\n- {item}\n");
    assert_eq!(parse_policies(&list), parse_policies(NETWORK_POLICY));
    let fault = parse_policies(&list.replace("endPort", "endport")).unwrap_err().remove(0);
    assert_eq!(fault.field, "items[0].spec.ingress[0].ports[1]");
    assert!(parse_policies("apiVersion: v1\nkind: List\nitem: []\n").is_err());
}

#[test]
fn which_directions_a_network_policy_selects() {
    assert_eq!(direction(None, None, None), (true, false), "by default ingress");
    assert_eq!(direction(None, Some("[]"), None), (true, false), "egress only if it has rules");
    assert_eq!(direction(None, Some("[{}]"), None), (true, true));
    assert_eq!(direction(None, Some("[{}]"), Some("[]")), (true, true), "an empty list is the default too");
    assert_eq!(direction(Some("[{}]"), None, Some("[Egress]")), (false, true), "what it says wins");
    assert_eq!(direction(None, None, Some("[Egress, Ingress]")), (true, true));
}

#[test]
fn a_cluster_network_policy_is_understood_whole() {
    let policy = one(CLUSTER_POLICY);
    assert_eq!((policy.tier, policy.priority, policy.namespace), (Tier::Admin, 1000, None));
    let egress = policy.egress.unwrap();
    assert_eq!(egress.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["nodes", "names", "blocks"]);
    let names = ["kubernetes.io", "*.kubernetes.io"].map(|name| name.parse().unwrap());
    assert_eq!(egress[1].peers, Peers::Of(vec![Peer::DomainNames(names.into())]));
}

#[test]
fn an_unknown_peer_fails_closed_and_nothing_else_unknown_is_taken() {
    for (good, bad, kind) in [
        ("{nodes: {}}", "{nods: {}}", "nods"),
        ("{nodes: {}}", "{}", "nothing"),
        ("{nodes: {}}", "{nodes: {}, zones: [a]}", "zones"),
        ("{namespaces: {}}, ", "{networks: [10.0.0.0/8]}, ", "networks"),
    ] {
        let policy = one(&CLUSTER_POLICY.replacen(good, bad, 1));
        assert!(policy.peers().any(|peer| *peer == Peer::Unknown(kind.into())), "{bad}: {policy:?}");
    }
}

#[test]
fn bad_policies_of_kubernetes() {
    let many = |item: &str| vec![item; 26].join(", ");
    let (rules, peers) = (many("{action: Deny, from: [{namespaces: {}}]}"), many("{namespaces: {}}"));
    for (text, good, bad, wanted) in [
        (CLUSTER_POLICY, "name: guard,", "name: guard, namespace: shop,", "about the whole cluster"),
        (CLUSTER_POLICY, "priority: 1000", "priority: 1001", "from 0 to 1000"),
        (CLUSTER_POLICY, "  priority: 1000\n", "", "add priority"),
        (CLUSTER_POLICY, "tier: Admin", "tier: Namespace", "Admin or Baseline"),
        (CLUSTER_POLICY, "action: Pass", "action: Allow", "Accept or Deny or Pass"),
        (CLUSTER_POLICY, "{pods: {podSelector: {matchLabels: {app: web}}}}", "{pods: {}}", "add podSelector"),
        (CLUSTER_POLICY, "{pods: {podSelector: {matchLabels: {app: web}}}}", "{}", "one of namespaces, pods"),
        (
            CLUSTER_POLICY,
            "{namespaces: {}}, {pods",
            "{namespaces: {}, pods: {podSelector: {}}}, {pods",
            "exactly one of",
        ),
        (CLUSTER_POLICY, "{number: 53}", "{number: 53, range: {start: 1, end: 2}}", "exactly one of"),
        (CLUSTER_POLICY, "{udp: {destinationPort: {number: 53}}}", "{udp: {}}", "add destinationPort"),
        (CLUSTER_POLICY, "{udp: {destinationPort: {number: 53}}}", "{icmp: {}}", "one of tcp, udp, sctp"),
        (CLUSTER_POLICY, "start: 1, end: 2", "start: 2, end: 2", "write `number: 2`"),
        (
            CLUSTER_POLICY,
            "action: Accept, to: [{domainNames",
            "action: Deny, to: [{domainNames",
            "rules that accept only",
        ),
        (CLUSTER_POLICY, "[kubernetes.io, ", "[a.*.io, ", "a domain name such as"),
        (CLUSTER_POLICY, "[10.1.2.3/8, ", "[10.1.2.3, ", "a network such as"),
        (CLUSTER_POLICY, "[10.1.2.3/8, ", "[10.1.2.3/8, 10.0.0.0/8, ", "each only once"),
        (
            CLUSTER_POLICY,
            "[{sctp: {destinationPort: {range: {start: 1, end: 2}}}}]",
            "[{destinationNamedPort: web}]",
            "named ports with namespaces or pods only",
        ),
        (CLUSTER_POLICY, "protocols: [{dest", "protocol: [{dest", "did you mean \"protocols\"?"),
        (CLUSTER_POLICY, "[{nodes: {}}]", "[]", "at least one item"),
        (CLUSTER_POLICY, "[{namespaces: {}}, {pods", &format!("[{peers}, {{pods"), "at most 25 items"),
        (CLUSTER_POLICY, "  ingress:\n", &format!("  ingress: [{rules}]\n  x:\n"), "at most 25 items"),
        (NETWORK_POLICY, "  namespace: shop\n", "", "add namespace"),
        (NETWORK_POLICY, "  podSelector: {matchLabels: {app: db}}\n", "", "add podSelector"),
        (NETWORK_POLICY, "  labels: {app: db}", "  label: {app: db}", "did you mean \"labels\"?"),
        (NETWORK_POLICY, "[Ingress, Egress]", "[Ingress, Outgress]", "Ingress or Egress"),
        (NETWORK_POLICY, "- namespaceSelector: {}", "- {}", "podSelector, namespaceSelector or ipBlock"),
        (NETWORK_POLICY, "- namespaceSelector: {}", "- nameSelector: {}", "did you mean"),
        (NETWORK_POLICY, "ipBlock: {", "podSelector: {}\n      ipBlock: {", "ipBlock alone"),
        (NETWORK_POLICY, "10.1.5.0/24", "10.2.5.0/24", "a part of 10.1.0.0/16"),
        (NETWORK_POLICY, "endPort: 32768", "endPort: 31999", "at least the port"),
        (NETWORK_POLICY, "{port: metrics}", "{port: metrics, endPort: 90}", "a port that is a number"),
        (NETWORK_POLICY, "{port: metrics}", "{port: \"80\"}", "a port's name"),
        (NETWORK_POLICY, "{protocol: SCTP}", "{protocol: sctp}", "did you mean \"SCTP\"?"),
        (NETWORK_POLICY, "    - port: 5432", "    - prot: 5432", "did you mean \"port\"?"),
        (NETWORK_POLICY, "networking.k8s.io/v1", "networking.k8s.io/v1beta1", "wanted networking.k8s.io/v1"),
    ] {
        assert!(text.contains(good), "{good}");
        let faults = faults(&text.replacen(good, bad, 1));
        assert!(faults.iter().any(|fault| fault.contains(wanted)), "{bad}: wanted {wanted:?} in {faults:#?}");
    }
}

#[test]
fn what_kubernetes_wrote_is_printed_in_our_words() {
    for text in [NETWORK_POLICY, CLUSTER_POLICY] {
        let policy = one(text);
        let printed = one(&print_policy(&policy).unwrap());
        let any = |policy: Policy| Policy { ingress: policy.ingress.map(without_any), ..policy };
        let any = |policy: Policy| Policy { egress: policy.egress.clone().map(without_any), ..any(policy) };
        assert_eq!(any(printed), any(policy));
    }
}

/// Every peer is printed as every address, which is the same.
fn without_any(rules: Vec<Rule>) -> Vec<Rule> {
    let every = ["0.0.0.0/0", "::/0"].map(|net| IpBlock { cidr: net.parse().unwrap(), except: vec![] });
    let every = Peers::Of(vec![Peer::Networks(every.into())]);
    let one = |rule: Rule| Rule { peers: if rule.peers == Peers::Any { every.clone() } else { rule.peers }, ..rule };
    rules.into_iter().map(one).collect()
}

#[test]
fn peers_of_ours() {
    let policy = |spec: &str| {
        format!(
            "apiVersion: axle.dev/v1alpha1\nkind: MeshNetworkPolicy\nmetadata: {{name: p}}\nspec:\n  tier: Admin\n  priority: 1\n  subject: {{namespaces: {{}}}}\n{spec}"
        )
    };
    let good = policy(
        "  egress:
  - action: Accept
    to:
    - {service: {namespace: shop, name: web}, clusters: {names: [east]}}
    - {domainNames: [example.com]}
    - {identities: [c503f5dcc9a60a2763c875f68694e0d7]}
    - {clusters: {regions: [eu, us]}, namespaces: {}}
    protocols: [{tcp: {destinationNamedPort: web}}]
",
    );
    let read = one(&good);
    assert_eq!(read.features(), ["domain-names", "identity-peers", "service-peers"]);
    let regions = Requirement { key: "axle.dev/region".into(), operator: Operator::In(vec!["eu".into(), "us".into()]) };
    let regions = LabelSelector { match_expressions: vec![regions], ..Default::default() };
    assert_eq!(read.peers().last().unwrap().clusters(), Some(&ClusterSelector::Labels(regions)));
    for (good_part, bad, wanted) in [
        ("action: Accept", "action: Deny", "rules that accept only"),
        ("  egress:", "  ingress:", "the field from"),
        ("name: web}, clusters", "nam: web}, clusters", "did you mean \"name\"?"),
        ("[example.com]", "[]", "at least one domain name"),
        ("c503f5dcc9a60a2763c875f68694e0d7", "c503", "32 hexadecimal digits"),
        ("{regions: [eu, us]}", "{regions: []}", "name the regions"),
        ("{regions: [eu, us]}", "{regions: [eu], names: [east]}", "a name says all"),
        ("{domainNames: [example.com]}", "{domainNames: [example.com], clusters: {}}", "remove clusters"),
    ] {
        assert!(good.contains(good_part), "{good_part}");
        let faults = faults(&good.replacen(good_part, bad, 1));
        assert!(faults.iter().any(|fault| fault.contains(wanted)), "{bad}: wanted {wanted:?} in {faults:#?}");
    }
    let namespaced = good.replacen("tier: Admin\n  priority: 1", "tier: Namespace", 1);
    let namespaced = namespaced.replacen("{name: p}", "{name: p, namespace: shop}", 1);
    assert_eq!(one(&namespaced).title(), "shop/p");
    assert!(faults(&namespaced.replacen("action: Accept", "action: Pass", 1))[0].contains("wanted Accept"));
    assert!(faults(&good.replacen("{name: p}", "{name: p, namespace: shop}", 1))[0].contains("no namespace"));
}
