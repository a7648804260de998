//! The frame of a test with many programs.
use std::{
    fs,
    io::{self, Write as _},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::process::tail;

/// Makes a world that has a name of its own, runs `body` in it, and shows the logs of every program if that fails: those
/// in the world's folder, and in the folders in it.
///
/// # Errors
/// Those of `make` and `body`.
pub fn scenario<W>(
    make: impl FnOnce(&str) -> anyhow::Result<W>,
    folder: impl Fn(&W) -> PathBuf,
    body: impl FnOnce(&mut W) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut world = make(&name)?;
    let result = panic::catch_unwind(AssertUnwindSafe(|| body(&mut world)));
    if !matches!(result, Ok(Ok(()))) {
        let folder = folder(&world);
        for inner in files(&folder)?.iter().filter(|path| path.is_dir()) {
            show_logs(inner)?;
        }
        show_logs(&folder)?;
    }
    result.unwrap_or_else(|failure| panic::resume_unwind(failure))
}

fn show_logs(folder: &Path) -> anyhow::Result<()> {
    for log in files(folder)?.iter().filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
        writeln!(io::stderr(), "--- {}\n{}", log.display(), tail(log, 60))?;
    }
    Ok(())
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}
