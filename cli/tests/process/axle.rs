//! Runs the command.
use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use axle_hub::auth::Role;
use axle_transport::context::{Context, ContextFile};
use base64::Engine as _;
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, process::Command};

use crate::fixture::Hub;

/// A user of the command with a home of its own.
pub(crate) struct User {
    pub(crate) dir: tempfile::TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    /// Its output, if it succeeded.
    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    pub(crate) fn json(self) -> Value {
        let out = self.good();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// Its error, if it ended with this code.
    pub(crate) fn bad(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.starts_with("error"), "{self:?}");
        self.err
    }
}

/// The hub's root certificate.
pub(crate) fn ca(hub: &Hub) -> String {
    let der = base64::prelude::BASE64_STANDARD.encode(hub.running.root().certificate());
    format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n")
}

impl User {
    /// A user without any context.
    pub(crate) fn stranger() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A user with a context for this hub.
    pub(crate) fn of(hub: &Hub, role: Role) -> Self {
        let user = Self::stranger();
        let mut file = ContextFile::default();
        let (hub_url, token) = (format!("https://{}", hub.running.tls_address), hub.token(role));
        file.set(Context { name: "test".into(), hub: hub_url, ca: ca(hub), token });
        file.save(&user.config()).unwrap();
        user
    }

    /// Puts another token into the user's context.
    pub(crate) fn bears(&self, token: &str) {
        let mut file = ContextFile::load(&self.config()).unwrap();
        let context = file.get("test").unwrap().clone();
        file.set(Context { token: token.to_owned(), ..context });
        file.save(&self.config()).unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("config.yaml")
    }

    /// Writes a file into the user's home.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_axle")));
        command.env_clear().env("AXLE_CONFIG", self.config()).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Run {
        ended(self.command().args(arguments).output().await.unwrap())
    }

    pub(crate) async fn run_with_input(&self, arguments: &[&str], input: &str) -> Run {
        let mut command = self.command();
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        ended(child.wait_with_output().await.unwrap())
    }
}

pub(crate) fn ended(output: Output) -> Run {
    use std::os::unix::process::ExitStatusExt as _;
    let code = output.status.code().or(output.status.signal().map(|signal| 128 + signal)).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code, out: text(output.stdout), err: text(output.stderr) }
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
