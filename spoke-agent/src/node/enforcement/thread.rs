//! The thread that owns compiler and data plane: the kernel's answers never wait behind network or disk, and theirs not
//! behind the kernel's.
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use axle_core::log::Position;
use tokio::sync::{oneshot, watch};

use super::{Enforced, EnforcedWatch, Enforcer, Work};
use crate::{dataplane::Events, node::flows::Attributor};

/// How often it is looked whether interfaces came, went, or became others of the same name.
const TICK: Duration = Duration::from_millis(250);
/// How often idle flows are collected and counters read.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// A handle of the thread. It ends when the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Enforcement {
    work: Sender<Work>,
    enforced: EnforcedWatch,
}

impl Enforcement {
    /// Asks for work, which is done in order.
    pub fn ask(&self, work: Work) {
        // The thread lives as long as this handle.
        let _ = self.work.send(work);
    }

    /// Hears what the kernel holds.
    #[must_use]
    pub fn watch(&self) -> EnforcedWatch {
        self.enforced.clone()
    }
}

/// Starts the thread, which passes the stream of events to `events` once there is one. Interfaces are those of the network namespace of the caller.
///
/// # Errors
/// If the system gives no thread.
pub fn start(
    enforcer: Enforcer,
    attributor: Attributor,
    events: oneshot::Sender<Events>,
) -> std::io::Result<Enforcement> {
    let (work, queue) = channel();
    let (sender, enforced) = watch::channel(Arc::new(Enforced::default()));
    let now = Instant::now();
    let (above, held, events, looked, housekeeping) = (None, None, Some(events), now, now);
    let mut thread = Thread { enforcer, attributor, sender, above, held, events, looked, housekeeping };
    std::thread::Builder::new().name("enforcement".into()).spawn(move || thread.run(&queue))?;
    Ok(Enforcement { work, enforced })
}

struct Thread {
    enforcer: Enforcer,
    attributor: Attributor,
    sender: watch::Sender<Arc<Enforced>>,
    /// The position in the relay's log that the compiler holds, and that the kernel does.
    above: Option<Position>,
    held: Option<Position>,
    /// Where the stream of events goes, once there is one.
    events: Option<oneshot::Sender<Events>>,
    looked: Instant,
    housekeeping: Instant,
}

impl Thread {
    fn run(&mut self, queue: &Receiver<Work>) {
        loop {
            match queue.recv_timeout(TICK) {
                Ok(Work::Events(batch)) => self.attributor.report(&self.enforcer, &batch.events),
                Ok(work) => {
                    self.take(work);
                    self.publish();
                    self.open_events();
                    self.enforcer.settle();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            if now >= self.looked + TICK {
                self.looked = now;
                self.enforcer.attach();
                if now >= self.housekeeping {
                    self.housekeeping = now + HOUSEKEEPING;
                    self.enforcer.tick(now);
                }
                self.publish();
            }
        }
    }

    fn take(&mut self, work: Work) {
        match work {
            Work::Begin { objects, origin, above, refused, unread } => {
                self.above = above;
                self.attributor.begin(&objects);
                self.enforcer.begin(objects, origin, &refused, &unread);
            }
            Work::Revise(revision) => {
                self.above = revision.above;
                self.attributor.revise(&revision.changes);
                self.enforcer.revise(&revision);
            }
            Work::Place { interfaces, complete } => self.enforcer.place(interfaces, complete),
            Work::Bypass { seconds, answer } => drop(answer.send(self.enforcer.bypass(seconds))),
            Work::Events(batch) => self.attributor.report(&self.enforcer, &batch.events),
        }
    }

    fn open_events(&mut self) {
        if self.events.is_some()
            && let Some(events) = self.enforcer.events()
            && let Some(sender) = self.events.take()
        {
            // Nobody reads them if the agent is ending.
            let _ = sender.send(events);
        }
    }

    fn publish(&mut self) {
        if !self.enforcer.behind {
            self.held = self.above;
        }
        let next = Enforced { held: self.held, ..self.enforcer.enforced() };
        self.sender.send_if_modified(|held| {
            let differs = **held != next;
            if differs {
                *held = Arc::new(next);
            }
            differs
        });
    }
}
