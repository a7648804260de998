//! Decisions about time: when to say that one is alive, when to believe that the peer is not, when to try again.
use std::time::Duration;

/// Watches a session's silence. Times are from any monotonic clock's start.
#[derive(Debug, Clone, Copy)]
pub struct Liveness {
    period: Duration,
    heard: Duration,
    said: Duration,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulse {
    /// Look again at this time.
    Wait(Duration),
    /// Say something.
    Speak,
    /// The peer has been silent for three periods.
    Dead,
}

impl Liveness {
    /// A session that begins now, with one heartbeat a period.
    #[must_use]
    pub fn new(period: Duration, now: Duration) -> Self {
        Self { period, heard: now, said: now }
    }

    /// Something came.
    pub fn heard(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Something was said.
    pub fn said(&mut self, now: Duration) {
        self.said = now;
    }

    /// What to do now.
    #[must_use]
    pub fn pulse(&self, now: Duration) -> Pulse {
        let (dead, speak) = (self.heard + self.period * 3, self.said + self.period);
        if now >= dead {
            Pulse::Dead
        } else if now >= speak {
            Pulse::Speak
        } else {
            Pulse::Wait(dead.min(speak))
        }
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
