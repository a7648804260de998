//! How long the log is kept. Its objects are kept for ever; of what led there, readers resume from memory, so that the old
//! records serve the audit trail alone.
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{MissedTickBehavior, interval};

use crate::{
    store::{Store, StoreError},
    writer::RECENT,
};

/// How often old records are looked for.
const PERIOD: Duration = Duration::from_secs(3600);
/// Records forgotten in one transaction, so that none holds up a write for long.
const STEP: u32 = 1_000;

/// Forgets what is older than `retention`, for ever.
pub async fn keep(store: Arc<dyn Store>, retention: Duration) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match forget(&*store, retention, SystemTime::now()).await {
            Ok(0) => {}
            Ok(forgotten) => tracing::info!(forgotten, "old records of the log were forgotten"),
            Err(why) => tracing::warn!(%why, "old records of the log cannot be forgotten now"),
        }
    }
}

/// Forgets what is older than `retention` at `now`; says how many records.
pub(crate) async fn forget(store: &dyn Store, retention: Duration, now: SystemTime) -> Result<u64, StoreError> {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_sub(retention);
    let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let mut forgotten = 0;
    loop {
        match store.forget(since_ms, u64::from(RECENT), STEP).await? {
            0 => return Ok(forgotten),
            some => forgotten += some,
        }
    }
}
