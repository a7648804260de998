//! The lower side: one session after the other with the upstream, for as long as the process lives.
mod session;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use axle_core::session::{Backoff, FEATURES, Heartbeat, Limits};
use axle_proto::v1;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{
    host::SessionCounters,
    replica::{Goodbye, Replica},
    view::View,
};

/// A link to the upstream.
pub struct Link<R> {
    /// The node that this process runs on.
    pub node: String,
    /// Of this program.
    pub agent_version: String,
    /// The log of the own objects, sent upstream.
    pub own: Arc<View>,
    /// Where the upstream's log goes.
    pub replica: R,
    /// What the kernels hold: each new value is sent, and the newest at the beginning of each session.
    pub statuses: watch::Receiver<Vec<v1::NodeStatus>>,
    /// Told of every change.
    pub state: watch::Sender<LinkState>,
    /// Times and limits.
    pub settings: LinkSettings,
}

/// Times and limits of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSettings {
    /// How often this side shows that it lives.
    pub heartbeat: Heartbeat,
    /// The first ceiling of the wait before a reconnect.
    pub backoff_base: Duration,
    /// The highest ceiling.
    pub backoff_cap: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How much the upstream may send at once.
    pub limits: Limits,
    /// The features of objects that are taken; see [`FEATURES`].
    pub features: &'static [&'static str],
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            heartbeat: Heartbeat::default(),
            backoff_base: Duration::from_millis(250),
            backoff_cap: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            limits: Limits::default(),
            features: FEATURES,
        }
    }
}

/// How a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// Not yet, or not any more.
    Waiting {
        /// Why the last session ended or could not begin; empty before the first.
        reason: String,
    },
    /// Welcomed by the upstream.
    Connected,
}

/// How a session ended.
enum Ended {
    /// Stopped from this side.
    Stopped,
    /// It had been welcomed before this.
    Lost(Goodbye),
    /// It could not begin.
    Refused(Goodbye),
}

impl<R: Replica> Link<R> {
    /// Keeps the link until `stop`. `connect` makes a fresh channel for each attempt, with the certificates of that time.
    pub async fn run<C, F, E>(mut self, connect: C, stop: CancellationToken)
    where
        C: Fn() -> F,
        F: Future<Output = Result<Channel, E>>,
        E: fmt::Display,
    {
        let LinkSettings { backoff_base, backoff_cap, .. } = self.settings;
        let mut backoff = Backoff::new(backoff_base, backoff_cap);
        let counters = Arc::<SessionCounters>::default();
        loop {
            let ended = tokio::select! {
                ended = self.attempt(&connect, &counters) => ended,
                () = stop.cancelled() => Ended::Stopped,
            };
            let goodbye = match ended {
                Ended::Stopped => return,
                Ended::Refused(goodbye) => goodbye,
                Ended::Lost(goodbye) => {
                    backoff.reset();
                    goodbye
                }
            };
            let wait = goodbye.retry_after + backoff.next(random());
            tracing::warn!(reason = %goodbye, retry_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "the upstream is away");
            self.state.send_replace(LinkState::Waiting { reason: goodbye.reason });
            tokio::select! {
                () = tokio::time::sleep_until(Instant::now() + wait) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn attempt<C, F, E>(&mut self, connect: &C, counters: &Arc<SessionCounters>) -> Ended
    where
        C: Fn() -> F,
        F: Future<Output = Result<Channel, E>>,
        E: fmt::Display,
    {
        let timeout = self.settings.connect_timeout;
        match tokio::time::timeout(timeout, connect()).await {
            Ok(Ok(channel)) => session::run(self, channel, counters).await,
            Ok(Err(error)) => Ended::Refused(Goodbye::because(format_args!("cannot connect: {error}"))),
            Err(_) => Ended::Refused(Goodbye::because(format_args!("cannot connect: no answer in {timeout:?}"))),
        }
    }
}

/// Uniform over its type; the middle if the system has no randomness, which only spreads a herd less.
fn random() -> u64 {
    getrandom::u64().unwrap_or(u64::MAX / 2)
}
