mod doors;
mod mutation;

use proptest::prelude::*;

use super::*;
use crate::model::{
    Action, ClusterSelector, Enforcement, IdentityId, IpBlock, LabelSelector, Name, Operator, Peer, Peers, PortMatch,
    Ports, Protocol, Requirement, Rule, Subject, Tier,
};

const POLICY: &str = r#"
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata:
  name: shop-frontend-only
spec:
  tier: Admin
  priority: 10
  description: Only the shop's front may call payments.
  subject:
    clusters:
      names: [east, west]
    pods:
      podSelector:
        matchLabels: {app: payments}
  ingress:
  - name: front
    action: Accept
    from:
    - clusters: {}
      pods:
        namespaceSelector:
          matchLabels: {kubernetes.io/metadata.name: shop}
        podSelector:
          matchExpressions:
          - {key: app, operator: In, values: [front]}
    - clusters:
        matchLabels: {axle.dev/region: eu-north-1}
      nodes: {}
    protocols:
    - tcp: {destinationPort: {number: 443}}
    - tcp: {destinationPort: {range: {start: 8000, end: 8010}}}
    - icmp: {type: 8}
    - udp: {}
    - destinationNamedPort: web
  - action: Deny
    from:
    - networks:
      - 0.0.0.0/0
      - {cidr: "fd00::/8", except: ["fd00:1::/32"]}
"#;

