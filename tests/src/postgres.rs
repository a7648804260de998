//! A PostgreSQL server of one's own: on a temporary folder and a Unix socket, so without a port that could collide.
use std::{
    env, fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::Context;
use nix::unistd::{Uid, User};
use tempfile::TempDir;

use crate::{
    eventually,
    process::{Place, Process, run},
};

/// A running server; dropping it stops it and removes its data.
#[derive(Debug)]
pub struct Postgres {
    // Dropped in this order: the server, then its folder.
    server: Option<Process>,
    programs: Programs,
    folder: TempDir,
    databases: AtomicU32,
}

impl Postgres {
    /// Makes a new server and waits until it answers.
    ///
    /// # Errors
    /// Where PostgreSQL's server programs are missing or do not start.
    pub fn start() -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let folder = tempfile::Builder::new().prefix("axle-postgres-").tempdir()?;
        if let Some(user) = &programs.user {
            chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        let mut initdb = programs.command("initdb");
        initdb.args(["--no-sync", "--auth=trust", "--username=axle", "--encoding=UTF8", "--locale=C", "--pgdata"]);
        run(initdb.arg(folder.path().join("data")))?;
        let mut postgres = Self { server: None, programs, folder, databases: AtomicU32::new(0) };
        postgres.resume()?;
        Ok(postgres)
    }

    /// A new, empty database of this server, as a connection URL.
    ///
    /// # Errors
    /// Where the server is away.
    pub fn database(&self) -> anyhow::Result<String> {
        let name = format!("axle{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let socket = self.folder.path();
        run(self.programs.command("createdb").arg("--host").arg(socket).args(["--username=axle", &name]))?;
        Ok(format!("postgres://axle@localhost/{name}?host={}", socket.display()))
    }

    /// Kills the server without warning, as a power cut would.
    ///
    /// # Errors
    /// Where it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.server.take().map_or(Ok(()), Process::kill)
    }

    /// Starts a killed server again, on the same data, and waits until it answers.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        let (socket, data) = (self.folder.path(), self.folder.path().join("data"));
        let start = || {
            // What a killed server leaves: its lock names a process that is gone.
            let _ = fs::remove_file(data.join("postmaster.pid"));
            let mut command = self.programs.command("postgres");
            command.args(["-h", "", "-F", "-c", "max_connections=200", "-c", "shared_buffers=32MB"]);
            command.arg("-k").arg(socket).arg("-D").arg(&data);
            Process::start("postgres", command, &Place::default(), &socket.join("log"))
        };
        let mut server = start()?;
        eventually("PostgreSQL to answer", Duration::from_secs(60), || {
            // It does not start while a process of the killed one still ends.
            if let Err(ended) = server.check_alive() {
                server = start()?;
                return Err(ended);
            }
            run(self.programs.command("pg_isready").args(["--quiet", "--username=axle", "--host"]).arg(socket))
        })?;
        self.server = Some(server);
        Ok(())
    }
}

/// PostgreSQL's programs, and who runs them: the server refuses to run as root.
#[derive(Debug)]
struct Programs {
    folder: PathBuf,
    user: Option<User>,
}

impl Programs {
    fn find() -> anyhow::Result<Self> {
        let user = if Uid::effective().is_root() {
            let known = ["postgres", "nobody"].into_iter().find_map(|name| User::from_name(name).ok().flatten());
            Some(known.context("there is no user 'postgres' or 'nobody' to run PostgreSQL as")?)
        } else {
            None
        };
        let on_path = env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
        let folder = debian_folders().into_iter().chain(on_path).find(|folder| {
            ["initdb", "postgres", "createdb", "pg_isready"].iter().all(|program| folder.join(program).is_file())
        });
        let folder = folder.context("PostgreSQL's server programs are missing; 'make setup' installs them")?;
        Ok(Self { folder, user })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.folder.join(program));
        // The working folder of the tests may be closed to the other user.
        command.current_dir("/").env("LC_ALL", "C");
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }
}

/// Debian keeps the server programs off PATH, one folder per major version; the newest first.
fn debian_folders() -> Vec<PathBuf> {
    let versions = fs::read_dir(Path::new("/usr/lib/postgresql")).into_iter().flatten().flatten();
    let mut folders: Vec<_> = versions.map(|entry| entry.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(postgres: &Postgres, database: &str, sql: &str) -> anyhow::Result<String> {
        run(postgres.programs.command("psql").args(["--tuples-only", "--no-align", "--command", sql, database]))
    }

    #[test]
    fn databases_are_apart_and_survive_a_kill() -> anyhow::Result<()> {
        let mut postgres = Postgres::start()?;
        let (one, two) = (postgres.database()?, postgres.database()?);
        query(&postgres, &one, "create table t as select 42 as answer")?;
        assert!(query(&postgres, &two, "select * from t").is_err());
        postgres.kill()?;
        assert!(query(&postgres, &one, "select * from t").is_err());
        postgres.resume()?;
        assert_eq!(query(&postgres, &one, "select * from t")?.trim(), "42");
        Ok(())
    }
}
