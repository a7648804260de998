//! Random worlds through random changes.
use proptest::prelude::*;

use super::rig::{
    ROOMY, Rig, cluster, delete, endpoint, export, fleet, fleet_without, labels, name, namespace, node, policy,
    put_endpoint, put_policy, service, uid,
};
use crate::{
    identity::Identity,
    log::Change,
    model::{
        Action, ClusterSelector, Enforcement, IpBlock, LabelSelector, NamedPort, Operator, Peer, Peers, Policy,
        PortMatch, Ports, Protocol, Requirement, Rule, Scope, Subject, Tier,
    },
};

const ADDRESSES: [[&str; 3]; 2] = [["10.0.0.1", "10.0.0.2", "fd00:0::1"], ["10.1.0.1", "10.1.5.2", "fd00:1::1"]];

/// Addresses that tests look at: every one that somebody may have, unresolved ones, nodes, services, outside.
pub(in crate::policy) const PEERS: [&str; 17] = [
    "10.0.0.1",
    "10.0.0.2",
    "fd00:0::1",
    "10.1.0.1",
    "10.1.5.2",
    "fd00:1::1",
    "10.0.7.7",
    "10.1.5.7",
    "fd00:1::7",
    "192.168.0.1",
    "192.168.0.2",
    "192.168.1.1",
    "10.96.0.1",
    "8.8.8.8",
    "10.1.0.200",
    "2001:db8::1",
    "10.2.0.1",
];

fn selector() -> impl Strategy<Value = LabelSelector> {
    let requirement = prop_oneof![
        Just(Operator::In(vec!["x".into(), "y".into()])),
        Just(Operator::NotIn(vec!["x".into()])),
        Just(Operator::Exists),
        Just(Operator::DoesNotExist),
    ];
    prop_oneof![
        3 => Just(LabelSelector::default()),
        4 => "[xyz]".prop_map(|value| LabelSelector { match_labels: labels(&[("app", &value)]), ..Default::default() }),
        2 => (prop_oneof![Just("app"), Just("tier")], requirement).prop_map(|(key, operator)| LabelSelector {
            match_expressions: vec![Requirement { key: key.into(), operator }],
            ..Default::default()
        }),
    ]
}

fn namespaces() -> impl Strategy<Value = LabelSelector> {
    prop_oneof![
        3 => Just(LabelSelector::default()),
        2 => "[pq]".prop_map(|value| LabelSelector { match_labels: labels(&[("env", &value)]), ..Default::default() }),
    ]
}

fn clusters() -> impl Strategy<Value = ClusterSelector> {
    prop_oneof![
        3 => Just(ClusterSelector::Own),
        2 => Just(ClusterSelector::Any),
        1 => Just(ClusterSelector::Names(vec![name("c1"), name("c9")])),
        1 => Just(ClusterSelector::Labels(LabelSelector { match_labels: labels(&[("env", "home")]), ..Default::default() })),
    ]
}

fn block() -> impl Strategy<Value = IpBlock> {
    prop_oneof![
        Just(("0.0.0.0/0", vec![])),
        Just(("10.1.0.0/16", vec!["10.1.5.0/24"])),
        Just(("10.1.5.0/24", vec![])),
        Just(("10.0.0.0/8", vec!["10.0.0.2/32", "10.1.0.0/16"])),
        Just(("fd00:1::/32", vec![])),
        Just(("fd00:1::/64", vec!["fd00:1::1/128"])),
        Just(("10.1.5.0/30", vec!["10.1.5.2/32"])),
        Just(("::/0", vec!["fd00::/16"])),
        Just(("192.168.0.0/16", vec!["192.168.0.1/32"])),
        Just(("10.96.0.0/12", vec![])),
    ]
    .prop_map(|(cidr, except)| IpBlock {
        cidr: cidr.parse().unwrap(),
        except: except.into_iter().map(|net| net.parse().unwrap()).collect(),
    })
}

