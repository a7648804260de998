//! Processes of the harness: placed in a network namespace and a cgroup, and never outliving their owner.
use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::{
        fd::{AsRawFd, RawFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::eventually;

/// Where a process runs: which network namespace, which cgroup.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The namespace's file, such as `/run/netns/x`; absent: the harness's own.
    pub netns: Option<PathBuf>,
    /// The cgroup's directory; absent: the harness's own.
    pub cgroup: Option<PathBuf>,
}

impl Place {
    /// Makes `command` start in this place, and die with the thread that starts it.
    ///
    /// # Errors
    /// Where the namespace or the cgroup is not there.
    pub fn put(&self, command: &mut Command) -> anyhow::Result<()> {
        let open = |path: &Path, write: bool| {
            OpenOptions::new()
                .read(!write)
                .write(write)
                .open(path)
                .with_context(|| format!("cannot open {}", path.display()))
        };
        let netns = self.netns.as_deref().map(|path| open(path, false)).transpose()?;
        let cgroup = self.cgroup.as_deref().map(|path| open(&path.join("cgroup.procs"), true)).transpose()?;
        let parent = std::process::id();
        // SAFETY: between fork and exec only system calls are made, and nothing is allocated. The files live as long
        // as the closure, which owns them.
        unsafe {
            command.pre_exec(move || enter(parent, netns.as_ref(), cgroup.as_ref()));
        }
        Ok(())
    }
}

fn enter(parent: u32, netns: Option<&File>, cgroup: Option<&File>) -> std::io::Result<()> {
    let check = |result: i32| if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) };
    // SAFETY: plain system calls with valid arguments.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        // The parent may have died before the line above took effect.
        if libc::getppid() as u32 != parent {
            return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
        }
        let fd = |file: &File| -> RawFd { file.as_raw_fd() };
        if let Some(file) = netns {
            check(libc::setns(fd(file), libc::CLONE_NEWNET))?;
        }
        if let Some(mut file) = cgroup {
            file.write_all(b"0")?;
        }
    }
    Ok(())
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in `place`; what it prints goes to the end of `log`.
    ///
    /// # Errors
    /// Where the program, the place or the log file is not there.
    pub fn start(name: &str, mut command: Command, place: &Place, log: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        place.put(&mut command)?;
        let child = command.spawn().with_context(|| format!("cannot start {name}: {command:?}"))?;
        Ok(Self { child, name: name.to_owned(), log: log.to_owned() })
    }

    /// The process's number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its output goes.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Fails, with the end of its output, if the process has ended.
    ///
    /// # Errors
    /// If it has ended.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended with {status}; its last words:\n{}", self.name, tail(&self.log, 20)),
        }
    }

    /// Sends `signal`.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Kills it without warning and waits until it is gone.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(patience)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn wait(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        eventually(&what, patience, || self.child.try_wait()?.context("it still runs"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to kill, and waiting returns at once.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log, or why there are none.
#[must_use]
pub fn tail(log: &Path, lines: usize) -> String {
    match fs::read_to_string(log) {
        Err(error) => format!("{}: {error}", log.display()),
        Ok(text) => {
            let all: Vec<_> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        }
    }
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// Where it cannot be started or ends with a failure; the message holds what it complained about.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{command:?} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end and returns its status and what it printed, whatever the status.
///
/// # Errors
/// Where it cannot be started.
pub fn output(command: &mut Command) -> anyhow::Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_reaches_the_log_and_the_end_is_noticed() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let mut process = Process::start("sh", command, &Place::default(), &log)?;
        assert_eq!(process.wait(Duration::from_secs(30))?.code(), Some(3));
        assert_eq!(tail(&log, 1), "two");
        assert!(process.check_alive().unwrap_err().to_string().contains("one"));
        Ok(())
    }

    #[test]
    fn a_dropped_process_is_gone() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new("sleep");
        command.arg("600");
        let process = Process::start("sleep", command, &Place::default(), &folder.path().join("log"))?;
        let proc = PathBuf::from(format!("/proc/{}", process.pid()));
        assert!(proc.exists());
        drop(process);
        assert!(!proc.exists());
        Ok(())
    }

    #[test]
    fn a_failed_command_says_why() {
        let error = run(Command::new("sh").args(["-c", "echo broken >&2; exit 1"])).unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
    }
}
