//! Asking the agent: one line of JSON each way.
use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    thread,
    time::{Duration, Instant},
};

use crate::{Settings, json};

/// How long until an agent that is away, or does not know the pod yet, is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// A pod whose network is being made.
pub(super) struct Pod<'a> {
    pub(super) uid: &'a str,
    /// The file of its network namespace.
    pub(super) network: &'a str,
}

/// Returns once the agent says that the pod is protected.
pub(super) fn protect(settings: &Settings, pod: &Pod) -> Result<(), String> {
    let network = File::open(pod.network).map_err(|why| format!("{}: {why}", pod.network))?;
    // The agent looks at what we hold open: it may not have the folder of namespaces.
    let request =
        format!("{{\"ask\":\"protect\",\"pod\":{},\"network\":{}}}\n", json::text(pod.uid), network.as_raw_fd());
    let until = Instant::now() + settings.wait;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match once(&settings.socket, &request, left) {
            Err(why) if left.is_zero() => return Err(why),
            Err(_) => thread::sleep(PAUSE.min(left)),
            Ok(()) => return Ok(()),
        }
    }
}

fn once(socket: &str, request: &str, patience: Duration) -> Result<(), String> {
    let answer = exchange(socket, request, patience).map_err(|why| format!("{socket}: {why}"))?;
    let members = json::members(&answer).map_err(|why| format!("{socket} answered {answer:?}: {why}"))?;
    let get = |name: &str| members.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
    match get("answer") {
        Some(r#""protected""#) => Ok(()),
        _ => Err(get("message").unwrap_or(&answer).to_owned()),
    }
}

fn exchange(socket: &str, request: &str, patience: Duration) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    // Zero would be for ever.
    stream.set_read_timeout(Some(patience.max(PAUSE)))?;
    stream.set_write_timeout(Some(patience.max(PAUSE)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}