fn peers() -> impl Strategy<Value = Peers> {
    let pods = (clusters(), namespaces(), selector()).prop_map(|(clusters, namespaces, pods)| Peer::Pods {
        clusters,
        namespaces,
        pods,
    });
    let nodes = (clusters(), prop_oneof![Just(None), "[uv]".prop_map(Some)]).prop_map(|(clusters, role)| Peer::Nodes {
        clusters,
        nodes: LabelSelector {
            match_labels: role.map(|role| labels(&[("role", &role)])).unwrap_or_default(),
            ..Default::default()
        },
    });
    let service = clusters().prop_map(|clusters| Peer::Service { clusters, namespace: name("a"), name: name("web") });
    let identities = clusters().prop_map(|clusters| {
        let of = |app| Identity::of(&endpoint(0, 0, "n0", app, &[]), &[]).id();
        Peer::Identities { clusters, names: vec![of("x"), of("z")] }
    });
    let peer = prop_oneof![
        5 => pods,
        1 => service,
        1 => identities,
        1 => Just(Peer::DomainNames(vec!["*.example.com".parse().unwrap()])),
        2 => prop::collection::vec(block(), 1..3).prop_map(Peer::Networks),
        1 => nodes,
        1 => Just(Peer::Unknown("domainNames".into())),
    ];
    prop_oneof![1 => Just(Peers::Any), 5 => prop::collection::vec(peer, 0..3).prop_map(Peers::Of)]
}

fn ports() -> impl Strategy<Value = Ports> {
    let port = prop_oneof![
        Just(PortMatch::Protocol(Protocol::Tcp)),
        Just(PortMatch::Protocol(Protocol::Icmp)),
        Just(PortMatch::Range { protocol: Protocol::Tcp, first: 80, last: 81 }),
        Just(PortMatch::Range { protocol: Protocol::Tcp, first: 81, last: 500 }),
        Just(PortMatch::Range { protocol: Protocol::Udp, first: 1, last: u16::MAX }),
        Just(PortMatch::IcmpType { protocol: Protocol::Icmp, kind: 8, code: None }),
        Just(PortMatch::IcmpType { protocol: Protocol::Icmp, kind: 3, code: Some(4) }),
        Just(PortMatch::Protocol(Protocol::Icmpv6)),
        Just(PortMatch::IcmpType { protocol: Protocol::Icmpv6, kind: 128, code: None }),
        Just(PortMatch::Range { protocol: Protocol::Sctp, first: 80, last: 80 }),
        Just(PortMatch::Named { protocol: Some(Protocol::Udp), name: "dns".into() }),
        Just(PortMatch::Named { protocol: None, name: "web".into() }),
        Just(PortMatch::Named { protocol: Some(Protocol::Tcp), name: "web".into() }),
    ];
    prop_oneof![1 => Just(Ports::Any), 3 => prop::collection::vec(port, 0..3).prop_map(Ports::Of)]
}

fn rules(tier: Tier) -> impl Strategy<Value = Option<Vec<Rule>>> {
    let action = match tier {
        Tier::Namespace => Just(Action::Accept).boxed(),
        _ => prop_oneof![Just(Action::Deny), Just(Action::Pass), Just(Action::Accept)].boxed(),
    };
    let rule = (action, peers(), ports()).prop_map(|(action, peers, ports)| Rule {
        name: String::new(),
        action,
        peers,
        ports,
    });
    prop_oneof![1 => Just(None), 3 => prop::collection::vec(rule, 0..4).prop_map(Some)]
}

fn a_policy() -> impl Strategy<Value = (Scope, Policy)> {
    let tier = prop_oneof![Just(Tier::Admin), Just(Tier::Namespace), Just(Tier::Baseline)];
    let scope =
        prop_oneof![2 => Just(Scope::Fleet), 2 => Just(Scope::Cluster(uid(0))), 1 => Just(Scope::Cluster(uid(1)))];
    let subject = (clusters(), namespaces(), selector()).prop_map(|(clusters, namespaces, pods)| Subject {
        clusters,
        namespaces,
        pods,
    });
    (tier, scope, subject, 0u16..3, 0u8..12).prop_flat_map(|(tier, scope, subject, priority, odd)| {
        (rules(tier), rules(tier)).prop_map(move |(ingress, egress)| {
            let namespace = (tier == Tier::Namespace).then(|| name("a"));
            let enforcement = if odd == 0 { Enforcement::Audit } else { Enforcement::Enforce };
            let policy = Policy {
                namespace,
                priority: if tier == Tier::Namespace { 0 } else { priority },
                subject: subject.clone(),
                enforcement,
                disabled: odd == 1,
                ..policy("p", tier, ingress, egress)
            };
            (scope, policy)
        })
    })
}

