use super::*;
use crate::{
    manifest::print_policy,
    model::{ClusterSelector, Peer, Peers, PortMatch, Ports, Protocol},
};

fn mesh() -> Vec<IpNet> {
    vec!["10.0.0.0/8".parse().unwrap(), "fd00::/16".parse().unwrap()]
}

/// A CiliumNetworkPolicy `shop/p` about every workload, with these rules.
fn namespaced(rules: &str) -> String {
    format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: shop}}\nspec:\n  endpointSelector: {{}}\n{rules}\n---\n"
    )
}

/// What is imported, but for the note that every isolation of what is sent has.
fn import(text: &str) -> Import {
    let mut import = import_cilium(text, &mesh()).unwrap_or_else(|faults| panic!("{text}: {faults:#?}"));
    import.notes.retain(|note| note.effect != Effect::Wider);
    import
}

#[test]
fn the_own_node_is_reached_all_the_same() {
    let wider = |rules: &str| {
        let import = import_cilium(&namespaced(rules), &mesh()).unwrap();
        assert!(import.notes.iter().all(|note| note.effect == Effect::Wider), "{import:#?}");
        !import.is_exact()
    };
    assert!(wider("  egress: []"));
    assert!(wider("  egress: [{toEndpoints: [{}]}]"));
    assert!(!wider("  egress: [{toEntities: [all]}]"));
    assert!(wider("  egress: [{}]"));
    assert!(!wider("  ingress: []"), "in Cilium too");
}

/// The peers and ports of the only rule of the only policy; everything is exact.
fn only(rules: &str) -> (Action, Peers, Ports) {
    let import = import(&namespaced(rules));
    assert_eq!(import.notes, [], "{rules}");
    let mut rules = import.policies.iter().flat_map(Policy::rules);
    let (Some(rule), None) = (rules.next(), rules.next()) else { panic!("one rule: {import:#?}") };
    (rule.action, rule.peers.clone(), rule.ports.clone())
}

/// Nothing of the rule is left but that its direction is isolated, and it is said why.
fn left_out(rules: &str, why: &str) {
    let import = import(&namespaced(rules));
    assert!(!import.is_exact() && import.notes.iter().all(|note| note.effect == Effect::Stricter), "{import:#?}");
    assert!(import.notes.iter().any(|note| note.why.contains(why)), "{why}: {:#?}", import.notes);
    let [policy] = &import.policies[..] else { panic!("{import:#?}") };
    assert_eq!(policy.rules().count(), 0, "{policy:#?}");
    assert!(policy.ingress.is_some() || policy.egress.is_some(), "isolated all the same");
}

/// What is denied cannot be said, and this is denied instead; the workloads are isolated all the same.
fn refused(rules: &str, why: &str, (peers, ports): (bool, bool)) {
    let import = import(&namespaced(rules));
    assert!(!import.is_complete(), "{import:#?}");
    assert!(
        import.notes.iter().any(|note| note.effect == Effect::Refused && note.why.contains(why)),
        "{:#?}",
        import.notes
    );
    let [allow, deny] = &import.policies[..] else { panic!("{import:#?}") };
    assert!(allow.ingress.is_some() || allow.egress.is_some(), "{allow:#?}");
    let [rule] = deny.rules().collect::<Vec<_>>()[..] else { panic!("{deny:#?}") };
    let broader = (rule.action, rule.peers == Peers::Any, rule.ports == Ports::Any);
    assert_eq!(broader, (Action::Deny, peers, ports), "{rules}");
}

