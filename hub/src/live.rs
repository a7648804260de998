//! What the hub hears of its spokes: who is connected, how far each is, what each node's kernel holds, which flows are
//! judged. Kept in memory only: spokes say it again when they come back. What other hubs hear completes it.
mod elsewhere;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axle_core::model::{Name, Uid};
use axle_proto::v1::{Flow, FlowBatch, NodeStatus, NodeStatuses};
use axle_transport::sync::SessionCounters;
use parking_lot::RwLock;
use prost::Message as _;
use tokio::sync::{broadcast, watch};

use crate::store::{Published, Report};
use elsewhere::Elsewhere;

/// Flows kept for a reader that is slow; older ones are lost to it, and counted.
const FLOW_BACKLOG: usize = 4096;
/// Nodes of one cluster whose statuses are kept: as many as Kubernetes supports in one.
const MOST_NODES: usize = 5_000;
/// A spoke that was silent for this many heartbeats is not fresh.
const FRESH_HEARTBEATS: u32 = 3;

/// What the hub hears of its spokes.
#[derive(Debug)]
pub struct Live {
    heartbeat: Duration,
    spokes: RwLock<BTreeMap<Uid, Known>>,
    elsewhere: RwLock<Elsewhere>,
    changes: watch::Sender<u64>,
    flows: broadcast::Sender<Arc<Flow>>,
    /// Events that were lost before they reached the hub, as the spokes count them.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    sessions: u32,
    heard: Option<Instant>,
    received: u64,
    counters: Arc<SessionCounters>,
    nodes: BTreeMap<String, NodeStatus>,
    /// Moves with each change.
    version: u64,
    /// Moves with each change of what the nodes say, and with each session: by far the most of what is told.
    said: u64,
    told: Option<Told>,
}

/// What other hubs were told of a spoke, or are to be.
#[derive(Debug, Clone, Copy)]
pub struct Told {
    cluster: Uid,
    version: u64,
    said: u64,
    at: Instant,
    /// When they were last told what the nodes say.
    whole: Instant,
}

/// What is known of one spoke.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spoke {
    /// Whether its relay has a session.
    pub connected: bool,
    /// Whether it was heard of within three heartbeats.
    pub fresh: bool,
    /// How long ago it was heard of; `None`: never since the hub started.
    pub silence: Option<Duration>,
    /// The revision that its relay's copy has reached.
    pub received: u64,
    /// Sessions that resumed by revision.
    pub resumes: u64,
    /// Sessions that needed a snapshot.
    pub resyncs: u64,
    /// What its nodes last said, by name.
    pub nodes: BTreeMap<String, NodeStatus>,
}

/// A spoke's session. The spoke is connected while one of these lives.
#[derive(Debug)]
pub struct Connection {
    live: Arc<Live>,
    cluster: Uid,
}

impl Live {
    /// Nothing heard yet. `heartbeat` is how often a spoke says something.
    #[must_use]
    pub fn new(heartbeat: Duration) -> Arc<Self> {
        Arc::new(Self {
            heartbeat,
            spokes: RwLock::default(),
            elsewhere: RwLock::default(),
            changes: watch::Sender::new(0),
            flows: broadcast::Sender::new(FLOW_BACKLOG),
            lost: AtomicU64::new(0),
        })
    }

    /// A spoke's session begins.
    #[must_use]
    pub fn join(self: &Arc<Self>, cluster: Uid) -> Connection {
        self.spokes.write().entry(cluster).or_default();
        self.update(cluster, |spoke| {
            spoke.sessions += 1;
            spoke.said += 1;
        });
        Connection { live: Arc::clone(self), cluster }
    }

    /// Forgets a cluster that was removed.
    pub fn forget(&self, cluster: Uid) {
        self.spokes.write().remove(&cluster);
        self.tick();
    }

    /// Forgets a node that was removed.
    pub fn forget_node(&self, cluster: Uid, node: &str) {
        if let Some(spoke) = self.spokes.write().get_mut(&cluster) {
            spoke.nodes.remove(node);
            spoke.version += 1;
            spoke.said += 1;
        }
        self.tick();
    }

    /// Passes a spoke's flows on. What it says of its cluster is not believed: the certificate's counts.
    pub fn report(&self, cluster: Uid, batch: FlowBatch) {
        self.lost.fetch_add(batch.dropped, Ordering::Relaxed);
        for mut flow in batch.flows {
            flow.cluster = cluster.0.to_vec().into();
            // Nobody listening is no fault.
            let _ = self.flows.send(Arc::new(flow));
        }
    }

    /// Flows from now on.
    #[must_use]
    pub fn flows(&self) -> broadcast::Receiver<Arc<Flow>> {
        self.flows.subscribe()
    }

