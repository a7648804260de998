//! The frame of an end-to-end test.
use super::{Fleet, Settings};

/// Starts a fleet, runs `body`, and shows the logs of every program if it fails.
///
/// # Errors
/// Those of `body`.
pub fn scenario(settings: Settings, body: impl FnOnce(&mut Fleet) -> anyhow::Result<()>) -> anyhow::Result<()> {
    crate::scenario(|name| Fleet::start(name, settings), |fleet| fleet.fabric.folder(), body)
}
