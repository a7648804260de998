use axle_core::{codec::Codec, model::Kind};
use axle_proto::{convert::Wire, v1};
use prost::Message;

use super::sample;

fn policy(spoil: impl FnOnce(&mut v1::Policy)) -> Result<(), String> {
    let mut wire = v1::Policy::from(&sample::policy());
    spoil(&mut wire);
    Wire.decode(Kind::Policy, &wire.encode_to_vec().into()).map(drop)
}

fn rule(spoil: impl FnOnce(&mut v1::Rule)) -> Result<(), String> {
    policy(|policy| spoil(&mut policy.ingress.as_mut().unwrap().rules[0]))
}

fn peer(index: usize, spoil: impl FnOnce(&mut v1::peer::Peer)) -> Result<(), String> {
    rule(|rule| {
        let Some(v1::peers::Peers::Of(list)) = &mut rule.peers.as_mut().unwrap().peers else { panic!("a list") };
        spoil(list.peers[index].peer.as_mut().unwrap());
    })
}

fn port(port: v1::port_match::Port) -> Result<(), String> {
    rule(|rule| {
        let list = v1::PortList { ports: vec![v1::PortMatch { port: Some(port) }] };
        rule.ports = Some(v1::Ports { ports: Some(v1::ports::Ports::Of(list)) });
    })
}

fn range(protocol: v1::Protocol, first: u32, last: u32) -> Result<(), String> {
    port(v1::port_match::Port::Range(v1::PortRange { protocol: protocol.into(), first, last }))
}

fn says(result: Result<(), String>, wanted: &str) {
    let error = result.expect_err(wanted);
    assert!(error.contains(wanted), "{error:?} does not say {wanted:?}");
}

#[test]
fn what_is_absent_from_a_policy_is_never_taken_as_everything() {
    assert_eq!(policy(|_| ()), Ok(()));
    says(policy(|policy| policy.subject = None), "subject: got nothing");
    says(policy(|policy| policy.subject.as_mut().unwrap().pods = None), "subject.pods: got nothing");
    says(policy(|policy| policy.subject.as_mut().unwrap().namespaces = None), "subject.namespaces: got nothing");
    says(policy(|policy| policy.subject.as_mut().unwrap().clusters = None), "subject.clusters: got nothing");
    says(rule(|rule| rule.peers = None), "ingress[0].peers: got nothing");
    says(rule(|rule| rule.peers = Some(v1::Peers { peers: None })), "ingress[0].peers: got nothing");
    says(rule(|rule| rule.ports = None), "ingress[0].ports: got nothing");
    says(rule(|rule| rule.ports = Some(v1::Ports { ports: None })), "ingress[0].ports: got nothing");
    let pods = |spoil: fn(&mut v1::PodPeer)| {
        peer(0, |peer| {
            if let v1::peer::Peer::Pods(pods) = peer {
                spoil(pods)
            }
        })
    };
    says(pods(|pods| pods.pods = None), "ingress[0].peers[0].pods: got nothing");
    says(pods(|pods| pods.namespaces = None), "ingress[0].peers[0].namespaces: got nothing");
    says(pods(|pods| pods.clusters = None), "ingress[0].peers[0].clusters: got nothing");
    says(pods(|pods| pods.clusters = Some(v1::ClusterSelector { of: None })), "clusters.of: got nothing");
}

/// A receiver cannot deny by what a name leads to, since that may be nothing: it does not take such a rule.
#[test]
fn peers_by_name_only_accept() {
    let denies = |of: v1::peer::Peer| {
        rule(|rule| {
            rule.action = v1::Action::Deny.into();
            let peers = v1::PeerList { peers: vec![v1::Peer { peer: Some(of) }] };
            rule.peers = Some(v1::Peers { peers: Some(v1::peers::Peers::Of(peers)) });
        })
    };
    let own = || Some(v1::ClusterSelector { of: Some(v1::cluster_selector::Of::Own(v1::Empty {})) });
    let domains = v1::DomainPeer { names: vec!["*.example.com".into()] };
    says(denies(v1::peer::Peer::Domains(domains)), "ingress[0].action: got Deny; wanted Accept");
    let service = v1::ServicePeer { clusters: own(), namespace: "shop".into(), name: "web".into() };
    says(denies(v1::peer::Peer::Service(service)), "ingress[0].action: got Deny; wanted Accept");
    let short = v1::IdentityPeer { clusters: own(), names: vec![vec![0; 15].into()] };
    says(denies(v1::peer::Peer::Identities(short)), "names[0].name: got 15 bytes");
}

#[test]
fn enumerations_out_of_range_and_unset_are_refused() {
    for (number, said) in [(0, "unspecified"), (99, "99")] {
        says(policy(|policy| policy.tier = number), &format!("tier: got {said}"));
        says(policy(|policy| policy.enforcement = number), &format!("enforcement: got {said}"));
        says(rule(|rule| rule.action = number), &format!("ingress[0].action: got {said}"));
        says(port(v1::port_match::Port::Protocol(number)), &format!("ports[0].protocol: got {said}"));
    }
    says(policy(|policy| policy.priority = 1001), "priority: got 1001; wanted 0 to 1000");
    says(policy(|policy| policy.priority = 70_000), "priority: got 70000");
}

