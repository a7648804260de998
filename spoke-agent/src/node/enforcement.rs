//! From revisions to the kernel. One thread owns the compiler and the data plane; it takes [`Work`] in order and tells by a
//! watch what the kernel holds.
mod attaching;
mod enforcer;
mod held;
mod in_force;
mod policies;
mod report;
mod stand_in;
mod thread;
mod translating;
mod writes;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axle_core::{
    log::{Change, Position},
    model::{Envelope, Key, Name, Object, Uid},
    refusal::Refusal,
};
use tokio::sync::{oneshot, watch};

pub use enforcer::Enforcer;
pub use thread::{Enforcement, start};
pub use translating::{Translating, Translation};
pub use writes::WriteCounts;

use crate::{
    dataplane::{self, Event},
    inventory::Interfaces,
    status::{Capacity, Workload},
};

/// Whose kernel it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The cluster.
    pub cluster: Uid,
    /// The node.
    pub node: Name,
}

/// One revision of the node's log.
#[derive(Debug, Clone)]
pub struct Revision {
    /// What changes, together.
    pub changes: Vec<Change>,
    /// The hub's position that it includes.
    pub origin: Option<Position>,
    /// The position in the relay's log that it includes.
    pub above: Option<Position>,
    /// What could not even be read, so that the revision's policies are held back.
    pub refused: Vec<Refusal>,
    /// What was deleted and the log never had, because it could not be read.
    pub gone: Vec<Key>,
    /// Whether it comes of a whole copy of the upstream's log: then `refused` is all that cannot be read.
    pub whole: bool,
}

/// What the enforcement thread is asked to do.
#[derive(Debug)]
pub enum Work {
    /// The first complete state: every object.
    Begin {
        /// Every object.
        objects: Vec<Object>,
        /// The hub's position that it includes.
        origin: Position,
        /// See [`Revision::above`].
        above: Option<Position>,
        /// What could not be read of it.
        refused: Vec<Refusal>,
        /// Of that, what requires more than this version knows.
        unread: Vec<Envelope>,
    },
    /// The next revision.
    Revise(Arc<Revision>),
    /// Where this machine's workloads are attached.
    Place {
        /// By endpoint.
        interfaces: Interfaces,
        /// Whether that is everything that runs here.
        complete: bool,
    },
    /// Let denied packets pass for so many seconds; 0 ends it.
    Bypass {
        /// For how long.
        seconds: u64,
        /// Until when, in milliseconds since 1970.
        answer: oneshot::Sender<Result<Option<u64>, String>>,
    },
    /// Verdicts to be given their rules.
    Events(EventBatch),
}

/// Events, counted as long as they wait.
#[derive(Debug)]
pub struct EventBatch {
    pub(super) events: Vec<Event>,
    waiting: Arc<AtomicUsize>,
}

impl EventBatch {
    /// A batch that counts in `waiting` until it is dropped.
    #[must_use]
    pub fn new(events: Vec<Event>, waiting: &Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self { events, waiting: waiting.clone() }
    }
}

impl Drop for EventBatch {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the kernel holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Enforced {
    /// The hub's position; `None` before the first complete state is in force.
    pub applied: Option<Position>,
    /// The position in the relay's log that `applied` comes with: its cluster's own policies are in force by it.
    pub held: Option<Position>,
    /// Over the meaning of the tables.
    pub digest: [u8; 32],
    /// What was received and is not in force.
    pub refused: Vec<Refusal>,
    /// The node's workloads.
    pub workloads: Vec<Workload>,
    /// How full the tables are.
    pub capacity: Vec<Capacity>,
    /// Until when denied packets pass, in milliseconds since 1970.
    pub bypassed_until_ms: Option<u64>,
    /// Verdict events that the kernel could not hand over.
    pub events_lost: u64,
    /// What is wrong with the data plane itself.
    pub problems: Vec<String>,
    /// Writes of increments to the kernel's tables since the start.
    pub writes: WriteCounts,
    /// How often the tables were built anew, as at the start.
    pub rebuilds: u64,
    /// Calls of services by what became of them, where they are translated.
    pub calls: Option<dataplane::Calls>,
    /// Counts what became of packets, for metrics.
    pub tallies: Vec<dataplane::Tally>,
}

/// Hears what the kernel holds.
pub type EnforcedWatch = watch::Receiver<Arc<Enforced>>;
