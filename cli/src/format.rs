//! Small things as people read and write them: durations, times, labels, counts.
use std::collections::BTreeMap;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Reads `key=value`.
///
/// # Errors
/// Says what is wanted.
pub(crate) fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not a label: wanted key=value")),
    }
}

/// `850 ms`, `3.2 s`, `4m 10s`, `2h 5m`, `3d 4h`.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", seconds, ms % 1000 / 100),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// RFC 3339 in UTC, to the second.
pub(crate) fn time(ms: u64) -> String {
    i64::try_from(ms / 1000)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("{ms} ms"))
}

/// `12:05:33.123` in UTC.
pub(crate) fn clock(ms: u64) -> String {
    let seconds = ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}.{:03}", seconds / 3_600, seconds / 60 % 60, seconds % 60, ms % 1000)
}

/// `a=1,b=2`, or `-`.
pub(crate) fn labels(labels: &BTreeMap<String, String>) -> String {
    list(labels.iter().map(|(key, value)| format!("{key}={value}")))
}

/// Joined by commas, or `-`.
pub(crate) fn list<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> String {
    let text = items.into_iter().fold(String::new(), |mut text, item| {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(item.as_ref());
        text
    });
    or_dash(text)
}

/// The text, or `-` where there is none.
pub(crate) fn or_dash(text: impl Into<String>) -> String {
    let text = text.into();
    if text.is_empty() { "-".into() } else { text }
}

/// `1 node`, `2 nodes`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// `80`, or for ICMP `type 8` and `type 3 code 4`.
pub(crate) fn port(protocol: &str, port: u32) -> String {
    match (protocol.starts_with("icmp"), port >> 8, port & 0xff) {
        (false, ..) => port.to_string(),
        (true, kind, 0) => format!("type {kind}"),
        (true, kind, code) => format!("type {kind} code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_written() {
        let written = [850, 3_240, 250_000, 7_500_000, 273_600_000].map(duration);
        assert_eq!(written, ["850 ms", "3.2 s", "4m 10s", "2h 5m", "3d 4h"]);
        assert_eq!(time(1_790_000_000_123), "2026-09-21T14:13:20Z");
        assert_eq!(clock(1_790_000_000_123), "14:13:20.123");
    }

    #[test]
    fn labels_are_read() {
        assert_eq!(parse_label("a/b=c=d"), Ok(("a/b".into(), "c=d".into())));
        assert!(parse_label("=x").is_err());
        assert!(parse_label("x").is_err());
    }

    #[test]
    fn icmp_ports_name_their_type() {
        assert_eq!(port("tcp", 80), "80");
        assert_eq!(port("icmp", 8 << 8), "type 8");
        assert_eq!(port("icmp", 3 << 8 | 4), "type 3 code 4");
    }
}
