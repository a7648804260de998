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
/// below the world's folder.
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
        show_logs(&folder(&world))?;
    }
    result.unwrap_or_else(|failure| panic::resume_unwind(failure))
}

fn show_logs(folder: &Path) -> anyhow::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.flatten().collect();
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            show_logs(&path)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "log") {
            writeln!(io::stderr(), "--- {}\n{}", path.display(), tail(&path, 60))?;
        }
    }
    Ok(())
}
