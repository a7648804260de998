use std::{io, path::PathBuf};

use axle_core::policy::tables::Write;

use super::Capacity;

/// Why the data plane could not do what it was asked. Unless a variant says otherwise, verdicts in force are as before.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pin directory cannot be used.
    #[error("pin directory {path}: {source}; {fix}")]
    Pins {
        /// The directory, or the file in it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// How to mend it.
        fix: &'static str,
    },
    /// Another process holds the pin directory.
    #[error("pin directory {0} is in use by another agent; stop it, or give this one another directory (--pin-dir)")]
    Locked(PathBuf),
    /// The kernel refused the programs or their maps.
    #[error("loading the kernel programs: {0}")]
    Load(String),
    /// The plan needs more than there is; nothing of it was written.
    #[error(transparent)]
    Capacity(#[from] Capacity),
    /// A write failed. The writes before it are made, no flip was: no verdict has changed but those of addresses that
    /// the plan had moved already. Build the tables anew with [`super::DataPlane::replace`].
    #[error("write {index} of {count} ({write:?}) failed: {source}")]
    Write {
        /// Position in the plan, from 0.
        index: usize,
        /// Writes of the plan.
        count: usize,
        /// The write.
        write: Box<Write>,
        /// Why.
        source: WriteError,
    },
    /// There are no tables yet: [`super::DataPlane::replace`] makes the first.
    #[error("the data plane has no tables yet: give it a whole plan first")]
    NotReady,
    /// A hook could not be attached or taken away.
    #[error("interface {interface}: {what}: {source}")]
    Interface {
        /// Its name.
        interface: String,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The cgroup of the workloads cannot be used for services.
    #[error(
        "cgroup {path}: {source}; wanted the directory of a cgroup of version 2 that the workloads are in (--cgroup)"
    )]
    Cgroup {
        /// Its directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A workload has more addresses than its interface's entry holds.
    #[error("interface {interface}: {wanted} addresses, and a workload may have {limit}")]
    TooManyAddresses {
        /// The interface's name.
        interface: String,
        /// How many there are.
        wanted: usize,
        /// How many may be.
        limit: usize,
    },
    /// No workload of this number is attached.
    #[error("no workload {0} is attached")]
    UnknownWorkload(u32),
    /// A map could not be read or written.
    #[error("map {map}: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Why one write failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The number is beyond the table's end.
    #[error("{what} {number} does not exist: the table holds {limit}")]
    Beyond {
        /// Which kind of number.
        what: &'static str,
        /// The number.
        number: u64,
        /// How many there are.
        limit: u64,
    },
    /// The table is full.
    #[error("no room for another {0}")]
    Full(&'static str),
    /// The kernel refused it.
    #[error(transparent)]
    Kernel(#[from] io::Error),
}

/// What aya's map errors say, as the system said it.
pub(super) fn kernel(error: aya::maps::MapError) -> io::Error {
    match error {
        aya::maps::MapError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    }
}
