//! From the kernel's ring buffer to the thread that knows the rules.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::oneshot,
};

use super::enforcement::{Enforcement, EventBatch, Work};
use crate::{dataplane::Events, flow_queue::FlowQueue};

/// Events in one batch.
const BATCH: usize = 256;
/// Batches that wait for the thread, at most.
const WAITING: usize = 32;

/// Passes events on, once there are any, for ever.
pub(super) async fn pump(events: oneshot::Receiver<Events>, enforcement: Enforcement, queue: FlowQueue) {
    let Ok(events) = events.await else { return std::future::pending().await };
    // SAFETY: the ring buffer owns its descriptor, which stays the same and open until it is dropped.
    let registered = unsafe { AsyncFd::register_with_interest(events, Interest::READABLE) };
    let mut events = match registered {
        Ok(events) => events,
        Err(error) => {
            tracing::error!(%error, "verdict events cannot be read");
            return std::future::pending().await;
        }
    };
    let waiting = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok(mut ready) = events.readable_mut().await else { return };
        let ring = ready.get_inner_mut();
        let batch: Vec<_> = std::iter::from_fn(|| ring.next()).take(BATCH).collect();
        if batch.len() < BATCH {
            ready.clear_ready();
        }
        if batch.is_empty() {
            continue;
        }
        if waiting.load(Ordering::Relaxed) >= WAITING {
            queue.lost(batch.len() as u64);
        } else {
            enforcement.ask(Work::Events(EventBatch::new(batch, &waiting)));
        }
    }
}
