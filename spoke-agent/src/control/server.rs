//! The answering side.
use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
};

use super::{Answer, Asker, Reply, Request};
use crate::disk;

/// The longest request, in bytes.
const LONGEST: u64 = 4096;
/// How long somebody may take to ask.
const PATIENCE: Duration = Duration::from_secs(5);

/// Binds the socket at `path`, for its owner only, and returns the server, which runs until it is dropped. The caller
/// holds the lock of the state directory, so a socket found there is one that a killed agent left.
///
/// # Errors
/// As the system says, with the path.
pub fn serve<A: Answer>(path: &Path, answer: Arc<A>) -> io::Result<impl Future<Output = ()> + use<A>> {
    let named = |error: io::Error| disk::at(path, &error);
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(error)),
        _ => {}
    }
    // The directory is its owner's alone, so nobody can connect between the two steps.
    let listener = UnixListener::bind(path).map_err(named)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(named)?;
    Ok(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let answer = Arc::clone(&answer);
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, &*answer).await {
                            tracing::debug!(%error, "a local request broke off");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the local socket");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    })
}

async fn converse(stream: UnixStream, answer: &impl Answer) -> io::Result<()> {
    let asker = Asker { process: stream.peer_cred()?.pid() };
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    tokio::time::timeout(PATIENCE, (&mut stream).take(LONGEST).read_until(b'\n', &mut line)).await??;
    let reply = match serde_json::from_slice::<Request>(&line) {
        Ok(request) => answer.answer(request, asker).await,
        Err(error) => Reply::Refused { message: format!("not a request: {error}") },
    };
    let mut line = serde_json::to_vec(&reply)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.shutdown().await
}
