//! The world that P15 compiles.
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
const NODE: &str = "here";
const LOCALS: u32 = 100;
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

struct Identity {
    namespace: Name,
    labels: Labels,
}

/// The world, and what can come to it.
pub(super) struct World {
    draw: Draw,
    namespaces: Vec<Name>,
    identities: Vec<Identity>,
    endpoints: u32,
    state: Vec<Change>,
    policies: Vec<(Name, Policy)>,
}

impl World {
    /// So many policies and endpoints, a quarter as many identities.
    pub(super) fn new(policies: u32, endpoints: u32) -> anyhow::Result<Self> {
        let namespaces = (0..(policies / 100).max(1)).map(|n| name(&format!("ns{n}"))).collect::<Result<_, _>>()?;
        let mut world = Self {
            draw: Draw(1),
            namespaces,
            identities: Vec::new(),
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
        };
        world.state.push(put(Scope::Fleet, "", name("here")?, HERE, Resource::Cluster(cluster)));
        for (at, name) in (0u32..).zip(&world.namespaces) {
            let labels = Labels::from([("kubernetes.io/metadata.name".to_owned(), name.to_string())]);
            let namespace = Resource::Namespace(Namespace { name: name.clone(), labels });
            world.state.push(put(Scope::Cluster(HERE), "", name.clone(), uid(2, at), namespace));
        }
        (0..endpoints / 4).for_each(|_| world.draw_identity());
        for _ in 0..LOCALS {
            let identity = world.draw.below(world.identities.len() as u64) as usize;
            let change = world.endpoint(identity, true)?;
            world.state.push(change);
        }
        for at in 0..endpoints {
            let change = world.endpoint(at as usize % world.identities.len(), false)?;
            world.state.push(change);
        }
        for _ in 0..policies {
            let change = world.new_policy()?;
            world.state.push(change);
        }
        Ok(world)
    }

    /// All of it.
    pub(super) fn state(&self) -> Vec<Change> {
        self.state.clone()
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
        };
        let uid = uid(3, at);
        Ok(put(Scope::Cluster(HERE), "", name(&uid.to_string())?, uid, Resource::Endpoint(endpoint)))
    }

    /// One more endpoint of an identity whose class has an entry already, or which needs none at all would be no write:
    /// so the identity of the local workload with this number, which is selected by somebody if any is.
    pub(super) fn endpoint_like(&mut self, at: u32) -> anyhow::Result<Change> {
        let wanted = self.accepted_identities();
        let identity = wanted.get(at as usize % wanted.len().max(1)).copied().context("no identity is accepted")?;
        self.endpoint(identity, false)
    }

    /// The identities whose role some policy of a local workload's app and namespace accepts.
    fn accepted_identities(&self) -> Vec<usize> {
        let locals = self.state.iter().filter_map(|change| match change {
            Change::Put(object) => match object.resource.as_ref() {
                Resource::Endpoint(endpoint) if endpoint.node.as_str() == NODE => Some(endpoint),
                _ => None,
            },
            Change::Delete { .. } => None,
        });
        let locals: Vec<_> = locals.collect();
        let in_force = self.policies.iter().filter(|(namespace, policy)| {
            locals.iter().any(|local| local.namespace == *namespace && policy.subject.pods.matches(&local.labels))
        });
        let peers: Vec<_> = in_force
            .flat_map(|(_, policy)| policy.ingress.iter().flatten())
            .filter_map(|rule| if let Peers::Of(peers) = &rule.peers { Some(peers) } else { None })
            .flatten()
            .filter_map(|peer| if let Peer::Pods { pods, .. } = peer { Some(pods) } else { None })
            .collect();
        let accepted =
            |(at, identity): (usize, &Identity)| peers.iter().any(|pods| pods.matches(&identity.labels)).then_some(at);
        self.identities.iter().enumerate().filter_map(accepted).collect()
    }

    /// An endpoint of an identity that nobody had.
    pub(super) fn new_identity(&mut self) -> anyhow::Result<Change> {
        self.draw_identity();
        self.endpoint(self.identities.len() - 1, false)
    }

    fn draw_policy(&mut self, at: u32) -> anyhow::Result<(Name, Policy)> {
        let namespace = self.namespaces[at as usize % self.namespaces.len()].clone();
        let app = format!("a{}", self.draw.below(APPS));
        let mut peers = vec![
            pods("role", format!("r{}", self.draw.below(ROLES))),
            pods("team", format!("t{}", self.draw.below(ROLES))),
        ];
        let ports = (0..=self.draw.below(3)).map(|_| {
            let port = 8000 + self.draw.below(100) as u16;
            PortMatch::Range { protocol: Protocol::Tcp, first: port, last: port }
        });
        let ports = Ports::Of(ports.collect());
        if self.draw.below(20) == 0 {
            let network = Ipv4Net::new(Ipv4Addr::from_bits(0x0a01_0000 + (self.draw.below(256) as u32) * 256), 24)?;
            peers.push(Peer::Networks(vec![IpBlock { cidr: IpNet::V4(network), except: Vec::new() }]));
        }
        let rule = Rule { name: String::new(), action: Action::Accept, peers: Peers::Of(peers), ports };
        let policy = Policy {
            name: name(&format!("p{at}"))?,
            namespace: Some(namespace.clone()),
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
        Ok((namespace, policy))
    }

    /// One more policy.
    pub(super) fn new_policy(&mut self) -> anyhow::Result<Change> {
        let at = self.policies.len() as u32;
        let (namespace, policy) = self.draw_policy(at)?;
        self.policies.push((namespace.clone(), policy.clone()));
        Ok(put_policy(namespace, at, policy))
    }

    /// A policy that is there, with the rules of another: its subject stays.
    pub(super) fn changed_policy(&mut self, at: u32) -> anyhow::Result<Change> {
        let (namespace, before) = self.policies[at as usize].clone();
        let (_, drawn) = self.draw_policy(at)?;
        Ok(put_policy(namespace, at, Policy { subject: before.subject, ..drawn }))
    }
}

fn pods(key: &str, value: String) -> Peer {
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

fn put_policy(namespace: Name, at: u32, policy: Policy) -> Change {
    let name = policy.name.clone();
    put(Scope::Cluster(HERE), namespace.as_str(), name, uid(4, at), Resource::Policy(policy))
}

fn put(scope: Scope, namespace: &str, name: Name, uid: Uid, resource: Resource) -> Change {
    let key = Key { kind: resource.kind(), scope, namespace: namespace.to_owned(), name };
    let (features, payload) = (Vec::new(), Bytes::new());
    Change::Put(Object { key, uid, revision: 1, features, payload, resource: Arc::new(resource) })
}
