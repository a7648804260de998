//! The wall clock, as the log and its readers write it.
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    ms(SystemTime::now())
}

/// A time in milliseconds since 1970; 0 if it is before.
#[must_use]
pub fn ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|since| since.as_millis().try_into().ok()).unwrap_or_default()
}
