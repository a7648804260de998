//! The world that P15 compiles, drawn from splitmix64 of seed 1: every run and every peer has the same.
//!
//! A hundred policies in each namespace, each selecting one of 50 apps and accepting a role and a team of any namespace
//! on one to three ports; one in twenty also accepts a /24 outside the mesh. Identities have an app, a role, a team and
//! a label that nobody selects; endpoints share them. 100 workloads run on the node.
use std::{net::Ipv4Addr, sync::Arc};

use anyhow::Context;
use axle_core::{
    log::Change,
    model::{
        Action, Cluster, ClusterSelector, Endpoint, Enforcement, IpBlock, Key, LabelSelector, Labels, Name, Namespace,
        Object, Peer, Peers, Policy, PortMatch, Ports, Protocol, Resource, Rule, Scope, Subject, Tier, Uid,
    },
};
use bytes::Bytes;
use ipnet::{IpNet, Ipv4Net};

/// The node's cluster.
pub(super) const HERE: Uid = Uid([1; 16]);
pub(super) const NODE: &str = "here";
/// Workloads of the node.
pub(super) const LOCALS: u32 = 100;
const APPS: u64 = 50;
const ROLES: u64 = 200;

/// The node.
#[expect(clippy::expect_used, reason = "a constant that is a name")]
pub(super) fn node() -> Name {
    Name::new(NODE).expect("a name")
}

/// The numbers of splitmix64.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % end
    }
}

/// What workloads are.
pub(super) struct Identity {
    pub(super) namespace: Name,
    pub(super) labels: Labels,
}

/// How large a world is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) policies: u32,
    pub(super) endpoints: u32,
    pub(super) identities: u32,
}

impl Size {
    /// Ten endpoints to a policy, four of each identity.
    pub(super) fn of(policies: u32) -> Self {
        Self { policies, endpoints: policies * 10, identities: policies * 10 / 4 }
    }
}

/// The world, and what can come to it.
pub(super) struct World {
    draw: Draw,
    namespaces: Vec<Name>,
    pub(super) identities: Vec<Identity>,
    /// The identity of each local workload.
    pub(super) locals: Vec<usize>,
    endpoints: u32,
    state: Vec<Change>,
    pub(super) policies: Vec<Policy>,
}

impl World {
    pub(super) fn new(size: Size) -> anyhow::Result<Self> {
        let namespaces =
            (0..(size.policies / 100).max(1)).map(|n| name(&format!("ns{n}"))).collect::<Result<_, _>>()?;
        let mut world = Self {
            draw: Draw(1),
            namespaces,
            identities: Vec::new(),
            locals: Vec::new(),
            endpoints: 0,
            state: Vec::new(),
            policies: Vec::new(),
        };
        let cluster = Cluster {
            name: name("here")?,
            region: String::new(),
            labels: Labels::new(),
            prefixes: vec!["10.0.0.0/8".parse()?],
            default_action: Action::Accept,
            draining: false,
        };
        world.state.push(put(Scope::Fleet, "", name("here")?, HERE, Resource::Cluster(cluster)));
        for (at, name) in (0u32..).zip(&world.namespaces) {
            let labels = Labels::from([("kubernetes.io/metadata.name".to_owned(), name.to_string())]);
            let namespace = Resource::Namespace(Namespace { name: name.clone(), labels });
            world.state.push(put(Scope::Cluster(HERE), "", name.clone(), uid(2, at), namespace));
        }
        (0..size.identities).for_each(|_| world.draw_identity());
        for _ in 0..LOCALS {
            let identity = world.draw.below(world.identities.len() as u64) as usize;
            world.locals.push(identity);
            let change = world.endpoint(identity, true)?;
            world.state.push(change);
        }
        for at in 0..size.endpoints {
            let change = world.endpoint(at as usize % world.identities.len(), false)?;
            world.state.push(change);
        }
        for _ in 0..size.policies {
            let change = world.new_policy()?;
            world.state.push(change);
        }
        Ok(world)
    }

