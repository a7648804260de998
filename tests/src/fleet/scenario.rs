//! The frame of an end-to-end test.
use std::{
    fs,
    io::{self, Write as _},
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{Fleet, Settings};
use crate::process::tail;

/// Starts a fleet, runs `body`, and shows the logs of every program if it fails.
///
/// # Errors
/// Those of `body`.
pub fn scenario(settings: Settings, body: impl FnOnce(&mut Fleet) -> anyhow::Result<()>) -> anyhow::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut fleet = Fleet::start(&name, settings)?;
    let result = panic::catch_unwind(AssertUnwindSafe(|| body(&mut fleet)));
    if !matches!(result, Ok(Ok(()))) {
        show_logs(&fleet.fabric.folder())?;
    }
    result.unwrap_or_else(|failure| panic::resume_unwind(failure))
}

fn show_logs(folder: &Path) -> anyhow::Result<()> {
    let mut logs: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.sort();
    for log in logs {
        writeln!(io::stderr(), "--- {}\n{}", log.display(), tail(&log, 60))?;
    }
    Ok(())
}
