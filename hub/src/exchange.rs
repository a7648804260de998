//! The hubs of one database tell each other what they hear of their spokes, so that each of them knows how the whole fleet
//! is, whichever hub a relay is connected to.
use std::{sync::Arc, time::Duration};

use axle_core::model::Uid;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    live::Live,
    store::{Store, StoreError},
};

/// How often: so much later than the hub that a relay is connected to do the others know.
const PACE: Duration = Duration::from_millis(500);

/// Tells and listens for ever, as the process `hub`.
pub async fn run(live: Arc<Live>, store: Arc<dyn Store>, hub: Uid) {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(why) = once(&live, &*store, hub).await {
            tracing::debug!(%why, "what other hubs hear is not known now");
        }
    }
}

async fn once(live: &Live, store: &dyn Store, hub: Uid) -> Result<(), StoreError> {
    let (reports, told): (Vec<_>, Vec<_>) = live.due().into_iter().unzip();
    if !reports.is_empty() {
        store.publish(hub, &reports).await?;
        live.told(&told);
    }
    live.hears(store.published(hub, &live.heard_elsewhere()).await?);
    Ok(())
}
