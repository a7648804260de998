//! What the commands that talk to a running agent share.
use std::io::Write;

use super::{Exit, Failure, arguments::StateDirectory};
use crate::control::{self, AskError, Reply, Request};

/// Asks the running agent; what it refuses is a failure.
pub(super) async fn ask(state: &StateDirectory, request: &Request) -> Result<Reply, Failure> {
    match control::ask(&state.state_dir.join("agent.sock"), request).await {
        Ok(Reply::Refused { message }) => Err(Failure::new(Exit::Usage, message, "")),
        Ok(reply) => Ok(reply),
        Err(error @ AskError::NotRunning { .. }) => Err(Failure::new(
            Exit::Unavailable,
            error.to_string(),
            "start it with `axle-agent run`, or name its directory with --state-dir",
        )),
        Err(error) => Err(Failure::new(Exit::Unavailable, error.to_string(), "")),
    }
}

pub(super) fn unexpected(reply: &Reply) -> Failure {
    Failure::internal(format!("the agent answered something else: {reply:?}; are both of one version?"))
}

/// Prints to standard output. A reader that went away is no failure.
pub(super) fn say(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::internal(format!("cannot print: {error}")))
        }
        _ => Ok(()),
    }
}

pub(super) fn say_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::internal(error.to_string()))?;
    say(&text)
}

/// Milliseconds since 1970 as RFC 3339.
pub(super) fn clock(ms: u64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms / 1000) * 1_000_000_000);
    let text = time.ok().and_then(|time| time.format(&time::format_description::well_known::Rfc3339).ok());
    text.unwrap_or_else(|| format!("{ms} ms after 1970"))
}
