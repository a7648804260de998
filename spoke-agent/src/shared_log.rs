//! The merged log among the tasks of an agent: taken into from several sides, served upward and downward, and followed by
//! the enforcement. Everybody sees the revisions in one order.
mod intake;
mod up;

use std::{sync::Arc, time::Duration};

use axle_core::{
    log::{Delta, Position},
    model::{Envelope, Key, Kind, Uid},
    refusal::Refusal,
};
use axle_transport::sync::{View, ViewSettings};
use parking_lot::Mutex;

pub use intake::{FeedIntake, Hooks};

use crate::merged_log::{Batch, Feed, MergedLog, Taken};

/// The shortest time between two syncs of a log to disk: what one costs does not grow with what is taken.
const SYNC: Duration = Duration::from_millis(200);

/// Hears of every revision, in order, while nobody else can make one.
pub trait Follower: Send {
    /// The log has moved on, or something came that could not be read.
    fn follow(&mut self, log: &MergedLog, step: &Step<'_>);
}

/// What happened to the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Step<'a> {
    /// The new revision, if there is one.
    pub delta: Option<&'a Delta>,
    /// What came and could not be read.
    pub unread: Unread<'a>,
    /// What was deleted above and the log never had.
    pub gone: &'a [Key],
    /// Whether a whole copy of the upstream's log came.
    pub whole: bool,
}

/// What came and could not be read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unread<'a> {
    /// All of it, and why.
    pub refused: &'a [Refusal],
    /// Of that, what requires more than this agent knows, as it came.
    pub envelopes: &'a [Envelope],
}

/// See the module.
pub struct SharedLog {
    inner: Mutex<Inner>,
    down: Arc<View>,
    up: Arc<View>,
}

struct Inner {
    log: MergedLog,
    follower: Option<Box<dyn Follower>>,
    /// What everybody knows of the log, once somebody was there who knows no more.
    plain: Option<Arc<View>>,
    trouble: Option<String>,
}

impl SharedLog {
    /// Shares the log. Needs a tokio runtime.
    #[must_use]
    pub fn new(log: MergedLog) -> Arc<Self> {
        let down = View::new(log.contents().clone(), ViewSettings::default());
        // Its one reader sweeps by what it gets: by an older snapshot it would take away, for a moment, what came since.
        let up = View::new(up::own(&log), ViewSettings { older_snapshots: false, ..ViewSettings::default() });
        Arc::new(Self { inner: Mutex::new(Inner { log, follower: None, plain: None, trouble: None }), down, up })
    }

    /// Everything, for those below.
    #[must_use]
    pub fn down(&self) -> Arc<View> {
        self.down.clone()
    }

    /// Everything that a reader with these features can be sent; see [`Kind::feature`].
    #[must_use]
    pub fn down_for(&self, features: &[String]) -> Arc<View> {
        let mut needed = Kind::ALL.iter().filter_map(|kind| kind.feature());
        if needed.all(|needed| features.iter().any(|feature| feature == needed)) {
            return self.down();
        }
        let mut inner = self.inner.lock();
        let Inner { log, plain, .. } = &mut *inner;
        let view = || View::new(log.contents().filtered(|key| key.kind.feature().is_none()), ViewSettings::default());
        plain.get_or_insert_with(view).clone()
    }

    /// What this agent owns, for the upstream.
    #[must_use]
    pub fn up(&self) -> Arc<View> {
        self.up.clone()
    }

    /// Looks at the log. Keep it short: everybody waits.
    pub fn read<T>(&self, look: impl FnOnce(&MergedLog) -> T) -> T {
        look(&self.inner.lock().log)
    }

    /// Resolves once the log includes a copy of the upstream's. Before that, nothing of one's own may go into it.
    pub async fn begun(&self) {
        let mut head = self.down.watch();
        while self.read(|log| log.contents().origin().is_none()) && head.changed().await.is_ok() {}
    }