#[test]
fn what_is_allowed_and_what_is_denied() {
    let import = import(&namespaced(
        "  ingress: [{fromEndpoints: [{matchLabels: {app: web}}]}]\n  ingressDeny: [{fromEntities: [cluster]}]\n  egressDeny: [{toEntities: [all]}]",
    ));
    let [allow, deny] = &import.policies[..] else { panic!("{import:#?}") };
    assert_eq!((allow.tier, allow.title(), allow.priority), (Tier::Namespace, "shop/cnp.p".into(), 0));
    assert_eq!((deny.tier, deny.title(), deny.priority), (Tier::Admin, "cnp-deny.shop.p".into(), 1000));
    assert_eq!(deny.subject.namespaces.match_labels["kubernetes.io/metadata.name"], "shop");
    assert_eq!(allow.egress, Some(vec![]), "a direction with a deny is isolated too");
    assert!(deny.rules().all(|rule| rule.action == Action::Deny));
    let here = import.clone().of_cluster(&Name::new("east").unwrap()).unwrap();
    assert_eq!(
        here.policies.iter().map(Policy::title).collect::<Vec<_>>(),
        ["shop/east.cnp.p", "east.cnp-deny.shop.p"]
    );
    let named = |policy: &Policy| policy.peers().filter_map(Peer::clusters).all(|one| *one != ClusterSelector::Own);
    assert!(here.policies.iter().all(|policy| named(policy) && policy.subject.clusters != ClusterSelector::Own));
    assert!(import.is_exact() && import.policies.iter().all(|policy| print_policy(policy).is_some()));
}

#[test]
fn default_deny() {
    let import = |rules: &str| import(&namespaced(rules));
    let http = "toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {http: [{method: GET}]}}]";
    let restricts =
        import(&format!("  enableDefaultDeny: {{egress: false}}\n  egress: [{{toEndpoints: [{{}}], {http}}}]"));
    assert!(!restricts.is_complete(), "what is above the ports restricts without isolation too: {restricts:#?}");
    let quiet = import("  enableDefaultDeny: {egress: false}\n  egressDeny: [{toCIDR: [192.0.2.0/24]}]");
    let [deny] = &quiet.policies[..] else { panic!("{quiet:#?}") };
    assert_eq!((deny.tier, quiet.is_exact()), (Tier::Admin, true));
    let lost = import("  enableDefaultDeny: {ingress: false}\n  ingress: [{fromEntities: [all]}]");
    assert_eq!((lost.policies.len(), lost.notes[0].effect), (0, Effect::Stricter));
    let asked = import("  enableDefaultDeny: {ingress: true, egress: true}");
    assert_eq!((&asked.policies[0].ingress, &asked.policies[0].egress), (&Some(vec![]), &Some(vec![])));
    assert_eq!(import("").policies, [], "without rules nothing is isolated");
}

/// Source: Cilium's documentation of policies, "Ingress/Egress Default Deny"; its own examples are written so.
#[test]
fn a_rule_about_nothing_only_isolates() {
    let none: Option<Vec<Rule>> = Some(vec![]);
    for nothing in ["{}", "{authentication: {mode: disabled}}", "{toPorts: []}", "{icmps: []}"] {
        for (direction, ingress, egress) in [("ingress", none.clone(), None), ("egress", None, none.clone())] {
            let import = import(&namespaced(&format!("  {direction}: [{nothing}]")));
            let [policy] = &import.policies[..] else { panic!("{nothing}: {import:#?}") };
            assert_eq!((&policy.ingress, &policy.egress), (&ingress, &egress), "{direction}: [{nothing}]");
            assert!(import.is_exact(), "{import:#?}");
        }
    }
    let denied = import(&namespaced("  ingressDeny: [{}]"));
    let [policy] = &denied.policies[..] else { panic!("{denied:#?}") };
    assert_eq!((policy.tier, &policy.ingress), (Tier::Namespace, &none), "isolated, and nothing is denied to others");
}

