//! The asking side.
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

use super::{Reply, Request};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens there.
    #[error("no agent is running with its socket at {path}")]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The system refused, or the agent broke off.
    #[error("cannot talk to the agent at {path}: {source}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Asks the agent whose socket is at `path`.
///
/// # Errors
/// If nobody answers there.
pub async fn ask(path: &Path, request: &Request) -> Result<Reply, AskError> {
    let broken = |source| AskError::Broken { path: path.into(), source };
    let mut stream = UnixStream::connect(path).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning { path: path.into() },
        _ => broken(error),
    })?;
    let exchange = async {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await?;
        Ok(serde_json::from_str(&answer)?)
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(answer) => answer.map_err(broken),
        Err(_) => Err(broken(io::Error::new(io::ErrorKind::TimedOut, "no answer in 30 s"))),
    }
}
