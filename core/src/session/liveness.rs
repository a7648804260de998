//! Decisions about time: when to say that one is alive, when to believe that the peer is not, when to try again.
use std::time::Duration;

/// How often a session says that it lives, and how long it believes so of a silent peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// The longest that one is silent.
    pub period: Duration,
}

impl Heartbeat {
    /// The longest silence of a peer that is believed to live: three periods, so that one lost or late sign is nothing.
    #[must_use]
    pub fn patience(self) -> Duration {
        self.period * 3
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { period: Duration::from_secs(10) }
    }
}

/// How long to wait before the next attempt: full jitter, a random part of a doubling ceiling, so that a herd spreads.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// Ceilings double from `base` up to `cap`.
    #[must_use]
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap, attempt: 0 }
    }

    /// An attempt went well: begin again from `base`.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// The next wait; `random` is uniform over its type.
    pub fn next(&mut self, random: u64) -> Duration {
        let ceiling = self.base.saturating_mul(1 << self.attempt.min(20)).min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(u64::try_from((u128::from(nanos) * u128::from(random)) >> 64).unwrap_or(nanos))
    }
}