#[test]
fn selectors() {
    let pods = |selector: &str| match only(&format!("  ingress: [{{fromEndpoints: [{selector}]}}]")).1 {
        Peers::Of(peers) => match peers.into_iter().next() {
            Some(Peer::Pods { clusters, namespaces, pods }) => (clusters, namespaces, pods),
            other => panic!("{other:?}"),
        },
        Peers::Any => panic!("any"),
    };
    let (clusters, namespaces, all) = pods("{}");
    assert_eq!((clusters, all), (ClusterSelector::Own, LabelSelector::default()));
    assert_eq!(namespaces.match_labels["kubernetes.io/metadata.name"], "shop", "a peer is of the policy's namespace");
    let (_, namespaces, pods_of) = pods("{matchLabels: {\"k8s:io.kubernetes.pod.namespace\": back, \"any:app\": web}}");
    assert_eq!(namespaces.match_labels["kubernetes.io/metadata.name"], "back");
    assert_eq!(pods_of.match_labels["app"], "web");
    let (_, namespaces, _) = pods("{matchLabels: {io.cilium.k8s.namespace.labels.team: red}}");
    assert_eq!((namespaces.match_labels.len(), namespaces.match_labels["team"].as_str()), (1, "red"));
    let (clusters, ..) = pods("{matchLabels: {io.cilium.k8s.policy.cluster: west}}");
    assert_eq!(clusters, ClusterSelector::Names(vec![Name::new("west").unwrap()]));
    let (clusters, ..) = pods("{matchExpressions: [{key: io.cilium.k8s.policy.cluster, operator: Exists}]}");
    assert_eq!(clusters, ClusterSelector::Any);
    left_out("  ingress: [{fromEndpoints: [{matchLabels: {\"reserved:init\": \"\"}}]}]", "source");
    left_out("  ingress: [{fromEndpoints: [{matchLabels: {io.cilium.k8s.policy.serviceaccount: a}}]}]", "Cilium's own");
    left_out("  ingress: [{fromEndpoints: []}]", "selects nothing");
    let text = namespaced("  ingress: []")
        .replace("endpointSelector: {}", "endpointSelector: {matchLabels: {\"container:x\": y}}");
    let import = import(&text);
    assert_eq!(
        (import.policies.len(), import.notes[0].effect),
        (0, Effect::Refused),
        "a subject is never wider or narrower"
    );
    assert!(!import.is_complete());
}

#[test]
fn a_clusterwide_policy() {
    let text = "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {name: p}\nspec:
  endpointSelector: {matchLabels: {k8s:io.kubernetes.pod.namespace: shop}}
  ingress: [{fromEndpoints: [{}]}]";
    let import = import(text);
    let [policy] = &import.policies[..] else { panic!("{import:#?}") };
    assert_eq!((policy.tier, policy.namespace.as_ref()), (Tier::Namespace, None));
    assert_eq!(policy.subject.namespaces.match_labels["kubernetes.io/metadata.name"], "shop");
    let all = LabelSelector::default();
    let peer = Peer::Pods { clusters: ClusterSelector::Own, namespaces: all.clone(), pods: all };
    assert_eq!(policy.peers().collect::<Vec<_>>(), [&peer]);
    let host = text.replace("endpointSelector", "nodeSelector");
    assert_eq!(import_cilium(&host, &mesh()).unwrap().policies, [], "host policies are refused");
}

#[test]
fn entities() {
    let peers = |entity: &str| match only(&format!("  egress: [{{toEntities: [{entity}]}}]")).1 {
        Peers::Of(peers) => peers,
        Peers::Any => panic!("any"),
    };
    assert!(
        matches!(&peers("all")[..], [Peer::Networks(blocks)] if blocks.len() == 2 && blocks.iter().all(|block| block.except.is_empty()))
    );
    assert!(
        matches!(&peers("world")[..], [Peer::Networks(blocks)] if blocks.iter().all(|block| block.except.len() == 1))
    );
    assert!(matches!(&peers("world-ipv6")[..], [Peer::Networks(blocks)] if blocks.len() == 1));
    assert!(matches!(&peers("cluster")[..], [Peer::Pods { clusters: ClusterSelector::Own, .. }, Peer::Nodes { .. }]));
    assert!(matches!(&peers("cluster-mesh")[..], [Peer::Pods { clusters: ClusterSelector::Any, .. }]));
    assert!(matches!(&peers("remote-node")[..], [Peer::Nodes { clusters: ClusterSelector::Any, .. }]));
    left_out("  egress: [{toEntities: [kube-apiserver]}]", "no counterpart");
    refused("  egressDeny: [{toEntities: [kube-apiserver]}]", "no counterpart", (true, true));
    let https = "toPorts: [{ports: [{port: \"443\", protocol: TCP}]}]";
    refused(
        &format!("  egressDeny: [{{toEntities: [world, kube-apiserver], {https}}}]"),
        "no counterpart",
        (true, false),
    );
    let host = import(&namespaced("  ingressDeny: [{fromEntities: [host]}]"));
    assert_eq!((host.policies.len(), host.notes[0].effect), (2, Effect::Stricter));
}

