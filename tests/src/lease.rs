//! Who owns the namespaces, mounts, cgroups and folders of a run, and sweeping up after owners that died.
//!
//! Everything that a run makes carries the name of its lease. A lease is a locked file: the kernel drops the lock with
//! the process however it ends, so a name whose lock can be taken belongs to nobody, and whatever carries it is swept.
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    mount::{MntFlags, umount2},
    unistd::Uid,
};

use crate::{cgroup, eventually, process::run};

const ROOT: &str = "/run/axle-tests";
const NETNS: &str = "/run/netns";

/// The right to a name. Dropping it removes everything that carries the name.
#[derive(Debug)]
pub struct Lease {
    name: String,
    _lock: Flock<File>,
}

impl Lease {
    /// Sweeps what dead owners left, then takes `name` (lower-case letters, digits and `-`).
    ///
    /// # Errors
    /// If a living process holds the name, or without root's rights.
    pub fn take(name: &str) -> anyhow::Result<Self> {
        if !Uid::effective().is_root() {
            bail!(
                "network namespaces, cgroups and eBPF need root; run it by 'make demo' or 'make test', which use sudo"
            );
        }
        fs::create_dir_all(ROOT).with_context(|| format!("cannot make {ROOT}"))?;
        let _turn = sweep_the_dead()?;
        let Ok(lock) = lock(&lock_file(name), FlockArg::LockExclusiveNonblock) else {
            bail!("another run called {name:?} is alive (it holds {}); end it first", lock_file(name).display());
        };
        let lease = Self { name: name.to_owned(), _lock: lock };
        fs::create_dir_all(lease.folder())?;
        Ok(lease)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A folder for the run's files.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        folder(&self.name)
    }

    /// The name of this run's namespace `part`.
    #[must_use]
    pub fn netns(&self, part: &str) -> String {
        format!("{}.{part}", self.name)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // What could not be removed now is swept by the next run: the lock is dropped right after this.
        let _ = sweep(&self.name);
    }
}

/// Removes what owners left that are no more.
///
/// # Errors
/// Where something cannot be removed.
pub fn sweep_dead() -> anyhow::Result<()> {
    sweep_the_dead().map(drop)
}

/// One at a time looks for the dead, so that nobody sweeps a name that is just being taken: the lock says whose turn it
/// is.
fn sweep_the_dead() -> anyhow::Result<Flock<File>> {
    let turn = lock(&Path::new(ROOT).join("turn"), FlockArg::LockExclusive)?;
    for dead in dead_names()? {
        sweep(&dead)?;
    }
    Ok(turn)
}

fn folder(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

fn lock_file(name: &str) -> PathBuf {
    Path::new(ROOT).join(format!("{name}.lock"))
}

fn lock(path: &Path, how: FlockArg) -> anyhow::Result<Flock<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    Flock::lock(file, how).map_err(|(_, error)| error).with_context(|| format!("cannot lock {}", path.display()))
}

fn dead_names() -> anyhow::Result<Vec<String>> {
    let mut dead = Vec::new();
    for entry in fs::read_dir(ROOT)?.flatten() {
        let file = entry.file_name();
        let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".lock")) else { continue };
        if lock(&entry.path(), FlockArg::LockExclusiveNonblock).is_ok() {
            dead.push(name.to_owned());
        }
    }
    Ok(dead)
}

/// Removes everything that carries `name`; what is not there is no error.
fn sweep(name: &str) -> anyhow::Result<()> {
    let namespaces = namespaces(name)?;
    for namespace in &namespaces {
        let pids = run(Command::new("ip").args(["netns", "pids", namespace]))?;
        for pid in pids.split_whitespace() {
            // It may end by itself meanwhile.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.parse()?), nix::sys::signal::Signal::SIGKILL);
        }
    }
    if let Ok(root) = cgroup::root() {
        let own = cgroup::of_run(&root, name);
        eventually("the run's cgroups to empty", Duration::from_secs(10), || cgroup::remove(&own))?;
    }
    for root in cgroup::v1_roots()? {
        cgroup::remove_empty(&cgroup::of_run(&root, name))?;
    }
    let bpffs = folder(name).join("bpf");
    match umount2(&bpffs, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => bail!("cannot unmount {}: {error}", bpffs.display()),
    }
    for namespace in &namespaces {
        run(Command::new("ip").args(["netns", "delete", namespace]))?;
    }
    for removed in [fs::remove_dir_all(folder(name)), fs::remove_file(lock_file(name))] {
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

fn namespaces(name: &str) -> anyhow::Result<Vec<String>> {
    let prefix = format!("{name}.");
    match fs::read_dir(NETNS) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => Ok(entries?
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|namespace| namespace.starts_with(&prefix))
            .collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Place, Process};

    #[test]
    fn a_lease_is_exclusive_and_leaves_nothing() -> anyhow::Result<()> {
        let name = format!("lease-{}", std::process::id());
        let lease = Lease::take(&name)?;
        let error = Lease::take(&name).unwrap_err().to_string();
        assert!(error.contains("is alive"), "{error}");
        run(Command::new("ip").args(["netns", "add", &lease.netns("a")]))?;
        fs::write(lease.folder().join("file"), "x")?;
        drop(lease);
        assert_eq!(namespaces(&name)?, Vec::<String>::new());
        assert!(!folder(&name).exists() && !lock_file(&name).exists());
        Ok(())
    }

    #[test]
    fn what_a_dead_owner_left_is_swept() -> anyhow::Result<()> {
        // What SIGKILL leaves: everything but the lock, which the kernel dropped.
        let name = format!("dead-{}", std::process::id());
        fs::create_dir_all(ROOT)?;
        // Or another test's lease would sweep what is half made.
        let turn = lock(&Path::new(ROOT).join("turn"), FlockArg::LockExclusive)?;
        fs::create_dir_all(folder(&name))?;
        File::create(lock_file(&name))?;
        run(Command::new("ip").args(["netns", "add", &format!("{name}.a")]))?;
        let group = cgroup::of_run(&cgroup::root()?, &name).join("inner");
        fs::create_dir_all(&group)?;
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        let place = Place { netns: Some(Path::new(NETNS).join(format!("{name}.a"))), cgroup: Some(group.clone()) };
        let folder_of_log = tempfile::tempdir()?;
        let mut orphan = Process::start("sleep", sleep, &place, &folder_of_log.path().join("log"))?;
        drop(turn);

        drop(Lease::take(&format!("next-{}", std::process::id()))?);
        orphan.wait(Duration::from_secs(30))?;
        assert_eq!(namespaces(&name)?, Vec::<String>::new());
        assert!(!group.exists() && !folder(&name).exists() && !lock_file(&name).exists());
        Ok(())
    }
}