pub(in crate::policy) fn change() -> impl Strategy<Value = Change> {
    let endpoint = (
        0u8..8,
        any::<bool>(),
        "[xyz]",
        prop::sample::subsequence(vec![0usize, 1, 2], 0..3),
        any::<bool>(),
        0u16..3,
        1u64..4,
    )
        .prop_map(|(number, here, app, addresses, in_b, web, started_ms)| {
            let cluster = number % 2;
            let addresses: Vec<_> = addresses.into_iter().map(|at| ADDRESSES[usize::from(cluster)][at]).collect();
            let node = if here { "n0" } else { "n11" };
            let mut endpoint = endpoint(number, cluster, node, &app, &addresses);
            endpoint.started_ms = started_ms;
            if in_b {
                endpoint.namespace = name("b");
                endpoint.labels.insert("tier".into(), "x".into());
            }
            if web > 0 {
                let port = [80, 443][usize::from(web) - 1];
                endpoint.named_ports.push(NamedPort { name: "web".into(), protocol: Protocol::Tcp, port });
                endpoint.named_ports.push(NamedPort { name: "dns".into(), protocol: Protocol::Udp, port: 53 });
            }
            put_endpoint(10 + number, cluster, endpoint)
        });
    let policy = (0u8..6, a_policy()).prop_map(|(number, (_, policy))| {
        let scope = [Scope::Fleet, Scope::Cluster(uid(0)), Scope::Cluster(uid(1))][usize::from(number) % 3];
        let policy = Policy { name: name(&format!("p{number}")), ..policy };
        put_policy(scope, 50 + number, 1, policy)
    });
    let export = (0u8..2, "[xy]").prop_map(|(cluster, app)| export(cluster, &app));
    prop_oneof![
        6 => endpoint,
        8 => policy,
        2 => export,
        1 => any::<bool>().prop_map(|excluded| fleet_without(if excluded { &["tier"] } else { &[] })),
        2 => (0u8..2, "[ab]", "[pq]").prop_map(|(cluster, of, env)| namespace(cluster, &of, &env)),
        1 => (0u8..3, any::<bool>()).prop_map(|(number, deny)| {
            cluster(number, if deny { Action::Deny } else { Action::Accept })
        }),
        1 => Just(fleet()),
        1 => "[uv]".prop_map(|role| node(0, "n0", "192.168.0.1", &role)),
        1 => "[uv]".prop_map(|role| node(0, "n11", "192.168.0.2", &role)),
        1 => "[uv]".prop_map(|role| node(1, "n0", "192.168.1.1", &role)),
    ]
}

/// Changes as one revision has them: each key once, some of them removals.
pub(super) fn revision() -> impl Strategy<Value = Vec<Change>> {
    let addresses = prop::sample::subsequence(vec!["10.0.7.7", "8.8.8.8", "10.0.0.2", "10.1.5.7", "fd00:1::7"], 0..4);
    let service = (0u8..2, addresses).prop_map(|(cluster, addresses)| service(cluster, &addresses));
    let change = prop_oneof![24 => change(), 2 => service];
    prop::collection::vec((change, 0u8..4), 1..4).prop_map(|changes| {
        let mut seen = Vec::new();
        let mut revision = Vec::new();
        for (change, fate) in changes {
            if !seen.contains(change.key()) {
                seen.push(change.key().clone());
                revision.push(if fate == 0 { delete(&change) } else { change });
            }
        }
        revision
    })
}

pub(in crate::policy) fn start() -> Rig {
    let mut rig = Rig::new(ROOMY);
    rig.peers = PEERS.iter().map(|text| text.parse().unwrap()).collect();
    rig.apply(&base());
    rig.check();
    rig
}

/// What is there from the start.
pub(super) fn base() -> [Change; 8] {
    [
        fleet(),
        cluster(0, Action::Accept),
        cluster(1, Action::Accept),
        namespace(0, "a", "p"),
        namespace(1, "a", "p"),
        node(0, "n0", "192.168.0.1", "u"),
        put_endpoint(10, 0, endpoint(0, 0, "n0", "x", &["10.0.0.1"])),
        put_endpoint(12, 0, endpoint(2, 0, "n0", "y", &["10.0.0.2", "fd00:0::1"])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The compiled tables agree with the oracle through every single write of every change, and name the same rule.
    #[test]
    fn every_intermediate_state_is_old_or_new(
        revisions in prop::collection::vec(revision(), 1..8),
        order in prop::collection::vec(any::<prop::sample::Index>(), 24),
    ) {
        let mut rig = start();
        for changes in &revisions {
            rig.apply_step_by_step(changes);
        }
        for is_shuffled in [false, true] {
            let fresh = rig.afresh(|changes| {
                let count = changes.len();
                let swaps = order.iter().enumerate().take(if is_shuffled { count } else { 0 });
                swaps.for_each(|(at, other)| changes.swap(at, other.index(count)));
            });
            fresh.check();
            prop_assert_eq!(fresh.compiler.digest(), rig.compiler.digest(), "the same state, another digest");
        }
        rig.check_rebuild(ROOMY);
    }
}
