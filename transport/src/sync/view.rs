//! What one kind of reader sees: a log, encoded once, served to any number of streams.
use std::{sync::Arc, time::Duration};

use axle_core::{
    log::{Contents, Delta, OutOfOrder, Position},
    session::{Reach, Sender, Step},
};
use axle_proto::{convert, v1};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use super::{codec::framed, snapshot::EncodedSnapshot, window::Window};
use crate::tls::FRAME;

/// A catch-up is one message, since it takes effect at once; one so large that a slow line would seem dead while it comes
/// is sent as a snapshot, in pages.
const MAX_CATCH_UP: usize = 4 << 20;

/// How a view keeps and sends its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewSettings {
    /// Bytes of encoded deltas at hand; readers further behind get one compacted catch-up.
    pub window_bytes: usize,
    /// Bytes of deltas in one message, about.
    pub slice_bytes: usize,
    /// Bytes of objects in one page of a snapshot, about.
    pub page_bytes: usize,
    /// The least time between two wake-ups of the readers; the first after a rest is immediate.
    pub coalesce: Duration,
    /// Whether a reader may get a snapshot that was built for another, and what came since as deltas.
    pub older_snapshots: bool,
}

impl Default for ViewSettings {
    fn default() -> Self {
        Self {
            window_bytes: 32 << 20,
            slice_bytes: FRAME,
            page_bytes: 256 << 10,
            coalesce: Duration::from_millis(2),
            older_snapshots: true,
        }
    }
}

/// A log that is served. Its owner appends; streams read at their own pace, each a cursor.
///
/// Appending needs a tokio runtime, which carries the coalesced wake-ups.
pub struct View {
    log: Mutex<Log>,
    /// Wakes readers; the value is the head at that time.
    head: watch::Sender<Position>,
    /// Held while a snapshot is built, so that a herd shares one.
    building: tokio::sync::Mutex<()>,
    settings: ViewSettings,
}

struct Log {
    contents: Contents,
    window: Window,
    woken: Instant,
    wake_planned: bool,
    /// The newest one, as long as the window leads on from it.
    snapshot: Option<Arc<EncodedSnapshot>>,
    snapshots_built: u64,
}

/// What to send next.
pub(super) enum Batch {
    Nothing,
    Deltas(Bytes, Position),
    Snapshot,
}

impl View {
    /// Serves this log from where it stands.
    #[must_use]
    pub fn new(contents: Contents, settings: ViewSettings) -> Arc<Self> {
        let position = contents.position();
        let woken = Instant::now().checked_sub(settings.coalesce).unwrap_or_else(Instant::now);
        let window = Window::new(position, settings.window_bytes, settings.slice_bytes);
        Arc::new(Self {
            log: Mutex::new(Log { contents, window, woken, wake_planned: false, snapshot: None, snapshots_built: 0 }),
            head: watch::Sender::new(position),
            building: tokio::sync::Mutex::default(),
            settings,
        })
    }

    /// Where the log stands.
    #[must_use]
    pub fn position(&self) -> Position {
        self.log.lock().contents.position()
    }

    /// Tells of the log's growth; wake-ups are coalesced.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Position> {
        self.head.subscribe()
    }

    /// Looks at the objects. Keep it short: appending waits.
    pub fn read<T>(&self, look: impl FnOnce(&Contents) -> T) -> T {
        look(&self.log.lock().contents)
    }

    /// How many snapshots were built since the start.
    #[must_use]
    pub fn snapshots_built(&self) -> u64 {
        self.log.lock().snapshots_built
    }

    /// Moves on by one delta, which may span several revisions of its source.
    ///
    /// # Errors
    /// [`OutOfOrder`] if the delta does not begin where the log stands; nothing is changed then.
    pub fn append(self: &Arc<Self>, delta: &Delta) -> Result<(), OutOfOrder> {
        let mut log = self.log.lock();
        // What was there before is of no use here: a view is never taken back.
        let _ = log.contents.apply(delta)?;
        log.window.append(delta);
        let leads_on = |at: &Position| log.window.reaches(at.revision) && log.contents.remembers(at);
        if !log.snapshot.as_ref().is_some_and(|snapshot| leads_on(&snapshot.at)) {
            log.snapshot = None;
        }
        self.wake(&mut log);
        Ok(())
    }

    /// Becomes another log: readers that were on the old one get a snapshot, unless the new one remembers their place.
    pub fn replace(self: &Arc<Self>, contents: Contents) {
        let mut log = self.log.lock();
        log.window = Window::new(contents.position(), self.settings.window_bytes, self.settings.slice_bytes);
        log.contents = contents;
        log.snapshot = None;
        self.wake(&mut log);
    }

    /// Wakes the readers at once after a rest, else when the time between wake-ups is over.
    fn wake(self: &Arc<Self>, log: &mut Log) {
        let due = log.woken + self.settings.coalesce;
        let now = Instant::now();
        if now >= due {
            log.woken = now;
            self.head.send_replace(log.contents.position());
        } else if !log.wake_planned {
            log.wake_planned = true;
            let view = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep_until(due).await;
                if let Some(view) = view.upgrade() {
                    let mut log = view.log.lock();
                    (log.wake_planned, log.woken) = (false, Instant::now());
                    view.head.send_replace(log.contents.position());
                }
            });
        }
    }

    /// What this sender's peer needs next.
    pub(super) fn next(&self, sender: &Sender) -> Batch {
        let mut log = self.log.lock();
        let log = &mut *log;
        let step = sender.step(|at| {
            if *at == log.contents.position() {
                Reach::Head
            } else if !log.contents.remembers(at) {
                Reach::Nothing
            } else if log.window.reaches(at.revision) {
                Reach::Follow
            } else {
                Reach::CatchUp
            }
        });
        match step {
            Step::Wait => Batch::Nothing,
            Step::Follow(at) => match log.window.after(at.revision) {
                Some((message, to)) => Batch::Deltas(message, to),
                None => Batch::Snapshot,
            },
            Step::CatchUp(at) => match log.contents.since(&at).map(|delta| catch_up(&delta)) {
                Some((bytes, to)) if bytes.len() <= MAX_CATCH_UP => Batch::Deltas(bytes, to),
                _ => Batch::Snapshot,
            },
            Step::Snapshot => Batch::Snapshot,
        }
    }

    /// A snapshot from which the window leads on. Those who ask while one is built, or before the window has left it
    /// behind, get the same.
    pub(super) async fn snapshot(self: &Arc<Self>) -> Arc<EncodedSnapshot> {
        let _building = self.building.lock().await;
        let held = self.log.lock().snapshot.clone();
        if let Some(snapshot) = held.filter(|held| self.settings.older_snapshots || held.at == self.position()) {
            return snapshot;
        }
        let view = self.clone();
        let build = move || {
            let mut log = view.log.lock();
            log.snapshots_built += 1;
            let snapshot = Arc::new(EncodedSnapshot::of(&log.contents, view.settings.page_bytes));
            log.snapshot = Some(snapshot.clone());
            snapshot
        };
        // Building a large one takes long enough to hold up a runtime's worker.
        match tokio::task::spawn_blocking(build.clone()).await {
            Ok(snapshot) => snapshot,
            Err(_) => build(),
        }
    }
}

fn catch_up(delta: &Delta) -> (Bytes, Position) {
    let message = v1::HubMessage { deltas: vec![convert::delta_to_wire(delta)], message: None };
    (framed(&message), delta.to)
}
