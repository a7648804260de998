//! P15b: questions about policies before they are in force: verdicts of many flows, and what one policy changes.
//!
//! The world: a hundred policies in each namespace, each selecting one of 50 apps and accepting a role and a team on a
//! port; four endpoints of each identity; all drawn from splitmix64 of seed 1. The peer is the naive oracle, which reads
//! the specification and looks everything up anew for each flow; both must say the same.
use std::{hint::black_box, net::Ipv4Addr, sync::Arc, time::Instant};

use anyhow::ensure;
use axle_core::{
    log::Change,
    model::{
        Action, Cluster, ClusterSelector, Endpoint, Enforcement, Key, LabelSelector, Labels, Name, Namespace, Object,
        Peer, Peers, Policy, PortMatch, Ports, Protocol, Resource, Rule, Scope, Subject, Tier, Uid,
    },
    policy::{
        Flow, Target, World, evaluate,
        survey::{Judge, Room, diff, lint, predict},
        tables::{Limits, PortTable},
    },
};
use bytes::Bytes;

use crate::{Bench, Better, Row};

/// What the benchmark is and how to run it.
pub const BENCH: Bench = Bench { id: "P15b", about: "policy previews: probes, diff and lint without a hub", run };

const HERE: Uid = Uid([1; 16]);
const PROBES: usize = 100_000;
/// Nodes at which a change is tried, at most.
const NODES: usize = 1000;
/// The oracle takes its time.
const ORACLE_PROBES: usize = 50;

/// Measures.
///
/// # Errors
/// Where a quick answer is not the oracle's: then the times mean nothing.
pub fn run() -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let small = world(1_000, 10_000)?;
    let flows = flows(10_000);
    let start = Instant::now();
    let mut judge = Judge::new(&small, small.policies().collect());
    let verdicts: Vec<_> = flows.iter().map(|flow| judge.evaluate(*flow)).collect();
    let quick = milliseconds(start);
    let start = Instant::now();
    for (flow, verdict) in flows.iter().zip(&verdicts).take(ORACLE_PROBES) {
        ensure!(evaluate(&small, *flow) == *verdict, "{flow:?}");
    }
    let oracle = milliseconds(start) / ORACLE_PROBES as f64 * PROBES as f64;
    let name = "100,000 probes, 1,000 policies x 10,000 endpoints";
    rows.push(Row::new("P15b", name, "ms", quick).against("the naive oracle (from 50)", oracle, Better::Lower));
    for (policies, endpoints) in [(1_000, 10_000), (10_000, 100_000)] {
        let world = world(policies, endpoints)?;
        let change = put_policy(policies, &mut Draw(2), policies)?;
        let start = Instant::now();
        let gaps = black_box(diff(&world, std::slice::from_ref(&change)).report()).groups.len();
        let name = format!("diff of one new policy, {policies} policies x {endpoints} endpoints ({gaps} groups)");
        rows.push(Row::new("P15b", name, "ms", milliseconds(start)));
        let start = Instant::now();
        let room = |_: Uid, _: &Name| Room { limits: Limits::default(), used: None };
        let prediction = black_box(predict(&world, std::slice::from_ref(&change), &room, NODES));
        ensure!(prediction.concerned > 0 && prediction.refused.is_empty(), "{prediction:?}");
        let (nodes, seen) = (prediction.concerned, prediction.concerned - prediction.estimated);
        let name = format!("room for it, {policies} policies x {endpoints} endpoints ({seen} of {nodes} nodes)");
        rows.push(Row::new("P15b", name, "ms", milliseconds(start)));
    }
    let start = Instant::now();
    let findings = black_box(lint(&small, &small.policies().collect::<Vec<_>>(), None)).len();
    let name = format!("lint of 1,000 policies x 10,000 endpoints ({findings} findings)");
    rows.push(Row::new("P15b", name, "ms", milliseconds(start)));
    Ok(rows)
}

fn flows(endpoints: u32) -> Vec<Flow> {
    let mut draw = Draw(3);
    let mut address = || Ipv4Addr::from_bits(0x0a01_0000 + draw.below(endpoints)).into();
    let ends: Vec<_> = (0..PROBES).map(|_| (address(), address())).collect();
    let target = |at: usize| Target { table: PortTable::Tcp, number: 8000 + (at % 100) as u16 };
    (0..PROBES).zip(ends).map(|(at, (from, to))| Flow { from, to, target: target(at) }).collect()
}