#[test]
fn blocks() {
    let groups = "apiVersion: cilium.io/v2alpha1\nkind: CiliumCIDRGroup\nmetadata: {name: partners, labels: {who: partners}}\nspec: {externalCIDRs: [198.51.100.0/24]}\n---\n";
    let blocks = |text: &str| {
        let import = import(&format!("{groups}{text}"));
        assert_eq!(import.notes, []);
        let networks = import.policies.iter().flat_map(Policy::peers);
        let networks =
            networks.flat_map(|peer| if let Peer::Networks(blocks) = peer { blocks.clone() } else { panic!() });
        networks.map(|block| format!("{} - {:?}", block.cidr, block.except)).collect::<Vec<_>>()
    };
    let set = |set: &str| blocks(&namespaced(&format!("  egress: [{{toCIDRSet: [{set}]}}]")));
    assert_eq!(set("{cidr: 192.0.2.0/24, except: [192.0.2.8/29]}"), ["192.0.2.0/24 - [192.0.2.8/29]"]);
    assert_eq!(set("{cidr: 8.0.0.0/5}"), ["8.0.0.0/5 - [10.0.0.0/8]"], "workloads are not meant");
    assert_eq!(set("{cidrGroupRef: partners}"), ["198.51.100.0/24 - []"]);
    assert_eq!(blocks(&namespaced("  egress: [{toCIDR: [192.0.2.3, 10.1.0.0/16]}]")), ["192.0.2.3/32 - []"]);
    left_out("  egress: [{toCIDRSet: [{cidrGroupRef: nobody}]}]", "no CiliumCIDRGroup");
    let nobody = "[{toCIDRSet: [{cidr: 192.0.2.0/24}, {cidrGroupRef: nobody}]}]";
    refused(&format!("  egressDeny: {nobody}"), "no CiliumCIDRGroup", (true, true));
    let by_labels = "[{toCIDRSet: [{cidrGroupSelector: {matchLabels: {who: partners}}}]}]";
    refused(&format!("  egressDeny: {by_labels}"), "cidrGroupRef", (true, true));
    let known = import(&format!("{groups}{}", namespaced(&format!("  egress: {by_labels}"))));
    assert_eq!((known.policies[0].rules().count(), known.notes[0].effect), (1, Effect::Stricter), "others may exist");
    let unknown_mesh = import_cilium(&namespaced("  egress: [{toEntities: [world]}]"), &[]).unwrap();
    assert!(unknown_mesh.notes.iter().any(|note| note.why.contains("--mesh")), "{unknown_mesh:#?}");
    assert_eq!(unknown_mesh.policies.iter().flat_map(Policy::rules).count(), 0);
}

/// In Cilium a machine beside the clusters is outside, whatever block it shares with them.
#[test]
fn nothing_is_cut_out_of_what_is_denied() {
    for (rule, wanted, effect) in [
        ("toCIDR: [10.20.0.0/16]", "10.20.0.0/16 - []", Some(Effect::Stricter)),
        ("toCIDRSet: [{cidr: 8.0.0.0/5, except: [9.0.0.0/8]}]", "8.0.0.0/5 - [9.0.0.0/8]", Some(Effect::Stricter)),
        ("toEntities: [world-ipv4]", "0.0.0.0/0 - []", Some(Effect::Stricter)),
        ("toCIDR: [192.0.2.0/24]", "192.0.2.0/24 - []", None),
    ] {
        let import = import(&namespaced(&format!("  egressDeny: [{{{rule}}}]")));
        let [Peer::Networks(blocks)] = import.policies.iter().flat_map(Policy::peers).collect::<Vec<_>>()[..] else {
            panic!("{import:#?}");
        };
        let blocks: Vec<_> = blocks.iter().map(|block| format!("{} - {:?}", block.cidr, block.except)).collect();
        assert_eq!((blocks, import.notes.first().map(|note| note.effect)), (vec![wanted.to_owned()], effect), "{rule}");
    }
}

