//! Network namespaces.
use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context, anyhow, bail};
use nix::sched::{CloneFlags, setns};

use crate::{lease::Lease, process::run};

/// A named network namespace with its loopback up. It is removed with its lease, or by [`Netns::remove`].
#[derive(Debug, Clone)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes one. `forwards`: it routes packets between its interfaces.
    ///
    /// # Errors
    /// Where `ip` is missing or refuses.
    pub fn create(lease: &Lease, part: &str, forwards: bool) -> anyhow::Result<Self> {
        let netns = Self { name: lease.netns(part) };
        run(Command::new("ip").args(["netns", "add", &netns.name]))?;
        netns.enter(|| settings(forwards))??;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// Its name, as `ip netns` takes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Carries out lines of `ip` commands inside, all of one call.
    ///
    /// # Errors
    /// At the first line that `ip` refuses; it says which.
    pub fn ip(&self, lines: &str) -> anyhow::Result<()> {
        let mut command = Command::new("ip");
        command.args(["-netns", &self.name, "-batch", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run ip; 'make setup' installs iproute2")?;
        child.stdin.take().context("no pipe to ip")?.write_all(lines.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("in {}, ip refused: {}\nof\n{lines}", self.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Runs `work` on a thread inside; the sockets that it opens stay there.
    ///
    /// # Errors
    /// Where the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        let file = File::open(self.path()).with_context(|| format!("cannot open {}", self.path().display()))?;
        thread::scope(|scope| {
            let inside = scope.spawn(|| -> anyhow::Result<T> {
                setns(&file, CloneFlags::CLONE_NEWNET).with_context(|| format!("cannot enter {}", self.name))?;
                Ok(work())
            });
            inside.join().map_err(|_| anyhow!("the work inside {} panicked", self.name))?
        })
    }

    /// Removes it before its lease ends.
    ///
    /// # Errors
    /// Where it is gone already.
    pub fn remove(self) -> anyhow::Result<()> {
        run(Command::new("ip").args(["netns", "delete", &self.name])).map(drop)
    }
}

/// Addresses are usable at once (no duplicate address detection), and routes are ours alone.
fn settings(forwards: bool) -> anyhow::Result<()> {
    let set = |name: &str, value: &str| {
        let path = format!("/proc/sys/net/{name}");
        fs::write(&path, value).with_context(|| format!("cannot write {value} to {path}"))
    };
    for of in ["all", "default"] {
        set(&format!("ipv6/conf/{of}/disable_ipv6"), "0")?;
        set(&format!("ipv6/conf/{of}/accept_dad"), "0")?;
        set(&format!("ipv6/conf/{of}/accept_ra"), "0")?;
        set(&format!("ipv4/conf/{of}/rp_filter"), "0")?;
    }
    if forwards {
        set("ipv4/ip_forward", "1")?;
        set("ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}
