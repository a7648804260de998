//! Spans of time as people write them.
use std::time::Duration;

/// Reads a span such as `90s`, `10m`, `24h` or `1h30m`; at least a second.
///
/// # Errors
/// A sentence that says what was found and what is wanted.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = |why: &str| format!("{text:?} is not a span of time: {why}; wanted such as 90s, 10m, 24h or 1h30m");
    let mut total: u64 = 0;
    let mut digits = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(wrong(&format!("{c:?} is no unit"))),
        };
        let count: u64 = digits.parse().map_err(|_| wrong(&format!("{digits:?} before {c:?} is no number")))?;
        digits.clear();
        total =
            count.checked_mul(unit).and_then(|span| total.checked_add(span)).ok_or_else(|| wrong("it is too long"))?;
    }
    if !digits.is_empty() {
        return Err(wrong(&format!("{digits} has no unit")));
    }
    if total == 0 {
        return Err(wrong("it is less than a second"));
    }
    Ok(Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, seconds) in
            [("1s", 1), ("90s", 90), ("10m", 600), ("24h", 86_400), ("1h30m", 5_400), ("2d", 172_800)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "10", "m", "0s", "1.5h", "-1s", "1w", "99999999999999999999s", "18446744073709551615h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