fn faults(text: &str) -> Vec<String> {
    parse(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[test]
fn reads_a_policy() {
    let policies = parse_policies(POLICY).unwrap();
    let [policy] = &policies[..] else { panic!("one policy") };
    assert_eq!((policy.tier, policy.priority, policy.enforcement), (Tier::Admin, 10, Enforcement::Enforce));
    assert_eq!(policy.egress, None);
    assert!(matches!(&policy.subject.clusters, ClusterSelector::Names(names) if names.len() == 2));
    let rules = policy.ingress.as_ref().unwrap();
    assert_eq!(rules.len(), 2);
    let Peers::Of(peers) = &rules[0].peers else { panic!("peers") };
    assert!(matches!(&peers[0], Peer::Pods { clusters: ClusterSelector::Any, .. }), "{{}} is every cluster");
    assert!(matches!(&peers[1], Peer::Nodes { clusters: ClusterSelector::Labels(_), .. }));
    assert!(matches!(&rules[0].ports, Ports::Of(ports) if ports.len() == 5));
    assert_eq!(rules[1].ports, Ports::Any);
}

#[test]
fn a_misspelt_field_is_named_with_its_place() {
    let text = POLICY.replace("podSelector:\n        matchLabels: {app: payments}", "podSelecter: {}");
    let faults = parse(&text).unwrap_err();
    let fault = faults.iter().find(|fault| fault.code == "unknown-field").unwrap();
    assert_eq!((fault.line, fault.column, fault.field.as_str()), (14, 7, "spec.subject.pods"));
    assert_eq!(fault.fix, "did you mean \"podSelector\"?");
}

#[test]
fn all_faults_at_once_in_the_order_of_the_text() {
    let text = POLICY
        .replace("tier: Admin", "tier: admin")
        .replace("priority: 10", "priority: 1001")
        .replace("number: 443", "number: 70000")
        .replace("0.0.0.0/0", "10.1.2.3/8")
        .replace("start: 8000", "start: 8011");
    let places: Vec<_> = parse(&text).unwrap_err().into_iter().map(|fault| (fault.field, fault.fix)).collect();
    let wanted = [
        ("spec.tier", "did you mean \"Admin\"?"),
        ("spec.priority", ""),
        ("spec.ingress[0].protocols[0].tcp.destinationPort.number", ""),
        ("spec.ingress[0].protocols[1].tcp.destinationPort.range", "exchange them"),
        ("spec.ingress[1].from[0].networks[0]", "write 10.0.0.0/8"),
    ];
    assert_eq!(places, wanted.map(|(field, fix)| (field.to_owned(), fix.to_owned())));
}

#[test]
fn bad_policies() {
    let cases = [
        ("  tier: Admin\n", "", "spec.tier"),
        ("action: Accept", "action: Allow", "wanted Accept or Deny or Pass"),
        ("    clusters:\n      names: [east, west]", "    clusters: {name: [east]}", "did you mean \"names\"?"),
        ("    clusters:\n      names: [east, west]", "    clusters: {names: []}", "at least one item"),
        ("    clusters:\n      names: [east, west]", "    clusters:", "nothing (null)"),
        ("      nodes: {}", "      nodes: {}\n      namespaces: {}", "exactly one of"),
        ("    - networks:", "    - clusters: {}\n      networks:", "networks without clusters"),
        ("  - action: Deny", "  - action: Deny\n    protocols: []", "leave protocols out"),
        ("icmp: {type: 8}", "icmp: {code: 1}", "the field type"),
        ("icmp: {type: 8}", "icmp: {type: 256}", "from 0 to 255"),
        ("{app: payments}", "{app: true}", "put it in quotes"),
        ("{app: payments}", "{app: 'a b'}", "a label value"),
        ("{app: payments}", "{'-a': b}", "a label key"),
        ("operator: In, values: [front]", "operator: In", "the field values"),
        ("operator: In, values: [front]", "operator: Exists, values: [front]", "no values with Exists"),
        ("fd00:1::/32", "fc00::/32", "a part of fd00::/8"),
        ("name: shop-frontend-only", "name: Shop_Frontend", "RFC 1123"),
        ("name: shop-frontend-only", "name: a\n  name: b", "uplicate"),
        ("axle.dev/v1alpha1", "axle.dev/v2", "wanted axle.dev/v1alpha1"),
        ("kind: MeshNetworkPolicy", "kind: MeshNetworkPolicies", "did you mean \"MeshNetworkPolicy\"?"),
        ("  priority: 10", "  priority: ten", "a whole number from 0 to 1000"),
        ("  ingress:", "  ingres:", "neither ingress nor egress"),
    ];
    for (good, bad, wanted) in cases {
        assert!(POLICY.contains(good), "{good}");
        let faults = faults(&POLICY.replacen(good, bad, 1));
        assert!(faults.iter().any(|fault| fault.contains(wanted)), "{bad}: wanted {wanted:?} in {faults:#?}");
    }
}

#[test]
fn no_yaml_no_panic() {
    for text in ["a: [", "\t", "- - -\n  a: b: c", "&a [*a]", "!!binary x", "{", "%YAML 3.0\n---\n", "a: \"\\u{d800}\""]
    {
        if let Ok(documents) = parse(text) {
            assert!(documents.is_empty(), "{text:?}");
        }
    }
    assert_eq!(parse("").unwrap(), [], "an empty text has no documents");
    assert_eq!(parse_policies("---\n").unwrap_err()[0].code, "missing-document");
    assert_eq!(parse("42").unwrap_err()[0].code, "wrong-type");
}

#[test]
fn reads_the_inventory() {
    let text = r#"
apiVersion: axle.dev/v1alpha1
kind: Namespace
metadata: {name: shop, labels: {team: a}}
---
apiVersion: axle.dev/v1alpha1
kind: Workload
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec:
  serviceAccount: web
  interface: veth1
  addresses: [10.1.0.5, "fd00:1::5"]
  ports:
  - {name: http, port: 8080}
---
apiVersion: axle.dev/v1alpha1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: http}
  - {name: dns, protocol: UDP, port: 53, targetPort: 5353}
---
apiVersion: axle.dev/v1alpha1
kind: ServiceExport
metadata: {name: web, namespace: shop}
spec: {weight: 0}
"#;
    let documents = parse(text).unwrap();
    let [
        Document::Namespace(namespace),
        Document::Workload(workload),
        Document::Service(service),
        Document::ServiceExport(export),
    ] = &documents[..]
    else {
        panic!("{documents:?}")
    };
    assert_eq!(namespace.labels[NAMESPACE_NAME_LABEL], "shop");
    assert_eq!((workload.addresses.len(), workload.named_ports[0].port, workload.ready), (2, 8080, true));
    assert_eq!(service.ports[1].protocol, Protocol::Udp);
    assert_eq!(export.weight, 0);
    for (good, bad, wanted) in [
        ("addresses: [10.1.0.5, \"fd00:1::5\"]", "addresses: []", "at least one item"),
        ("10.1.0.5", "10.1.0.256", "an IPv4 or IPv6 address"),
        ("10.1.0.5", "127.0.0.1", "not loopback"),
        ("interface: veth1", "interface: this-name-is-too-long", "1 to 15 characters"),
        ("interface: veth1", "", "the field interface"),
        ("selector: {app: web}", "selector: {}", "at least one label"),
        ("name: dns,", "name: http,", "a second time"),
        ("port: 8080", "port: 0", "from 1 to 65535"),
        ("weight: 0", "weight: -1", "from 0 to 10000"),
        ("weight: 0", "wieght: 0", "did you mean \"weight\"?"),
        ("name: web, namespace: shop}\nspec: {w", "name: web}\nspec: {w", "the field namespace"),
    ] {
        assert!(text.contains(good), "{good}");
        let faults = faults(&text.replacen(good, bad, 1));
        assert!(faults.iter().any(|fault| fault.contains(wanted)), "{bad}: wanted {wanted:?} in {faults:#?}");
    }
}

fn selectors() -> impl Strategy<Value = LabelSelector> {
    let values = || prop::collection::vec("[a-z]{1,3}", 1..3);
    let operator = prop_oneof![
        values().prop_map(Operator::In),
        values().prop_map(Operator::NotIn),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist),
    ];
    let requirement = ("[a-z]{1,3}", operator).prop_map(|(key, operator)| Requirement { key, operator });
    let labels = prop::collection::btree_map("([a-z]{1,3}/)?[a-zA-Z0-9]{1,3}", "([a-z0-9]|true|null|1e3|~)?", 0..3);
    let labels = labels.prop_map(|labels| labels.into_iter().filter(|(_, value)| value != "~").collect());
    (labels, prop::collection::vec(requirement, 0..2))
        .prop_map(|(match_labels, match_expressions)| LabelSelector { match_labels, match_expressions })
}