    /// Syncs to disk what was taken, at most every [`SYNC`], for ever.
    pub async fn keep_synced(self: Arc<Self>) {
        let mut head = self.down.watch();
        while head.changed().await.is_ok() {
            let unsynced = self.inner.lock().log.unsynced();
            let synced = tokio::task::spawn_blocking(move || match unsynced? {
                Some(file) => file.sync_data(),
                None => Ok(()),
            });
            if let Ok(Err(error)) = synced.await {
                tracing::error!(%error, "a power cut may lose the newest entries of the log");
            }
            tokio::time::sleep(SYNC).await;
        }
    }

    /// Why the log is not safe on disk, if it is not.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.inner.lock().trouble.clone()
    }

    /// From here on the follower hears of every revision; first of none.
    pub fn follow(&self, mut follower: Box<dyn Follower>) {
        let mut inner = self.inner.lock();
        follower.follow(&inner.log, &Step::default());
        inner.follower = Some(follower);
    }

    /// Takes a batch of a feed; see [`MergedLog::take`]. `make` sees the log as it is at that moment, and may decide that
    /// nothing is taken.
    ///
    /// # Errors
    /// As `make` says.
    pub fn take_with<T, E>(
        &self,
        feed: &Feed,
        place: (Option<Position>, Option<Position>),
        unread: Unread<'_>,
        make: impl FnOnce(&MergedLog) -> Result<(Batch, T), E>,
    ) -> Result<(Taken, T), E> {
        let mut inner = self.inner.lock();
        let (batch, made) = make(&inner.log)?;
        let whole = *feed == Feed::Upstream && matches!(batch, Batch::Whole(_));
        if *feed == Feed::Upstream {
            inner.log.note_unread(&batch, unread.refused);
        }
        let taken = inner.log.take(feed, batch, place.0, place.1);
        inner.note_trouble(taken.trouble.as_ref());
        if let Some(delta) = &taken.delta {
            self.serve(&inner, delta);
        }
        if taken.delta.is_some() || !unread.refused.is_empty() || !taken.gone.is_empty() || whole {
            let Inner { log, follower, .. } = &mut *inner;
            if let Some(follower) = follower {
                follower.follow(log, &Step { delta: taken.delta.as_ref(), unread, gone: &taken.gone, whole });
            }
        }
        Ok((taken, made))
    }

    /// Writes own objects anew; see [`MergedLog::write_again`].
    pub fn write_again(&self, keys: &[Key]) {
        let mut inner = self.inner.lock();
        let taken = inner.log.write_again(keys);
        inner.note_trouble(taken.trouble.as_ref());
        let Some(delta) = &taken.delta else { return };
        self.serve(&inner, delta);
        let Inner { log, follower, .. } = &mut *inner;
        if let Some(follower) = follower {
            follower.follow(log, &Step { delta: Some(delta), ..Step::default() });
        }
    }

    fn serve(&self, Inner { log, plain, .. }: &Inner, delta: &Delta) {
        if let Err(error) = self.down.append(delta) {
            tracing::error!(%error, "the log that is served had lost touch; readers begin anew");
            self.down.replace(log.contents().clone());
        }
        if let Some(plain) = plain
            && let Err(error) = plain.append(&delta.clone().filtered(|change| change.key().kind.feature().is_none()))
        {
            tracing::error!(%error, "the log for older readers had lost touch; they begin anew");
            plain.replace(log.contents().filtered(|key| key.kind.feature().is_none()));
        }
        let Some(delta) = up::part(log.ownership(), delta, self.up.position()) else { return };
        if let Err(error) = self.up.append(&delta) {
            tracing::error!(%error, "the own log had lost touch; the upstream begins anew");
            self.up.replace(up::own(log));
        }
    }
}

impl Inner {
    fn note_trouble(&mut self, trouble: Option<&String>) {
        if let (Some(error), None) = (trouble, &self.trouble) {
            tracing::error!(%error, "the log cannot be kept on disk: a restart will take the last changes again");
        }
        self.trouble = trouble.cloned();
    }
}

/// Draws a uid that nothing ever had.
#[must_use]
pub fn fresh_uid() -> Uid {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // The system gives no randomness, which Linux does not do once it has started: time and place will differ.
        let unique = format!("{:?} {}", std::time::SystemTime::now(), std::process::id());
        bytes.copy_from_slice(&blake3::hash(unique.as_bytes()).as_bytes()[..16]);
    }
    Uid(bytes)
}

#[cfg(test)]
mod tests;
