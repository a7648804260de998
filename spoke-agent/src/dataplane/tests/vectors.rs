//! Policies as people write them, judged by the kernel: doors, compiler, tables and programs in one.
#[expect(dead_code, reason = "it is the bench of the core's vectors, which ask for more")]
#[path = "../../../../core/tests/vectors/bench.rs"]
mod bench;

use std::{net::IpAddr, time::Duration};

use axle_core::{
    model::Scope,
    policy::{
        Flow, Target,
        tables::{Direction, Plan, PortTable},
    },
};
use bench::{Bench, End};

use super::{
    model::forget,
    packet::{ICMP, SCTP, SYN, TCP, UDP, icmp, packet, ports, tcp_header},
    sandbox::{Sandbox, limits},
};
use crate::dataplane::{Attachment, DataPlane};

const A: &str = "10.1.0.1";
const B: &str = "10.1.0.2";
const PEERS: [&str; 8] = [A, B, "10.1.0.3", "10.2.0.1", "10.1.7.7", "10.2.7.7", "172.18.0.1", "192.0.2.1"];
const TARGETS: [(PortTable, u16); 7] = [
    (PortTable::Tcp, 80),
    (PortTable::Tcp, 8001),
    (PortTable::Tcp, 8080),
    (PortTable::Udp, 53),
    (PortTable::Udp, 80),
    (PortTable::Sctp, 80),
    (PortTable::Icmp, 8 << 8),
];

const NAMESPACED: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: b, namespace: shop}
spec:
  podSelector: {matchLabels: {app: b}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: a}}}, {ipBlock: {cidr: 10.2.0.0/16, except: [10.2.7.0/24]}}]
    ports: [{port: web}, {port: 8000, endPort: 8010}, {protocol: SCTP}, {protocol: UDP, port: dns}]
  egress: [{to: [{namespaceSelector: {matchLabels: {team: blue}}}]}]
";

const TIERS: &str = "
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: admin}
spec:
  tier: Admin
  priority: 2
  subject: {namespaces: {matchExpressions: [{key: team, operator: NotIn, values: [blue]}]}}
  ingress: [{action: Pass, from: [{namespaces: {}}], protocols: [{destinationNamedPort: web}]},
            {action: Deny, from: [{pods: {podSelector: {matchLabels: {app: a}}}}]}]
  egress: [{action: Accept, to: [{nodes: {}}]}, {action: Deny, to: [{networks: [172.18.0.0/16, 192.0.2.0/24]}]}]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: baseline}
spec:
  tier: Baseline
  priority: 2
  subject: {namespaces: {}}
  ingress: [{action: Accept, from: [{namespaces: {matchLabels: {team: blue}}}]}, {action: Deny, from: [{namespaces: {}}]}]
";

const OURS: &str = "
apiVersion: axle.dev/v1alpha1
kind: MeshNetworkPolicy
metadata: {name: mesh}
spec:
  tier: Admin
  priority: 1
  subject: {namespaces: {}}
  egress:
  - {action: Accept, to: [{clusters: {}, service: {namespace: shop, name: web}}], protocols: [{tcp: {}}, {icmp: {type: 8}}]}
  - {action: Deny, to: [{clusters: {regions: [west-region]}, namespaces: {}}]}
";

fn bench() -> Bench {
    let mut bench = Bench::new(limits());
    for (of, n) in [("east", 1), ("west", 2)] {
        bench.cluster(of, &[], &[&format!("10.{n}.0.0/16")]);
        bench.namespace(of, "shop", &[("team", "red")]);
        bench.namespace(of, "back", &[("team", "blue")]);
    }
    bench.node("east", "n2", &[], "172.18.0.1");
    bench.workload("east/shop/a", &[("app", "a")], A);
    bench.workload("east/shop/b", &[("app", "b")], B);
    bench.workload("east/back/c", &[("app", "c")], "10.1.0.3");
    bench.workload("west/shop/a", &[("app", "a")], "10.2.0.1");
    bench.export("west", "shop", "web", &[("app", "a")]);
    bench
}

fn bytes(flow: Flow) -> Vec<u8> {
    let Target { table, number } = flow.target;
    let [kind, code] = number.to_be_bytes();
    let (protocol, payload) = match table {
        PortTable::Tcp => (TCP, tcp_header(40_000, number, SYN)),
        PortTable::Udp => (UDP, ports(40_000, number)),
        PortTable::Sctp => (SCTP, ports(40_000, number)),
        _ => (ICMP, icmp(kind, code, 7, &[])),
    };
    packet(flow.from, flow.to, protocol, &payload)
}

/// What the kernel says at the ends of `own`'s flows is what tables and oracle say. Gives how many it accepts.
fn check(plane: &mut DataPlane, bench: &Bench, own: IpAddr) -> usize {
    let (mut accepted, mut attached) = (0, false);
    for peer in PEERS.map(|peer| peer.parse::<IpAddr>().expect("an address")).into_iter().filter(|peer| *peer != own) {
        for (table, number) in TARGETS {
            for (from, to) in [(own, peer), (peer, own)] {
                let flow = Flow { from, to, target: Target { table, number } };
                bench.verdict(flow);
                let is_own = |end: &End| (end.direction == Direction::Egress) == (from == own);
                let end = bench.ends(flow).into_iter().find(is_own).expect("the own end");
                if !attached {
                    let writes = bench.nodes[&end.cluster].0.rebuild().writes;
                    let (interface, adopt) = ("lo".to_owned(), Duration::ZERO);
                    let attachment = Attachment { local: end.local, interface, addresses: vec![own], adopt };
                    let failed = plane.replace(&Plan { writes, settle: Vec::new() }, &[attachment]).expect("tables");
                    assert!(failed.is_empty(), "{failed:?}");
                    attached = true;
                }
                let judged = plane.judge(end.local, end.direction, &bytes(flow), 1).expect("a verdict");
                assert_eq!(judged.accepted, bench.enforced(&end), "{flow:?} {end:?}");
                accepted += usize::from(judged.accepted);
                forget(plane);
            }
        }
    }
    accepted
}

#[test]
fn the_kernel_judges_as_the_documents_say() {
    let sandbox = Sandbox::enter();
    let mut bench = bench();
    let east = bench.scope("east");
    let mut plane = DataPlane::open(sandbox.settings()).expect("a data plane");
    let (mut accepted, mut asked) = (0, 0);
    for policies in [
        vec![(east, NAMESPACED)],
        vec![(Scope::Fleet, TIERS)],
        vec![(Scope::Fleet, OURS), (east, TIERS), (east, NAMESPACED)],
    ] {
        bench.clear();
        policies.into_iter().for_each(|(scope, text)| bench.apply(scope, text));
        for own in [A, B] {
            accepted += check(&mut plane, &bench, own.parse().expect("an address"));
            asked += (PEERS.len() - 1) * TARGETS.len() * 2;
        }
    }
    // Were all denied or accepted, agreement would mean little.
    assert!(accepted * 10 > asked * 2 && accepted * 10 < asked * 8, "{accepted} of {asked} accepted");
}
