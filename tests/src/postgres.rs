//! A PostgreSQL server of one's own: on a temporary folder and a Unix socket, so without a port that could collide.
use std::{
    env,
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::Context;
use nix::unistd::{Uid, User};
use tempfile::TempDir;

use crate::{
    authority::Authority,
    eventually,
    fabric::Host,
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
    place: Place,
    tls: Option<Tls>,
}

/// Where others reach it, by TLS only.
#[derive(Debug)]
struct Tls {
    /// Two addresses; the first is in the certificate.
    hosts: [String; 2],
    port: u16,
    authority: Authority,
}

impl Postgres {
    /// Makes a new server and waits until it answers.
    ///
    /// # Errors
    /// Where PostgreSQL's server programs are missing or do not start.
    pub fn start() -> anyhow::Result<Self> {
        let mut postgres = Self::create()?;
        postgres.resume()?;
        Ok(postgres)
    }

    /// The same, which others reach on loopback too: only by TLS, with a root of its own.
    ///
    /// # Errors
    /// As for [`Postgres::start`].
    pub fn start_with_tls() -> anyhow::Result<Self> {
        // This process's own addresses, so nobody else takes the port.
        let [_, a, b, c] = std::process::id().to_be_bytes();
        let hosts = [format!("127.{a}.{b}.{c}"), format!("127.{}.{b}.{c}", a | 0x80)];
        let port = TcpListener::bind((hosts[0].as_str(), 0))?.local_addr()?.port();
        Self::listening(Place::default(), hosts, port)
    }

    /// The same on a host of a fabric, at the port 5432 of its addresses.
    ///
    /// # Errors
    /// As for [`Postgres::start`].
    pub fn start_on(host: &Host) -> anyhow::Result<Self> {
        let place = Place { netns: Some(host.netns.path()), cgroup: None };
        Self::listening(place, host.addresses.map(|address| address.to_string()), 5432)
    }

    fn listening(place: Place, hosts: [String; 2], port: u16) -> anyhow::Result<Self> {
        let mut postgres = Self { place, ..Self::create()? };
        let authority = Authority::create(&postgres.folder.path().join("pki"))?;
        authority.sign("postgres", "postgres", None, &hosts[..1])?;
        let data = postgres.folder.path().join("data");
        for (from, to) in [("postgres.crt", "server.crt"), ("postgres.key", "server.key")] {
            let to = data.join(to);
            fs::copy(authority.file(from), &to)?;
            fs::set_permissions(&to, Permissions::from_mode(0o600))?;
            postgres.programs.give(&to)?;
        }
        fs::write(data.join("pg_hba.conf"), "local all all trust\nhostssl all all all trust\n")?;
        postgres.tls = Some(Tls { hosts, port, authority });
        postgres.resume()?;
        Ok(postgres)
    }

    fn create() -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let folder = tempfile::Builder::new().prefix("axle-postgres-").tempdir()?;
        programs.give(folder.path())?;
        let mut initdb = programs.command("initdb");
        initdb.args(["--no-sync", "--auth=trust", "--username=axle", "--encoding=UTF8", "--locale=C", "--pgdata"]);
        run(initdb.arg(folder.path().join("data")))?;
        Ok(Self { server: None, programs, folder, databases: AtomicU32::new(0), place: Place::default(), tls: None })
    }

    /// A new, empty database of this server, as a connection URL.
    ///
    /// # Errors
    /// Where the server is away.
    pub fn database(&self) -> anyhow::Result<String> {
        let socket = self.folder.path().display();
        Ok(format!("postgres://axle@localhost/{}?host={socket}", self.create_database()?))
    }

    /// The same as others reach it, at an address that is in the server's certificate, and at one that is not.
    ///
    /// # Errors
    /// As for [`Postgres::database`], and where it has no TLS.
    pub fn tls_database(&self) -> anyhow::Result<[String; 2]> {
        let (name, tls) = (self.create_database()?, self.tls.as_ref().context("it was started without TLS")?);
        Ok(tls.hosts.each_ref().map(|host| format!("postgres://axle@{host}:{}/{name}", tls.port)))
    }

    /// The file of the root that it proves itself by.
    ///
    /// # Errors
    /// Where it has no TLS.
    pub fn ca(&self) -> anyhow::Result<PathBuf> {
        Ok(self.tls.as_ref().context("it was started without TLS")?.authority.file("ca.crt"))
    }

    fn create_database(&self) -> anyhow::Result<String> {
        let name = format!("axle{}", self.databases.fetch_add(1, Ordering::Relaxed));
        run(self.client("createdb").arg(&name))?;
        Ok(name)
    }

    /// A program of PostgreSQL that asks the server.
    fn client(&self, program: &str) -> Command {
        let mut command = self.programs.command(program);
        command.arg("--username=axle").arg("--host").arg(self.folder.path());
        if let Some(tls) = &self.tls {
            command.args(["--port", &tls.port.to_string()]);
        }
        command
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
            let mut command = self.programs.server();
            command.args(["-F", "-c", "max_connections=200", "-c", "shared_buffers=32MB", "-h"]);
            match &self.tls {
                None => command.arg(""),
                Some(tls) => command.arg(tls.hosts.join(",")).args(["-c", "ssl=on", "-p", &tls.port.to_string()]),
            };
            command.arg("-k").arg(socket).arg("-D").arg(&data);
            Process::start("postgres", command, &self.place, &socket.join("log"))
        };
        let mut server = start()?;
        eventually("PostgreSQL to answer", Duration::from_secs(60), || {
            // It does not start while a process of the killed one still ends.
            if let Err(ended) = server.check_alive() {
                server = start()?;
                return Err(ended);
            }
            run(self.client("pg_isready").arg("--quiet"))
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

    /// Makes a file or folder theirs.
    fn give(&self, path: &Path) -> anyhow::Result<()> {
        self.user.as_ref().map_or(Ok(()), |user| chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())))?;
        Ok(())
    }

    /// The server, which becomes somebody else only after it has entered its place.
    fn server(&self) -> Command {
        let program = self.folder.join("postgres");
        let mut command = match &self.user {
            None => Command::new(program),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args(["--pdeathsig=KILL", "--clear-groups"]);
                command.arg(format!("--reuid={}", user.uid)).arg(format!("--regid={}", user.gid)).arg(program);
                command
            }
        };
        command.current_dir("/").env("LC_ALL", "C");
        command
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