    /// All of it, as it was at first.
    pub(super) fn state(&self) -> &[Change] {
        &self.state
    }

    /// The address of an endpoint of an identity.
    pub(super) fn address(identity: usize) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0a01_0000 + LOCALS + identity as u32)
    }

    /// The uid of a local workload.
    pub(super) fn local(at: usize) -> Uid {
        uid(3, at as u32)
    }

    fn draw_identity(&mut self) {
        let at = self.identities.len();
        let namespaces = self.namespaces.len();
        let labels = Labels::from([
            ("app".to_owned(), format!("a{}", at / namespaces % APPS as usize)),
            ("role".to_owned(), format!("r{}", self.draw.below(ROLES))),
            ("team".to_owned(), format!("t{}", self.draw.below(ROLES))),
            ("rev".to_owned(), format!("v{at}")),
        ]);
        self.identities.push(Identity { namespace: self.namespaces[at % namespaces].clone(), labels });
    }

    fn endpoint(&mut self, identity: usize, local: bool) -> anyhow::Result<Change> {
        let at = self.endpoints;
        self.endpoints += 1;
        let Identity { namespace, labels } = &self.identities[identity];
        let endpoint = Endpoint {
            namespace: namespace.clone(),
            name: name(&format!("w{at}"))?,
            node: if local { node() } else { name("elsewhere")? },
            service_account: "default".into(),
            labels: labels.clone(),
            addresses: vec![Ipv4Addr::from_bits(0x0a01_0000 + at).into()],
            named_ports: Vec::new(),
            started_ms: 1,
            ready: true,
            host: None,
        };
        let uid = uid(3, at);
        Ok(put(Scope::Cluster(HERE), "", name(&uid.to_string())?, uid, Resource::Endpoint(endpoint)))
    }

    /// Whether some local workload is the subject of a policy.
    fn is_here(&self, policy: &Policy) -> bool {
        self.locals.iter().map(|at| &self.identities[*at]).any(|local| {
            policy.namespace.as_ref() == Some(&local.namespace) && policy.subject.pods.matches(&local.labels)
        })
    }

    /// The numbers of the policies that are about a workload of the node.
    pub(super) fn policies_here(&self) -> Vec<usize> {
        let here = self.policies.iter().enumerate().filter(|(_, policy)| self.is_here(policy));
        here.map(|(at, _)| at).collect()
    }

    /// One more endpoint of an identity that some policy about a local workload accepts: of any other it would be no
    /// write at all.
    pub(super) fn endpoint_like(&mut self, at: usize) -> anyhow::Result<Change> {
        let here = self.policies.iter().filter(|policy| self.is_here(policy));
        let accepted: Vec<_> = here.flat_map(accepted_pods).collect();
        let is_accepted =
            |identity: &&usize| accepted.iter().any(|pods| pods.matches(&self.identities[**identity].labels));
        let all: Vec<usize> = (0..self.identities.len()).collect();
        let identity = all.iter().cycle().skip(at * 97).take(all.len()).find(is_accepted);
        let identity = *identity.context("no identity is accepted")?;
        self.endpoint(identity, false)
    }

    /// An endpoint of an identity that nobody had.
    pub(super) fn new_identity(&mut self) -> anyhow::Result<Change> {
        self.draw_identity();
        self.endpoint(self.identities.len() - 1, false)
    }

    fn draw_policy(&mut self, at: usize) -> anyhow::Result<Policy> {
        let namespace = self.namespaces[at % self.namespaces.len()].clone();
        let app = format!("a{}", self.draw.below(APPS));
        let mut peers = vec![
            pods("role", format!("r{}", self.draw.below(ROLES))),
            pods("team", format!("t{}", self.draw.below(ROLES))),
        ];
        let ports = self.draw_ports();
        if self.draw.below(20) == 0 {
            let network = Ipv4Net::new(Ipv4Addr::from_bits(0xac10_0000 + (self.draw.below(256) as u32) * 256), 24)?;
            peers.push(Peer::Networks(vec![IpBlock { cidr: IpNet::V4(network), except: Vec::new() }]));
        }
        let rule = Rule { name: String::new(), action: Action::Accept, peers: Peers::Of(peers), ports };
        let policy = Policy {
            name: name(&format!("p{at}"))?,
            namespace: Some(namespace),
            tier: Tier::Namespace,
            priority: 0,
            subject: Subject { pods: selects("app", app), ..Subject::default() },
            ingress: Some(vec![rule]),
            egress: None,
            enforcement: Enforcement::Enforce,
            disabled: false,
            description: String::new(),
            owner: String::new(),
        };
        Ok(policy)
    }

    fn draw_ports(&mut self) -> Ports {
        let ports = (0..=self.draw.below(3)).map(|_| {
            let port = 8000 + self.draw.below(100) as u16;
            PortMatch::Range { protocol: Protocol::Tcp, first: port, last: port }
        });
        Ports::Of(ports.collect())
    }

    /// One more policy.
    pub(super) fn new_policy(&mut self) -> anyhow::Result<Change> {
        let at = self.policies.len();
        let policy = self.draw_policy(at)?;
        self.policies.push(policy.clone());
        Ok(put_policy(at, policy))
    }

    /// A policy that is there, with the rules of another: its subject stays.
    pub(super) fn changed_policy(&mut self, at: usize) -> anyhow::Result<Change> {
        let drawn = self.draw_policy(at)?;
        let policy = Policy { subject: self.policies[at].subject.clone(), ..drawn };
        self.policies[at] = policy.clone();
        Ok(put_policy(at, policy))
    }

    /// A policy that is there, with other ports.
    pub(super) fn changed_ports(&mut self, at: usize) -> anyhow::Result<Change> {
        let ports = self.draw_ports();
        self.policies[at].ingress.iter_mut().flatten().for_each(|rule| rule.ports = ports.clone());
        Ok(put_policy(at, self.policies[at].clone()))
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.draw.below(end as u64) as usize
    }
}

