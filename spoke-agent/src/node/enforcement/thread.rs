//! The thread that owns compiler and data plane: the kernel's answers never wait behind network or disk, and theirs not
//! behind the kernel's.
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{Enforced, EnforcedWatch, Enforcer, Work};
use crate::node::flows::Attributor;

/// How often interfaces are looked at that are not there yet.
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

/// Starts the thread. Interfaces are those of the network namespace of the caller.
///
/// # Errors
/// If the system gives no thread.
pub fn start(enforcer: Enforcer, attributor: Attributor) -> std::io::Result<Enforcement> {
    let (work, queue) = channel();
    let (sender, enforced) = watch::channel(Arc::new(Enforced::default()));
    let mut thread = Thread { enforcer, attributor, sender, housekeeping: Instant::now() };
    std::thread::Builder::new().name("enforcement".into()).spawn(move || thread.run(&queue))?;
    Ok(Enforcement { work, enforced })
}

struct Thread {
    enforcer: Enforcer,
    attributor: Attributor,
    sender: watch::Sender<Arc<Enforced>>,
    housekeeping: Instant,
}

impl Thread {
    fn run(&mut self, queue: &Receiver<Work>) {
        loop {
            match queue.recv_timeout(TICK) {
                Ok(Work::Events(events)) => self.attributor.report(&self.enforcer, events),
                Ok(work) => {
                    self.take(work);
                    self.publish();
                    self.enforcer.settle();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let now = Instant::now();
            if now >= self.housekeeping {
                self.housekeeping = now + HOUSEKEEPING;
                self.enforcer.tick(now);
                self.publish();
            } else if self.enforcer.awaits_interfaces() {
                self.enforcer.attach();
                self.publish();
            }
        }
    }

    fn take(&mut self, work: Work) {
        match work {
            Work::Begin { objects, origin, refused } => {
                self.attributor.begin(&objects);
                self.enforcer.begin(objects, origin, &refused);
            }
            Work::Revise(revision) => {
                self.attributor.revise(&revision.changes);
                self.enforcer.revise(&revision);
            }
            Work::Place(interfaces) => self.enforcer.place(interfaces),
            Work::Bypass { seconds, answer } => drop(answer.send(self.enforcer.bypass(seconds))),
            Work::Events(events) => self.attributor.report(&self.enforcer, events),
        }
    }

    fn publish(&self) {
        let next = self.enforcer.enforced();
        self.sender.send_if_modified(|held| {
            let differs = **held != next;
            if differs {
                *held = Arc::new(next);
            }
            differs
        });
    }
}