fn cluster_selectors() -> impl Strategy<Value = ClusterSelector> {
    let name = "[a-z]{1,3}".prop_map(|text| Name::new(text).unwrap());
    prop_oneof![
        Just(ClusterSelector::Own),
        Just(ClusterSelector::Any),
        prop::collection::vec(name, 1..3).prop_map(ClusterSelector::Names),
        selectors().prop_filter("empty is Any", |s| *s != LabelSelector::default()).prop_map(ClusterSelector::Labels),
    ]
}

fn peers() -> impl Strategy<Value = Peer> {
    let hole = any::<bool>().prop_map(|has| if has { vec!["10.1.0.0/16".parse().unwrap()] } else { vec![] });
    let block = hole.prop_map(|except| IpBlock { cidr: "10.0.0.0/8".parse().unwrap(), except });
    prop_oneof![
        (cluster_selectors(), selectors(), selectors()).prop_map(|(clusters, namespaces, pods)| Peer::Pods {
            clusters,
            namespaces,
            pods
        }),
        prop::collection::vec(block, 1..3).prop_map(Peer::Networks),
        (cluster_selectors(), selectors()).prop_map(|(clusters, nodes)| Peer::Nodes { clusters, nodes }),
        cluster_selectors().prop_map(|clusters| Peer::Identities { clusters, names: vec![IdentityId([7; 16])] }),
    ]
}