/// The pods that a policy accepts.
pub(super) fn accepted_pods(policy: &Policy) -> impl Iterator<Item = &LabelSelector> {
    let lists = policy.ingress.iter().flatten().filter_map(|rule| match &rule.peers {
        Peers::Of(peers) => Some(peers),
        Peers::Any => None,
    });
    lists.flatten().filter_map(|peer| if let Peer::Pods { pods, .. } = peer { Some(pods) } else { None })
}

fn pods(key: &str, value: String) -> Peer {
    // Namespace selector {}: any.
    Peer::Pods { clusters: ClusterSelector::Own, namespaces: LabelSelector::default(), pods: selects(key, value) }
}

fn selects(key: &str, value: String) -> LabelSelector {
    LabelSelector { match_labels: Labels::from([(key.to_owned(), value)]), match_expressions: Vec::new() }
}

fn name(text: &str) -> anyhow::Result<Name> {
    Ok(Name::new(text)?)
}

fn uid(kind: u8, number: u32) -> Uid {
    let mut bytes = [kind; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Uid(bytes)
}

fn put_policy(at: usize, policy: Policy) -> Change {
    let namespace = policy.namespace.as_ref().map(ToString::to_string).unwrap_or_default();
    put(Scope::Cluster(HERE), &namespace, policy.name.clone(), uid(4, at as u32), Resource::Policy(policy))
}

fn put(scope: Scope, namespace: &str, name: Name, uid: Uid, resource: Resource) -> Change {
    let key = Key { kind: resource.kind(), scope, namespace: namespace.to_owned(), name };
    let (features, payload) = (Vec::new(), Bytes::new());
    Change::Put(Object { key, uid, revision: 1, features, payload, resource: Arc::new(resource) })
}