/// Names are of documents: what they become takes nobody's place, neither another's nor another cluster's.
#[test]
fn every_document_has_names_of_its_own() {
    let deny = namespaced("  ingressDeny: [{fromEntities: [cluster]}]");
    let other = deny.replace("name: p,", "name: b.c,").replace("namespace: shop", "namespace: a");
    let clusterwide = other.replace("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy");
    let clusterwide = clusterwide.replace("{name: b.c, namespace: a}", "{name: a.b.c}");
    let specs = "  specs:\n  - {endpointSelector: {}, ingress: []}\n  - {endpointSelector: {}, egress: []}";
    let specs = namespaced("").split("spec:").next().unwrap().replace("name: p,", "name: q,") + specs.trim_start();
    let specs = specs.replace("\n  - ", "\n- ") + "\n---\n";
    let numbered = namespaced("  ingress: []").replace("name: p,", "name: q.1,");
    let titles = |text: &str| import(text).policies.iter().map(Policy::title).collect::<Vec<_>>();
    assert_eq!(
        titles(&format!("{deny}{other}{clusterwide}{specs}{numbered}")),
        [
            "shop/cnp.p",
            "cnp-deny.shop.p",
            "a/cnp.b.c",
            "cnp-deny.a.b.c",
            "ccnp.a.b.c",
            "ccnp-deny.a.b.c",
            "shop/cnp-1.q",
            "shop/cnp-2.q",
            "shop/cnp.q.1"
        ]
    );
    let faults = import_cilium(&format!("{deny}{deny}"), &mesh()).unwrap_err();
    assert!(faults[0].to_string().contains("CiliumNetworkPolicy shop/p a second time"), "{faults:#?}");
    let long = Name::new("a".repeat(250)).unwrap();
    assert!(import(&deny).of_cluster(&long).unwrap_err().to_string().contains("characters"));
}

#[test]
fn ports_and_what_is_above_them() {
    let ports = |rule: &str| match only(&format!("  egress: [{{{rule}}}]")).2 {
        Ports::Of(ports) => ports,
        Ports::Any => vec![],
    };
    let range = |protocol, first, last| PortMatch::Range { protocol, first, last };
    assert_eq!(
        ports("toPorts: [{ports: [{port: \"80\", endPort: 90, protocol: TCP}]}]"),
        [range(Protocol::Tcp, 80, 90)]
    );
    assert_eq!(ports("toPorts: [{ports: [{port: \"53\"}]}]").len(), 3, "any protocol");
    assert_eq!(ports("toPorts: [{ports: [{port: \"0\", protocol: UDP}]}]"), [PortMatch::Protocol(Protocol::Udp)]);
    let named = PortMatch::Named { protocol: Some(Protocol::Tcp), name: "http".into() };
    assert_eq!(ports("toPorts: [{ports: [{port: HTTP, protocol: TCP}]}]"), [named], "Cilium compares in lower case");
    let dns = "toPorts: [{ports: [{port: \"53\", protocol: UDP}], rules: {dns: [{matchPattern: \"*\"}]}}]";
    assert_eq!(ports(dns), [range(Protocol::Udp, 53, 53)], "every name is no restriction");
    let echo = PortMatch::IcmpType { protocol: Protocol::Icmpv6, kind: 128, code: None };
    assert_eq!(ports("icmps: [{fields: [{family: IPv6, type: EchoRequest}]}]"), [echo]);
    assert_eq!(ports("toEntities: [all]"), [], "every port");
    left_out(
        "  egress: [{toPorts: [{ports: [{port: \"80\", protocol: TCP}], rules: {http: [{method: GET}]}}]}]",
        "application layer",
    );
    left_out("  egress: [{toPorts: [{ports: [{port: \"443\", protocol: TCP}], serverNames: [a.b]}]}]", "proxy");
    let authenticated = import(&namespaced("  ingress: [{fromEndpoints: [{}], authentication: {mode: required}}]"));
    assert!(!authenticated.is_complete() && authenticated.policies[0].rules().count() == 0, "{authenticated:#?}");
    assert_eq!(ports("toEntities: [all], toPorts: []"), [], "an empty list is as none");
    left_out("  egress: [{toEntities: [all], toPorts: [{}]}]", "names none");
    left_out("  egress: [{icmps: [{fields: []}]}]", "names none");
    left_out("  egress: [{icmps: [{fields: [{type: Nonsense}]}]}]", "give its number");
    refused("  egressDeny: [{icmps: [{fields: [{type: Nonsense}]}]}]", "give its number", (true, true));
    for (rule, why) in [
        ("toPorts: [{}]", "names none"),
        ("icmps: [{fields: []}]", "names none"),
        ("toPorts: [{ports: [{port: \"1\", protocol: VRRP}, {port: \"2\", protocol: TCP}]}]", "none of TCP"),
        ("toPorts: [{ports: [{port: \"0\"}]}]", "every protocol"),
        ("toPorts: [{ports: [{port: http}]}]", "a name stands for"),
    ] {
        refused(&format!("  egressDeny: [{{toEntities: [cluster], {rule}}}]"), why, (false, true));
    }
    let empty = import(&namespaced("  ingressDeny: [{fromEntities: [cluster], toPorts: []}]"));
    assert!(empty.is_exact() && empty.policies[1].rules().all(|rule| rule.ports == Ports::Any), "{empty:#?}");
    left_out("  egress: [{toPorts: [{ports: [{port: \"1\", protocol: VRRP}]}]}]", "none of TCP");
}