fn ports() -> impl Strategy<Value = Ports> {
    let transport = || prop::sample::select(vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let icmp = || prop::sample::select(vec![Protocol::Icmp, Protocol::Icmpv6]);
    let port = prop_oneof![
        transport().prop_map(PortMatch::Protocol),
        icmp().prop_map(PortMatch::Protocol),
        (transport(), 1u16.., any::<u16>()).prop_map(|(protocol, first, more)| PortMatch::Range {
            protocol,
            first,
            last: first.saturating_add(more),
        }),
        prop::option::of(transport()).prop_map(|protocol| PortMatch::Named { protocol, name: "web".into() }),
        (icmp(), any::<u8>(), any::<Option<u8>>()).prop_map(|(protocol, kind, code)| PortMatch::IcmpType {
            protocol,
            kind,
            code
        }),
    ];
    prop_oneof![Just(Ports::Any), prop::collection::vec(port, 1..3).prop_map(Ports::Of)]
}

/// Peers of rules that only accept, and in egress rules names.
fn accepted(incoming: bool) -> impl Strategy<Value = Peer> {
    let name = |text: &str| Name::new(text).unwrap();
    let service = cluster_selectors().prop_map(move |clusters| Peer::Service {
        clusters,
        namespace: name("shop"),
        name: name("web"),
    });
    let names = Just(Peer::DomainNames(vec!["api.example.com".parse().unwrap(), "*.example.org".parse().unwrap()]));
    if incoming { service.boxed() } else { prop_oneof![service, names].boxed() }
}

fn rules(incoming: bool) -> impl Strategy<Value = Vec<Rule>> {
    let action = prop::sample::select(vec![Action::Accept, Action::Deny, Action::Pass]);
    let peers = prop::collection::vec(peers(), 1..3);
    let rule = ("[ -~]{0,8}", action, peers, prop::option::of(accepted(incoming)), ports());
    let rule = rule.prop_map(|(name, action, mut peers, accepted, ports)| {
        peers.extend(accepted.filter(|_| action == Action::Accept));
        Rule { name, action, peers: Peers::Of(peers), ports }
    });
    prop::collection::vec(rule, 0..3)
}

proptest! {
    /// What is printed reads back as the same policy.
    #[test]
    fn print_then_parse(
        (tier, priority) in (prop::sample::select(vec![Tier::Admin, Tier::Namespace, Tier::Baseline]), 0u16..=1000),
        (clusters, namespaces, pods) in (cluster_selectors(), selectors(), selectors()),
        mut ingress in rules(true), mut egress in prop::option::of(rules(false)),
        (audit, disabled, namespaced) in any::<(bool, bool, bool)>(), description in "[ -~\n\u{e9}]{0,20}",
    ) {
        let of_namespace = tier == Tier::Namespace;
        if of_namespace {
            ingress.iter_mut().chain(egress.iter_mut().flatten()).for_each(|rule| rule.action = Action::Accept);
        }
        let policy = Policy {
            name: Name::new("p").unwrap(), namespace: (of_namespace && namespaced).then(|| Name::new("shop").unwrap()),
            tier, priority: if of_namespace { 0 } else { priority },
            subject: Subject { clusters, namespaces, pods }, ingress: Some(ingress), egress,
            enforcement: if audit { Enforcement::Audit } else { Enforcement::Enforce },
            disabled, description, owner: String::new(),
        };
        let text = print_policy(&policy).unwrap();
        prop_assert_eq!(parse_policies(&text).map_err(|faults| format!("{faults:#?}\n{text}")), Ok(vec![policy]));
    }

    /// Any text gives documents or faults, never a panic.
    #[test]
    fn any_text(text in "[a-z:\\-\\[\\]{}\"'|>&*!#%@, \n\t]{0,60}") {
        let _ = parse(&text);
    }
}

/// No line of a policy is read over: without it the text is refused or means something else.
#[test]
fn a_lost_line_never_goes_unnoticed() {
    let whole = parse(POLICY).unwrap();
    let lines: Vec<&str> = POLICY.trim().lines().collect();
    for lost in 0..lines.len() {
        let text = [&lines[..lost], &lines[lost + 1..]].concat().join("\n");
        assert_ne!(parse(&text).as_ref(), Ok(&whole), "without line {lost}: {}", lines[lost]);
    }
}

/// Whoever reads a text has a stack of some size, and may be a hub that others need.
#[test]
fn a_text_that_nests_deep_is_refused_and_harms_nobody() {
    let block: String = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let (list, flow, map) = ("- ".repeat(1_000_000), "[".repeat(1_000_000), "{a: ".repeat(500_000));
    let small = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        for text in [block, list, flow, map] {
            let found = faults(&text);
            assert!(found.len() == 1 && found[0].contains("at most 24 levels deep"), "{found:?}");
        }
    });
    small.unwrap().join().unwrap();
}
