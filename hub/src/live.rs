//! What the hub hears of its spokes: who is connected, how far each is, what each node's kernel holds, which flows are
//! judged. Kept in memory only: spokes say it again when they come back.
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axle_core::model::Uid;
use axle_proto::v1::{Flow, FlowBatch, NodeStatus};
use axle_transport::sync::SessionCounters;
use parking_lot::RwLock;
use tokio::sync::{broadcast, watch};

/// Flows kept for a reader that is slow; older ones are lost to it, and counted.
const FLOW_BACKLOG: usize = 4096;
/// A spoke that was silent for this many heartbeats is not fresh.
const FRESH_HEARTBEATS: u32 = 3;

/// What the hub hears of its spokes.
#[derive(Debug)]
pub struct Live {
    heartbeat: Duration,
    spokes: RwLock<BTreeMap<Uid, Known>>,
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
            changes: watch::Sender::new(0),
            flows: broadcast::Sender::new(FLOW_BACKLOG),
            lost: AtomicU64::new(0),
        })
    }

    /// A spoke's session begins.
    #[must_use]
    pub fn join(self: &Arc<Self>, cluster: Uid) -> Connection {
        self.spokes.write().entry(cluster).or_default();
        self.update(cluster, |spoke| spoke.sessions += 1);
        Connection { live: Arc::clone(self), cluster }
    }

    /// Forgets a cluster that was removed.
    pub fn forget(&self, cluster: Uid) {
        self.spokes.write().remove(&cluster);
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

    /// What is known of every spoke that was heard of.
    #[must_use]
    pub fn spokes(&self) -> BTreeMap<Uid, Spoke> {
        self.spokes.read().iter().map(|(uid, known)| (*uid, self.view(known))).collect()
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

    /// What its nodes say now; a node that is not named said nothing new.
    pub fn statuses(&self, statuses: Vec<NodeStatus>) {
        let named = statuses.into_iter().map(|status| (status.node.clone(), status));
        self.live.update(self.cluster, |spoke| spoke.nodes.extend(named));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut spokes = self.live.spokes.write();
        if let Some(spoke) = spokes.get_mut(&self.cluster) {
            spoke.sessions = spoke.sessions.saturating_sub(1);
        }
        drop(spokes);
        self.live.tick();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Uid = Uid([7; 16]);

    fn spoke(live: &Live) -> Spoke {
        live.spokes().remove(&CLUSTER).unwrap()
    }

    #[test]
    fn a_spoke_is_connected_while_one_of_its_sessions_lives() {
        let live = Live::new(Duration::from_secs(10));
        assert!(live.spokes().is_empty());
        let first = live.join(CLUSTER);
        let second = live.join(CLUSTER);
        second.received(5);
        second.statuses(vec![NodeStatus { node: "n1".into(), ..NodeStatus::default() }]);
        drop(first);
        assert!(spoke(&live).connected && spoke(&live).fresh);
        drop(second);
        let gone = spoke(&live);
        assert!(!gone.connected && !gone.fresh);
        assert_eq!((gone.received, gone.nodes.len()), (5, 1), "what it said is kept");
    }

    #[test]
    fn changes_are_told() {
        let live = Live::new(Duration::from_secs(10));
        let changes = live.changes();
        let connection = live.join(CLUSTER);
        assert!(changes.has_changed().unwrap());
        drop(connection);
        live.forget(CLUSTER);
        assert!(live.spokes().is_empty());
    }

    #[test]
    fn a_flow_is_of_the_cluster_whose_certificate_brought_it() {
        let live = Live::new(Duration::from_secs(10));
        let mut flows = live.flows();
        let lie = Flow { cluster: vec![9; 16].into(), ..Flow::default() };
        live.report(CLUSTER, FlowBatch { flows: vec![lie], dropped: 3 });
        assert_eq!(flows.try_recv().unwrap().cluster, CLUSTER.0.to_vec());
        assert_eq!(live.lost(), 3);
    }
}
