//! One of everything, with every field set.
use std::net::IpAddr;

use axle_core::{
    log::{Change, Contents, Delta, Entry, Hash, Intake, Past, Position, Record, Tombstone},
    model::{
        Action, Affinity, Assertion, BackendEndpoint, Backends, Cluster, ClusterSelector, Distribution, Endpoint,
        EndpointSlice, Enforcement, ExpectedRule, Family, Fleet, Host, IdentityId, Internal, IpBlock, Key, Kind,
        LabelSelector, Labels, Name, NamedPort, Namespace, Node, Object, Operator, Peer, Peers, Policy, PolicyTest,
        PortMatch, PortTarget, Ports, Protocol, Requirement, Resource, Rule, Scope, Service, ServiceConflict,
        ServiceExport, ServiceImport, ServicePort, Subject, TestEnd, Tier, Traffic, Traits, Uid,
    },
};
use axle_proto::convert::object;

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn uid(byte: u8) -> Uid {
    Uid([byte; 16])
}

fn labels(all: &[(&str, &str)]) -> Labels {
    all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn addresses() -> Vec<IpAddr> {
    vec!["10.1.0.7".parse().unwrap(), "fd00:1::7".parse().unwrap()]
}

pub(crate) fn position(byte: u8, revision: u64) -> Position {
    Position { epoch: uid(byte), revision, hash: Hash([byte; 32]) }
}

fn selector() -> LabelSelector {
    let requirement = |key: &str, operator| Requirement { key: key.into(), operator };
    LabelSelector {
        match_labels: labels(&[("app", "web")]),
        match_expressions: vec![
            requirement("tier", Operator::In(vec!["front".into(), "edge".into()])),
            requirement("env", Operator::NotIn(vec!["test".into()])),
            requirement("owner", Operator::Exists),
            requirement("legacy", Operator::DoesNotExist),
        ],
    }
}

fn port(protocol: Protocol, port: u16, target: PortTarget) -> ServicePort {
    ServicePort { name: format!("p{port}"), protocol, port, target, app_protocol: String::new() }
}

pub(crate) fn policy_test() -> Resource {
    let assertion = |from, to, rule| Assertion {
        name: "web reaches db".into(),
        from,
        to,
        protocol: Protocol::Tcp,
        port: 5432,
        verdict: Action::Accept,
        rule,
    };
    let workload = TestEnd::Workload { cluster: name("berlin"), namespace: name("shop"), name: name("web") };
    let labelled = TestEnd::Labels {
        clusters: vec![name("berlin"), name("paris")],
        namespace: name("shop"),
        labels: labels(&[("app", "db")]),
    };
    let rule = |rule: Option<&str>| Some(ExpectedRule { policy: name("guard-db"), rule: rule.map(Into::into) });
    let assertions = vec![
        assertion(workload, labelled.clone(), rule(Some("web"))),
        assertion(TestEnd::Address(addresses()[0]), labelled.clone(), rule(None)),
        assertion(labelled, TestEnd::Address(addresses()[1]), None),
    ];
    Resource::PolicyTest(PolicyTest { name: name("shop"), description: "who may".into(), assertions })
}

pub(crate) fn policy() -> Policy {
    let rule = |action, peers, ports| Rule { name: format!("{action:?}"), action, peers, ports };
    let peers = vec![
        Peer::Pods { clusters: ClusterSelector::Own, namespaces: selector(), pods: LabelSelector::default() },
        Peer::Pods {
            clusters: ClusterSelector::Names(vec![name("berlin"), name("paris")]),
            namespaces: LabelSelector::default(),
            pods: selector(),
        },
        Peer::Networks(vec![
            IpBlock { cidr: "10.0.0.0/8".parse().unwrap(), except: vec!["10.9.0.0/16".parse().unwrap()] },
            IpBlock { cidr: "::/0".parse().unwrap(), except: vec![] },
        ]),
        Peer::Nodes { clusters: ClusterSelector::Labels(selector()), nodes: selector() },
        Peer::Unknown("domainNames".into()),
    ];
    let ports = vec![
        PortMatch::Protocol(Protocol::Sctp),
        PortMatch::Range { protocol: Protocol::Tcp, first: 80, last: 90 },
        PortMatch::Named { protocol: None, name: "http".into() },
        PortMatch::Named { protocol: Some(Protocol::Udp), name: "dns".into() },
        PortMatch::IcmpType { protocol: Protocol::Icmp, kind: 8, code: None },
        PortMatch::IcmpType { protocol: Protocol::Icmpv6, kind: 128, code: Some(0) },
    ];
    Policy {
        name: name("web"),
        namespace: Some(name("shop")),
        tier: Tier::Namespace,
        priority: 7,
        subject: Subject { clusters: ClusterSelector::Any, namespaces: selector(), pods: selector() },
        ingress: Some(vec![
            rule(Action::Accept, Peers::Of(peers), Ports::Of(ports)),
            rule(Action::Deny, Peers::Any, Ports::Any),
            rule(Action::Pass, Peers::Of(vec![]), Ports::Of(vec![])),
        ]),
        egress: Some(vec![]),
        enforcement: Enforcement::Audit,
        disabled: true,
        description: "why".into(),
        owner: "who".into(),
    }
}

/// What the model learned after the first version.
pub(crate) fn later() -> Vec<(&'static str, Resource)> {
    let peers = vec![
        Peer::Service { clusters: ClusterSelector::Any, namespace: name("shop"), name: name("web") },
        Peer::Identities {
            clusters: ClusterSelector::Names(vec![name("berlin")]),
            names: vec![IdentityId([1; 16]), IdentityId([2; 16])],
        },
        Peer::DomainNames(vec!["api.example.com".parse().unwrap(), "*.example.org".parse().unwrap()]),
    ];
    let rule = Rule { name: "out".into(), action: Action::Accept, peers: Peers::Of(peers), ports: Ports::Any };
    let mut all =
        vec![("policy-peers", Resource::Policy(Policy { ingress: None, egress: Some(vec![rule]), ..policy() }))];
    for (_, resource) in resources() {
        let host = || Some(Box::new(Host { name: name("web-0"), service: name("web") }));
        all.extend(match resource {
            Resource::Cluster(cluster) => {
                Some(("cluster-draining", Resource::Cluster(Cluster { draining: true, ..cluster })))
            }
            Resource::Endpoint(endpoint) => {
                Some(("endpoint-host", Resource::Endpoint(Endpoint { host: host(), ..endpoint })))
            }
            Resource::ServiceExport(mut export) => {
                export.ports[0].app_protocol = "kubernetes.io/h2c".into();
                export.traits = traits();
                export.backends = vec![backends()];
                Some(("service-export-traits", Resource::ServiceExport(export)))
            }
            Resource::ServiceImport(import) => {
                let import = ServiceImport { vips: vec![], traits: traits(), ..import };
                Some(("service-import-traits", Resource::ServiceImport(import)))
            }
            _ => None,
        });
    }
    let (namespace, service) = (name("shop"), name("web"));
    let slice = EndpointSlice { namespace: namespace.clone(), name: name("web-x7k"), service, backends: backends() };
    let service = Service {
        namespace,
        name: name("web"),
        selector: labels(&[("app", "web")]),
        addresses: addresses(),
        ports: vec![port(Protocol::Udp, 53, PortTarget::Number(5353))],
        traffic: traits().traffic,
        global: Some(Affinity::None),
    };
    all.extend([("service", Resource::Service(service)), ("endpoint-slice", Resource::EndpointSlice(slice))]);
    all
}

fn traits() -> Traits {
    let distribution = Some(Distribution::PreferSameZone);
    Traits {
        headless: true,
        traffic: Traffic { sticky_s: Some(10_800), internal: Internal::Local, distribution },
        families: vec![Family::V6, Family::V4],
        labels: labels(&[("team", "red")]),
        annotations: labels(&[("note", "x")]),
    }
}

fn backends() -> Backends {
    let endpoint = BackendEndpoint {
        addresses: addresses(),
        ready: false,
        serving: true,
        terminating: true,
        node: "n1".into(),
        zone: "z1".into(),
        hostname: "web-0".into(),
    };
    let ports = vec![NamedPort { name: String::new(), protocol: Protocol::Tcp, port: 8080 }];
    Backends { endpoints: vec![endpoint], ports }
}

/// A resource of each kind.
pub(crate) fn resources() -> Vec<(&'static str, Resource)> {
    let ports = vec![
        port(Protocol::Tcp, 80, PortTarget::Number(8080)),
        port(Protocol::Udp, 53, PortTarget::Name("dns".into())),
    ];
    vec![
        (
            "fleet",
            Resource::Fleet(Fleet {
                vip4: "100.96.0.0/16".parse().unwrap(),
                vip6: "fd00:96::/112".parse().unwrap(),
                excluded_label_keys: vec!["pod-template-hash".into()],
            }),
        ),
        (
            "cluster",
            Resource::Cluster(Cluster {
                name: name("berlin"),
                region: "eu-central-1".into(),
                labels: labels(&[("stage", "live")]),
                prefixes: vec!["10.1.0.0/16".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
                default_action: Action::Deny,
                draining: false,
            }),
        ),
        ("node", Resource::Node(Node { name: name("n1"), labels: labels(&[("rack", "a")]), addresses: addresses() })),
        ("namespace", Resource::Namespace(Namespace { name: name("shop"), labels: labels(&[("team", "red")]) })),
        (
            "endpoint",
            Resource::Endpoint(Endpoint {
                namespace: name("shop"),
                name: name("web-1"),
                node: name("n1"),
                service_account: "web".into(),
                labels: labels(&[("app", "web"), ("tier", "front")]),
                addresses: addresses(),
                named_ports: vec![NamedPort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
                started_ms: 1_700_000_000_123,
                ready: true,
                host: None,
            }),
        ),
        (
            "service-export",
            Resource::ServiceExport(ServiceExport {
                namespace: name("shop"),
                name: name("web"),
                created_ms: 1_700_000_000_000,
                selector: labels(&[("app", "web")]),
                ports: ports.clone(),
                affinity: Affinity::Remote,
                weight: 100,
                traits: Default::default(),
                backends: vec![],
            }),
        ),
        (
            "service-import",
            Resource::ServiceImport(ServiceImport {
                namespace: name("shop"),
                name: name("web"),
                vips: addresses(),
                ports,
                clusters: vec![uid(1), uid(2)],
                conflicts: vec![ServiceConflict {
                    cluster: uid(2),
                    reason: "PortConflict".into(),
                    message: "port 80 differs".into(),
                }],
                traits: Default::default(),
            }),
        ),
        ("policy", Resource::Policy(policy())),
    ]
}

/// The resources as objects of one cluster, in the order of their keys.
pub(crate) fn objects() -> Vec<Object> {
    let scope = |kind| match kind {
        Kind::Fleet | Kind::Cluster | Kind::ServiceImport => Scope::Fleet,
        _ => Scope::Cluster(uid(1)),
    };
    let object = |(i, (_, resource)): (u8, (_, Resource))| {
        let scope = scope(resource.kind());
        let mut object = object(resource, scope, uid(100 + i), 40 + u64::from(i));
        object.features = if i == 7 { vec!["later".into()] } else { vec![] };
        object
    };
    let mut objects: Vec<Object> = (0..).zip(resources()).map(object).collect();
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    objects
}

fn gone() -> Key {
    Key { kind: Kind::Policy, scope: Scope::Fleet, namespace: String::new(), name: name("old") }
}

pub(crate) fn changes() -> Vec<Change> {
    let puts = objects().into_iter().map(Change::Put);
    puts.chain([Change::Delete { key: gone(), uid: uid(9) }]).collect()
}

pub(crate) fn delta() -> Delta {
    Delta { from: 41, to: position(1, 42), changes: changes(), origin: Some(position(2, 17)) }
}

pub(crate) fn record() -> Record {
    Record {
        revision: 0,
        hash: Hash::default(),
        time_ms: 1_700_000_000_456,
        actor: "user:alice".into(),
        request_id: "r-1".into(),
        action: "policy apply web".into(),
        changes: changes(),
        intake: Some(Intake { cluster: uid(1), position: position(3, 5) }),
    }
    .sealed(&position(1, 41))
}

pub(crate) fn contents() -> Contents {
    let entries = objects().into_iter().map(|object| Entry { changed: 42, object }).collect();
    let history = [Past { revision: 40, hash: Hash([4; 32]) }, Past { revision: 41, hash: Hash([5; 32]) }];
    let tombstones = vec![Tombstone { changed: 41, key: gone(), uid: uid(9) }];
    Contents::restore(position(1, 42), Some(position(2, 17)), entries, &history, tombstones)
}