#[test]
fn ports_and_blocks_that_cannot_be_are_refused() {
    use v1::Protocol::{Icmp, Tcp};
    assert_eq!(range(Tcp, 1, 65_535), Ok(()));
    says(range(Tcp, 0, 80), "first: got 0; wanted a port from 1 to 65535");
    says(range(Tcp, 1, 65_536), "last: got 65536");
    says(range(Tcp, 90, 80), "at least the first port, 90");
    says(range(Icmp, 1, 80), "TCP, UDP or SCTP");
    let icmp = |protocol: v1::Protocol, r#type, code| {
        port(v1::port_match::Port::Icmp(v1::IcmpType { protocol: protocol.into(), r#type, code }))
    };
    assert_eq!(icmp(Icmp, 255, Some(255)), Ok(()));
    says(icmp(Icmp, 256, None), "type: got 256");
    says(icmp(Icmp, 8, Some(256)), "code: got 256");
    says(icmp(Tcp, 8, None), "wanted Icmp or Icmpv6");
    let block = |cidr: &str, except: &str| {
        peer(2, |peer| {
            let block = v1::IpBlock { cidr: cidr.into(), except: vec![except.into()] };
            *peer = v1::peer::Peer::Networks(v1::NetworkPeer { blocks: vec![block] });
        })
    };
    assert_eq!(block("10.0.0.0/8", "10.1.0.0/16"), Ok(()));
    says(block("10.0.0.1/8", "10.1.0.0/16"), "blocks[0].cidr: got 10.0.0.1/8; wanted no host bits: 10.0.0.0/8");
    says(block("10.0.0.0/8", "11.0.0.0/16"), "wanted a part of 10.0.0.0/8");
    says(block("10.0.0.0/33", "10.1.0.0/16"), "cidr");
}

#[test]
fn selectors_that_mean_nothing_are_refused() {
    let expression = |operator: v1::Operator, values: &[&str]| {
        policy(|policy| {
            let values = values.iter().map(ToString::to_string).collect();
            let requirement = v1::Requirement { key: "k".into(), operator: operator.into(), values };
            let selector = v1::LabelSelector { match_labels: Default::default(), match_expressions: vec![requirement] };
            policy.subject.as_mut().unwrap().pods = Some(selector);
        })
    };
    assert_eq!(expression(v1::Operator::In, &["a"]), Ok(()));
    says(expression(v1::Operator::In, &[]), "at least one value");
    says(expression(v1::Operator::NotIn, &[]), "at least one value");
    says(expression(v1::Operator::Exists, &["a"]), "no values");
    says(expression(v1::Operator::Unspecified, &["a"]), "operator: got unspecified");
}

#[test]
fn other_kinds_are_strict_too() {
    let cases: Vec<(Kind, Vec<u8>, &str)> = vec![
        (Kind::Node, v1::Node { name: "Not A Name".into(), ..Default::default() }.encode_to_vec(), "name: got"),
        (
            Kind::Node,
            v1::Node { name: "n".into(), addresses: vec![vec![1, 2, 3].into()], ..Default::default() }.encode_to_vec(),
            "addresses[0]: got 3 bytes",
        ),
        (
            Kind::Cluster,
            v1::Cluster { name: "c".into(), default_action: v1::Action::Pass.into(), ..Default::default() }
                .encode_to_vec(),
            "nothing decides after the default",
        ),
        (
            Kind::Cluster,
            v1::Cluster {
                name: "c".into(),
                default_action: 1,
                prefixes: vec!["10.0.0.1/8".into()],
                ..Default::default()
            }
            .encode_to_vec(),
            "prefixes[0]: got 10.0.0.1/8",
        ),
        (
            Kind::ServiceExport,
            v1::ServiceExport { namespace: "a".into(), name: "b".into(), ..Default::default() }.encode_to_vec(),
            "ports: got none",
        ),
        (
            Kind::EndpointSlice,
            v1::EndpointSlice { namespace: "a".into(), name: "b".into(), service: "c".into(), backends: None }
                .encode_to_vec(),
            "backends: got nothing",
        ),
        (
            Kind::Service,
            v1::Service {
                namespace: "a".into(),
                name: "b".into(),
                traffic: Some(v1::Traffic { internal: 9, ..Default::default() }),
                ..Default::default()
            }
            .encode_to_vec(),
            "traffic.internal: got 9",
        ),
        (
            Kind::ServiceImport,
            v1::ServiceImport {
                namespace: "a".into(),
                name: "b".into(),
                traits: Some(v1::ServiceTraits { families: vec![1, 1], ..Default::default() }),
                ..Default::default()
            }
            .encode_to_vec(),
            "traits.families[1]: got a family a second time",
        ),
        (Kind::Fleet, v1::Fleet { vip4: "x".into(), ..Default::default() }.encode_to_vec(), "vip4: got \"x\""),
        (Kind::Endpoint, vec![0xff, 0xff], "payload: got"),
    ];
    for (kind, payload, wanted) in cases {
        says(Wire.decode(kind, &payload.into()).map(drop), wanted);
    }
}