    /// How many listen to flows now.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.flows.receiver_count()
    }

    /// Events lost on their way to the hub since it started.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Changes each time anything here does, but for the passing of time.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How many follow the changes now.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.changes.receiver_count()
    }

    /// What is known of every spoke that was heard of, here or by another hub.
    #[must_use]
    pub fn spokes(&self) -> BTreeMap<Uid, Spoke> {
        let mut spokes = self.spokes.read().iter().map(|(uid, known)| (*uid, self.view(known))).collect();
        self.elsewhere.read().complete(&mut spokes, self.heartbeat);
        spokes
    }

    /// What the other hubs are to be told now: what changed, and twice a heartbeat that it still holds. What the nodes say
    /// is left out if they were told the same less than half a heartbeat ago.
    #[must_use]
    pub fn due(&self) -> Vec<(Report, Told)> {
        let (now, patience) = (Instant::now(), self.heartbeat / 2);
        let due = |(cluster, known): (&Uid, &Known)| {
            let told = known.told.filter(|told| known.sessions == 0 || told.at + patience > now);
            if told.is_some_and(|told| told.version == known.version) {
                return None;
            }
            let still = known.told.filter(|told| told.said == known.said && told.whole + patience > now);
            let whole = still.map(|told| told.whole);
            let statuses = || NodeStatuses { statuses: known.nodes.values().cloned().collect() };
            let report = Report {
                cluster: *cluster,
                version: known.said,
                connected: known.sessions > 0,
                silence: known.heard.map(|heard| heard.elapsed()).unwrap_or_default(),
                received: known.received,
                resumes: known.counters.resumes(),
                resyncs: known.counters.snapshots(),
                statuses: whole.is_none().then(|| statuses().encode_to_vec()),
            };
            let (version, said) = (known.version, known.said);
            Some((report, Told { cluster: *cluster, version, said, at: now, whole: whole.unwrap_or(now) }))
        };
        self.spokes.read().iter().filter_map(due).collect()
    }

    /// The other hubs were told this.
    pub fn told(&self, all: &[Told]) {
        let mut spokes = self.spokes.write();
        for told in all {
            if let Some(known) = spokes.get_mut(&told.cluster) {
                known.told = Some(*told);
            }
        }
    }

    /// Clusters, hubs and versions of which other hubs were heard.
    #[must_use]
    pub fn heard_elsewhere(&self) -> Vec<(Uid, Uid, u64)> {
        self.elsewhere.read().known()
    }

    /// All that other hubs tell now.
    pub fn hears(&self, published: Vec<Published>) {
        let news = self.elsewhere.write().take(published);
        if news {
            self.tick();
        }
    }

    fn view(&self, known: &Known) -> Spoke {
        let silence = known.heard.map(|heard| heard.elapsed());
        let connected = known.sessions > 0;
        Spoke {
            connected,
            fresh: connected && silence.is_some_and(|silence| silence <= self.heartbeat * FRESH_HEARTBEATS),
            silence,
            received: known.received,
            resumes: known.counters.resumes(),
            resyncs: known.counters.snapshots(),
            nodes: known.nodes.clone(),
        }
    }

    /// Changes what is known of a spoke; one that was forgotten stays so, whatever its last session still says.
    fn update(&self, cluster: Uid, change: impl FnOnce(&mut Known)) {
        if let Some(spoke) = self.spokes.write().get_mut(&cluster) {
            spoke.heard = Some(Instant::now());
            spoke.version += 1;
            change(spoke);
        }
        self.tick();
    }

    fn tick(&self) {
        self.changes.send_modify(|change| *change = change.wrapping_add(1));
    }
}

impl Connection {
    /// It said something.
    pub fn heard(&self) {
        // A heartbeat changes nothing that anybody waits for.
        if let Some(spoke) = self.live.spokes.write().get_mut(&self.cluster) {
            spoke.heard = Some(Instant::now());
        }
    }

    /// Where the driver of its sessions counts how they began.
    #[must_use]
    pub fn counters(&self) -> Arc<SessionCounters> {
        self.live.spokes.read().get(&self.cluster).map(|spoke| spoke.counters.clone()).unwrap_or_default()
    }

    /// Its relay's copy has reached this revision.
    pub fn received(&self, revision: u64) {
        self.live.update(self.cluster, |spoke| spoke.received = revision);
    }

    /// What its nodes say now; a node that is not named said nothing new. Of so many nodes, and no more.
    pub fn statuses(&self, statuses: Vec<NodeStatus>) {
        let mut left_out = 0_usize;
        self.live.update(self.cluster, |spoke| {
            for status in statuses {
                let fits = spoke.nodes.len() < MOST_NODES || spoke.nodes.contains_key(&status.node);
                if fits && Name::new(status.node.as_str()).is_ok() {
                    spoke.said += u64::from(spoke.nodes.get(&status.node) != Some(&status));
                    spoke.nodes.insert(status.node.clone(), status);
                } else {
                    left_out += 1;
                }
            }
        });
        if left_out > 0 {
            tracing::warn!(
                cluster.uid = %self.cluster, left_out, limit = MOST_NODES,
                "a cluster reports more nodes than are kept, or names that none can have: these statuses are not shown"
            );
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut spokes = self.live.spokes.write();
        if let Some(spoke) = spokes.get_mut(&self.cluster) {
            spoke.sessions = spoke.sessions.saturating_sub(1);
            spoke.version += 1;
        }
        drop(spokes);
        self.live.tick();
    }
}

#[cfg(test)]
mod tests;
