//! The peer: Cilium's policy engine, a Go program of this repository that compiles the same world in the same run.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use axle_core::{
    log::Change,
    model::{IpBlock, Labels, Peer, Peers, Policy, PortMatch, Ports, Resource},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::world::{Identity, World};

/// A packet to a local workload that both sides judge.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Probe {
    /// Which local workload receives it.
    pub(super) local: usize,
    /// The identity that sends it, or
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) peer: Option<usize>,
    /// the block that it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) block: Option<usize>,
    /// The TCP port.
    pub(super) port: u16,
}

/// What the peer is given.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Task {
    pub(super) rounds: usize,
    pub(super) identities: Vec<Value>,
    /// Every block that some policy names.
    pub(super) blocks: Vec<String>,
    pub(super) locals: Vec<usize>,
    pub(super) policies: Vec<Value>,
    pub(super) new_identities: Vec<Value>,
    pub(super) added: Vec<Value>,
    pub(super) ports: Vec<Value>,
    pub(super) changed: Vec<Value>,
    pub(super) probes: Vec<Probe>,
}

/// What it measured.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Results {
    pub(super) version: String,
    pub(super) parse_ms: Vec<f64>,
    pub(super) compile_ms: Vec<f64>,
    pub(super) identity_us: Vec<f64>,
    pub(super) added_us: Vec<f64>,
    pub(super) ports_us: Vec<f64>,
    pub(super) changed_us: Vec<f64>,
    pub(super) heap_bytes: f64,
    pub(super) entries: f64,
    pub(super) verdicts: Vec<bool>,
}

/// Where `make bench-peers` puts the program.
fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench/peers/cilium-policy")
}

/// Has the peer do the task; `None` where it has not been built.
pub(super) fn run(task: &Task) -> anyhow::Result<Option<Results>> {
    let program = program();
    if !program.exists() {
        return Ok(None);
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("world.json");
    fs::write(&path, serde_json::to_vec(task)?)?;
    let output = Command::new(&program).arg(&path).output().with_context(|| format!("{}", program.display()))?;
    ensure!(output.status.success(), "the peer failed: {}", String::from_utf8_lossy(&output.stderr));
    let results: Results = serde_json::from_slice(&output.stdout).context("what the peer says")?;
    ensure!(results.verdicts.len() == task.probes.len(), "the peer judged {} probes", results.verdicts.len());
    Ok(Some(results))
}

/// An identity, as the peer reads it.
pub(super) fn identity(identity: &Identity) -> Value {
    pod(identity.namespace.as_str(), &identity.labels)
}

/// The identity of an endpoint.
pub(super) fn identity_of(change: &Change) -> Option<Value> {
    let Change::Put(object) = change else { return None };
    let Resource::Endpoint(endpoint) = object.resource.as_ref() else { return None };
    Some(pod(endpoint.namespace.as_str(), &endpoint.labels))
}

fn pod(namespace: &str, labels: &Labels) -> Value {
    json!({ "namespace": namespace, "labels": labels })
}

/// A policy as a Kubernetes NetworkPolicy.
pub(super) fn network_policy(policy: &Policy) -> Value {
    let rules: Vec<Value> = policy
        .ingress
        .iter()
        .flatten()
        .map(|rule| {
            let from: Vec<Value> = match &rule.peers {
                Peers::Any => Vec::new(),
                Peers::Of(peers) => peers.iter().flat_map(from).collect(),
            };
            let ports: Vec<Value> = match &rule.ports {
                Ports::Any => Vec::new(),
                Ports::Of(ports) => ports.iter().filter_map(port).collect(),
            };
            json!({ "from": from, "ports": ports })
        })
        .collect();
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "name": policy.name.as_str(), "namespace": policy.namespace.as_ref().map(|name| name.as_str()) },
        "spec": {
            "podSelector": { "matchLabels": policy.subject.pods.match_labels },
            "policyTypes": ["Ingress"],
            "ingress": rules,
        },
    })
}

fn from(peer: &Peer) -> Vec<Value> {
    match peer {
        Peer::Pods { pods, .. } => {
            vec![json!({ "namespaceSelector": {}, "podSelector": { "matchLabels": pods.match_labels } })]
        }
        Peer::Networks(blocks) => blocks.iter().map(|block| json!({ "ipBlock": { "cidr": block.cidr } })).collect(),
        _ => Vec::new(),
    }
}

fn port(port: &PortMatch) -> Option<Value> {
    match port {
        PortMatch::Range { first, .. } => Some(json!({ "protocol": "TCP", "port": first })),
        _ => None,
    }
}

/// The blocks that policies name.
pub(super) fn blocks<'p>(policies: impl Iterator<Item = &'p Policy>) -> Vec<IpBlock> {
    let rules = policies.flat_map(|policy| policy.ingress.iter().flatten());
    let peers = rules.filter_map(|rule| if let Peers::Of(peers) = &rule.peers { Some(peers) } else { None });
    let blocks = peers.flatten().filter_map(|peer| if let Peer::Networks(blocks) = peer { Some(blocks) } else { None });
    let mut blocks: Vec<_> = blocks.flatten().cloned().collect();
    blocks.sort_by_key(|block| block.cidr);
    blocks.dedup();
    blocks
}

/// Packets that try the world's policies: half at random, half such that some policy accepts the sender or the port.
pub(super) fn probes(world: &mut World, count: usize, blocks: &[IpBlock]) -> Vec<Probe> {
    let here = world.policies_here();
    let mut probes = Vec::with_capacity(count);
    while probes.len() < count {
        let (local, peer) = (world.below(world.locals.len()), world.below(world.identities.len()));
        let port = 8000 + world.below(100) as u16;
        let mut probe = Probe { local, peer: Some(peer), block: None, port };
        if probes.len() % 2 == 0 && !here.is_empty() {
            let policy = &world.policies[here[probes.len() / 2 % here.len()]];
            let subject = |at: &usize| {
                let local = &world.identities[world.locals[*at]];
                policy.namespace.as_ref() == Some(&local.namespace) && policy.subject.pods.matches(&local.labels)
            };
            let accepted = |at: &usize| {
                super::world::accepted_pods(policy).any(|pods| pods.matches(&world.identities[*at].labels))
            };
            let named = policy.ingress.iter().flatten().find_map(|rule| match &rule.ports {
                Ports::Of(ports) => ports.iter().find_map(|port| match port {
                    PortMatch::Range { first, .. } => Some(*first),
                    _ => None,
                }),
                Ports::Any => None,
            });
            probe.local = (0..world.locals.len()).find(subject).unwrap_or(local);
            probe.peer = (peer..world.identities.len()).find(accepted).or(Some(peer));
            probe.port = named.unwrap_or(port);
            // The policies with blocks are few: their packets come from the blocks.
            if let Some(block) = self::blocks(std::iter::once(policy)).first() {
                probe.block = blocks.iter().position(|known| known == block);
                probe.peer = None;
            }
        }
        probes.push(probe);
    }
    probes
}
