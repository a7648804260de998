//! Waiting for conditions instead of for time.
use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

const PAUSE: Duration = Duration::from_millis(10);

/// Asks `condition` again and again until it answers with a value; `what` completes the sentence "waited for ...".
///
/// # Errors
/// When `patience` is over; the message holds what `condition` last complained about.
pub fn eventually<T>(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(complaint) if start.elapsed() > patience => {
                bail!("waited {:.1} s for {what}; at last: {complaint:#}", start.elapsed().as_secs_f64())
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returns_the_first_value() -> anyhow::Result<()> {
        let mut count = 0;
        let value = eventually("three", Duration::from_secs(60), || {
            count += 1;
            if count == 3 { Ok(count) } else { bail!("only {count}") }
        })?;
        assert_eq!(value, 3);
        Ok(())
    }

    #[test]
    fn gives_up_with_the_last_complaint() {
        let error = eventually("it", Duration::ZERO, || -> anyhow::Result<()> { bail!("not yet") }).unwrap_err();
        assert!(error.to_string().contains("not yet"), "{error}");
    }
}