#[test]
fn names_and_services() {
    let names = only("  egress: [{toFQDNs: [{matchName: Example.com}, {matchPattern: \"**.example.org\"}]}]").1;
    let wanted = ["example.com", "*.example.org"].map(|name| name.parse().unwrap());
    assert_eq!(names, Peers::Of(vec![Peer::DomainNames(wanted.into())]));
    left_out("  egress: [{toFQDNs: [{matchPattern: \"*.example.org\"}]}]", "one label in Cilium");
    left_out("  egress: [{toFQDNs: [{matchPattern: \"a*.example.org\"}]}]", "no label");
    let service = "  egress: [{toServices: [{k8sService: {serviceName: web, namespace: back}}]}]";
    let service = import(&namespaced(service));
    assert_eq!(service.notes[0].effect, Effect::Stricter);
    assert!(matches!(service.policies[0].peers().next(), Some(Peer::Service { .. })));
}

#[test]
fn what_is_faulty() {
    for (text, wanted) in [
        (namespaced("  ingres: []"), "did you mean \"ingress\"?"),
        (namespaced("  ingress: [{fromEndpoint: [{}]}]"), "did you mean \"fromEndpoints\"?"),
        (namespaced("  ingress: [{fromEndpoints: [{}], fromCIDR: [192.0.2.0/24]}]"), "one kind of peer"),
        (namespaced("  ingress: [{toPorts: [{ports: [{prt: \"1\"}]}]}]"), "the field port"),
        (namespaced("  egress: [{toCIDR: [192.0.2]}]"), "a network such as"),
        (namespaced("  ingress: [{toPorts: [{ports: [{port: \"99999\"}]}]}]"), "a port from 0 to 65535"),
        (namespaced("  ingress: [{toPorts: [{ports: [{port: \"010\"}]}]}]"), "without zeros before it"),
        (namespaced("  ingress: [{toPorts: [{ports: [{port: http, endPort: 90}]}]}]"), "a number from 1"),
        (namespaced("  ingress: [{toPorts: [{ports: [{port: \"0\", endPort: 90}]}]}]"), "a number from 1"),
        (namespaced("  ingress: [{fromRequires: [{}]}]"), "write its labels into every rule"),
        (namespaced("  ingressDeny: [{authentication: {mode: disabled}}]"), "authentication"),
        (namespaced("").replace("  endpointSelector: {}\n", "  description: x\n"), "the field endpointSelector"),
        (namespaced("").replace("cilium.io/v2", "cilium.io/v1"), "cilium.io/v2"),
        (namespaced("").replace("CiliumNetworkPolicy", "NetworkPolicy"), "wanted CiliumNetworkPolicy"),
    ] {
        let faults: Vec<_> = import_cilium(&text, &mesh()).unwrap_err().iter().map(ToString::to_string).collect();
        assert!(faults.iter().any(|fault| fault.contains(wanted)), "{wanted}: {faults:#?}");
    }
}
