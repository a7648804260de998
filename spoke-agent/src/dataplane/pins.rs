//! The pin directory: what is in it, who may use it, and that only one does.
//!
//! ```text
//! <pins>/maps/<NAME>        maps that outlive the agent
//! <pins>/links/<name>       links: what holds a program at its hook
//! ```
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::{Error, sys};

/// What is in the directory.
const FOLDERS: [&str; 2] = ["maps", "links"];

/// A locked pin directory.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
    lock: Flock<File>,
}

impl Pins {
    /// Makes the directory (0700) if it is absent, and locks it until the value is dropped.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has it, [`Error::Pins`] if it is not on a BPF file system or not ours alone.
    pub fn open(path: &Path) -> Result<Self, Error> {
        check_file_system(path)?;
        make(path)?;
        FOLDERS.iter().try_for_each(|folder| make(&path.join(folder)))?;
        let folder = File::open(path).map_err(pins_error(path, "check that the agent runs as root"))?;
        match Flock::lock(folder, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path: path.to_owned(), lock }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(Error::Locked(path.to_owned())),
            Err((_, error)) => Err(pins_error(path, "it could not be locked")(error.into())),
        }
    }

    /// Where the map of this name is pinned.
    #[must_use]
    pub fn map(&self, name: &str) -> PathBuf {
        map(&self.path, name)
    }

    /// Where the link of this name is pinned. The BPF file system refuses names with dots.
    #[must_use]
    pub fn link(&self, name: &str) -> PathBuf {
        self.path.join("links").join(name)
    }

    /// Names of the links that are pinned, in order.
    ///
    /// # Errors
    /// [`Error::Pins`] if the directory cannot be read.
    pub fn links(&self) -> Result<Vec<String>, Error> {
        names(&self.path.join("links"))
    }

    /// Makes again what somebody took away of the directory.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn restore(&mut self) -> Result<(), Error> {
        let inode = |data: fs::Metadata| (data.dev(), data.ino());
        let ours = self.lock.metadata().map(inode).ok();
        if ours.is_none() || fs::metadata(&self.path).map(inode).ok() != ours {
            *self = Self::open(&self.path)?;
        }
        FOLDERS.iter().try_for_each(|folder| make(&self.path.join(folder)))
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Where the map of this name is pinned below `pins`.
pub(super) fn map(pins: &Path, name: &str) -> PathBuf {
    pins.join("maps").join(name)
}

/// Names in a folder, in order.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let error = pins_error(folder, "check that it is readable");
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(error)?;
    let mut names: Vec<_> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Takes a pinned link off its hook and removes it, if it is there.
pub(super) fn remove_link(path: &Path) -> Result<(), Error> {
    match sys::detach_link(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Its hook went with its interface.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => remove(path),
        Err(error) => Err(pins_error(path, "take it off its hook by hand")(error)),
        Ok(()) => remove(path),
    }
}

/// Removes a pin, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(pins_error(path, "remove it by hand")(error)),
        _ => Ok(()),
    }
}

fn pins_error(path: &Path, fix: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Pins { path: path.to_owned(), source, fix }
}

fn check_file_system(path: &Path) -> Result<(), Error> {
    let there = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let kind = statfs(there).map_err(|error| pins_error(there, "check the path")(error.into()))?.filesystem_type();
    if kind == BPF_FS_MAGIC {
        return Ok(());
    }
    let source = io::Error::other("not on a BPF file system");
    Err(pins_error(path, "mount one: mount -t bpf bpf /sys/fs/bpf")(source))
}

fn make(folder: &Path) -> Result<(), Error> {
    let fix = "it must be a directory of root's alone, mode 0700";
    match DirBuilder::new().mode(0o700).recursive(true).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(pins_error(folder, fix)(error)),
        _ => {}
    }
    let mode = fs::metadata(folder).map_err(pins_error(folder, fix))?.permissions().mode();
    if mode & 0o077 != 0 {
        let source = io::Error::other(format!("others may use it (mode {:03o})", mode & 0o777));
        return Err(pins_error(folder, "chmod 700 it, once you know that nobody changed its pins")(source));
    }
    Ok(())
}
