//! Flows on their way upward: bounded, and what does not fit is counted.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axle_proto::v1;
use tokio::sync::mpsc;

/// Flows that wait to be sent.
const QUEUE: usize = 4096;

/// Where flows go, and how many did not get there.
#[derive(Debug, Clone)]
pub struct FlowQueue {
    sender: mpsc::Sender<v1::Flow>,
    dropped: Arc<AtomicU64>,
}

/// The other end of a [`FlowQueue`].
#[derive(Debug)]
pub struct FlowSource {
    /// The flows, oldest first.
    pub flows: mpsc::Receiver<v1::Flow>,
    /// How many were lost before they got here, in all.
    pub dropped: Arc<AtomicU64>,
}

/// A bounded queue.
#[must_use]
pub fn queue() -> (FlowQueue, FlowSource) {
    let (sender, flows) = mpsc::channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    (FlowQueue { sender, dropped: dropped.clone() }, FlowSource { flows, dropped })
}

impl FlowQueue {
    /// Passes a flow on, if there is room.
    pub fn push(&self, flow: v1::Flow) {
        if self.sender.try_send(flow).is_err() {
            self.lost(1);
        }
    }

    /// So many were lost on the way here.
    pub fn lost(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// How many were lost, in all.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
