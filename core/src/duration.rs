//! Spans of time as people write them.
use std::time::Duration;

/// Reads `250ms`, `90s`, `10m`, `24h`, `30d` or a sequence of those such as `1h30m`.
///
/// # Errors
/// A sentence that says what was found and what is wanted.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = |why: String| format!("{text:?} is not a span of time: {why}; wanted such as 250ms, 90s, 10m or 1h30m");
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" => return Err(wrong(format!("{number:?} has no unit"))),
            other => return Err(wrong(format!("{other:?} is no unit"))),
        };
        let count: u64 = number.parse().map_err(|_| wrong(format!("{number:?} before {unit:?} is no number")))?;
        let part = count.checked_mul(milliseconds).map(Duration::from_millis);
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(|| wrong("it is too long".into()))?;
        rest = after;
    }
    if text.is_empty() { Err(wrong("it is empty".into())) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, ms) in
            [("0s", 0), ("250ms", 250), ("90s", 90_000), ("10m", 600_000), ("1h30m", 5_400_000), ("2d", 172_800_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in
            ["", "10", "m", "1.5h", "-1s", "1w", "1h 30m", "99999999999999999999s", "18446744073709551615h", "٣s"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