/// The numbers of splitmix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % u64::from(end)) as u32
    }
}

fn world(policies: u32, endpoints: u32) -> anyhow::Result<World> {
    let mut draw = Draw(1);
    let mut world = World::default();
    let cluster = Cluster {
        name: Name::new("here")?,
        region: String::new(),
        labels: Labels::new(),
        prefixes: vec!["10.0.0.0/8".parse()?],
        default_action: Action::Accept,
        draining: false,
    };
    world.apply(&put(Scope::Fleet, "", "here", HERE, Resource::Cluster(cluster))?);
    let namespaces = (policies / 100).max(1);
    for at in 0..namespaces {
        let name = format!("ns{at}");
        let labels = Labels::from([("kubernetes.io/metadata.name".to_owned(), name.clone())]);
        let namespace = Resource::Namespace(Namespace { name: Name::new(&*name)?, labels });
        world.apply(&put(Scope::Cluster(HERE), "", &name, uid(2, at), namespace)?);
    }
    let identities: Vec<Labels> = (0..endpoints / 4)
        .map(|at| {
            let label = |key: &str, value: String| (key.to_owned(), value);
            Labels::from([
                label("app", format!("a{}", at / namespaces % 50)),
                label("role", format!("r{}", draw.below(200))),
                label("team", format!("t{}", draw.below(200))),
                label("rev", format!("v{at}")),
            ])
        })
        .collect();
    for at in 0..endpoints {
        let identity = at as usize % identities.len();
        let endpoint = Endpoint {
            namespace: Name::new(format!("ns{}", identity % namespaces as usize))?,
            name: Name::new(format!("w{at}"))?,
            node: Name::new(format!("n{}", at / 100))?,
            service_account: "default".into(),
            labels: identities[identity].clone(),
            addresses: vec![Ipv4Addr::from_bits(0x0a01_0000 + at).into()],
            named_ports: Vec::new(),
            started_ms: 1,
            ready: true,
            host: None,
        };
        let uid = uid(3, at);
        world.apply(&put(Scope::Cluster(HERE), "", &uid.to_string(), uid, Resource::Endpoint(endpoint))?);
    }
    for at in 0..policies {
        world.apply(&put_policy(at, &mut draw, policies)?);
    }
    Ok(world)
}

fn put_policy(at: u32, draw: &mut Draw, policies: u32) -> anyhow::Result<Change> {
    let namespace = format!("ns{}", at % (policies / 100).max(1));
    let select = |key: &str, value: String| LabelSelector {
        match_labels: Labels::from([(key.to_owned(), value)]),
        match_expressions: Vec::new(),
    };
    let peer = |pods| Peer::Pods { clusters: ClusterSelector::Own, namespaces: LabelSelector::default(), pods };
    let app = format!("a{}", draw.below(50));
    let peers = vec![
        peer(select("role", format!("r{}", draw.below(200)))),
        peer(select("team", format!("t{}", draw.below(200)))),
    ];
    let port = 8000 + draw.below(100) as u16;
    let ports = Ports::Of(vec![PortMatch::Range { protocol: Protocol::Tcp, first: port, last: port }]);
    let rule = Rule { name: String::new(), action: Action::Accept, peers: Peers::Of(peers), ports };
    let policy = Policy {
        name: Name::new(format!("p{at}"))?,
        namespace: Some(Name::new(&*namespace)?),
        tier: Tier::Namespace,
        priority: 0,
        subject: Subject { pods: select("app", app), ..Subject::default() },
        ingress: Some(vec![rule]),
        egress: None,
        enforcement: Enforcement::Enforce,
        disabled: false,
        description: String::new(),
        owner: String::new(),
    };
    put(Scope::Cluster(HERE), &namespace, &format!("p{at}"), uid(4, at), Resource::Policy(policy))
}

fn uid(kind: u8, number: u32) -> Uid {
    let mut bytes = [kind; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Uid(bytes)
}

fn put(scope: Scope, namespace: &str, name: &str, uid: Uid, resource: Resource) -> anyhow::Result<Change> {
    let key = Key { kind: resource.kind(), scope, namespace: namespace.to_owned(), name: Name::new(name)? };
    let (features, payload) = (Vec::new(), Bytes::new());
    Ok(Change::Put(Object { key, uid, revision: 1, features, payload, resource: Arc::new(resource) }))
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}
