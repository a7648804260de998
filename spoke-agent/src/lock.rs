//! Locks on directories: one agent for one state directory, one for one pin directory.
//!
//! The lock is `flock` on the directory itself, so it works on a BPF file system, where nothing can be written, and the
//! kernel drops it with the process, however that ends.
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::fcntl::{Flock, FlockArg};

/// How long a lock may take to come free.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// A directory that nobody else may use while this value lives.
#[derive(Debug)]
pub struct DirectoryLock {
    _held: Flock<File>,
}

/// Why a directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("{path} is in use by another agent: one agent per state directory and one per pin directory can run")]
    Held {
        /// The directory.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot lock {path}: {source}")]
    Refused {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DirectoryLock {
    /// Locks `path`, which must exist. Waits [`PATIENCE`] at most: whoever was killed just now is not quite gone yet.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process holds it.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let refused = |source| LockError::Refused { path: path.into(), source };
        let mut directory = File::open(path).map_err(refused)?;
        let until = Instant::now() + PATIENCE;
        loop {
            match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
                Ok(held) => return Ok(Self { _held: held }),
                Err((back, nix::errno::Errno::EWOULDBLOCK)) if Instant::now() < until => {
                    directory = back;
                    std::thread::sleep(PATIENCE / 50);
                }
                Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Err(LockError::Held { path: path.into() }),
                Err((_, errno)) => return Err(refused(errno.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryLock::take(directory.path()).unwrap();
        assert!(matches!(DirectoryLock::take(directory.path()), Err(LockError::Held { .. })));
        drop(first);
        DirectoryLock::take(directory.path()).unwrap();
        assert!(matches!(DirectoryLock::take(&directory.path().join("none")), Err(LockError::Refused { .. })));
    }
}
