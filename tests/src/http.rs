//! The little HTTP that the harness needs to read health and metrics pages.
use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail};

use crate::netns::Netns;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads a page from a server on the loopback of `netns`.
///
/// # Errors
/// If nobody listens, or the answer is anything but 200.
pub fn get(netns: &Netns, port: u16, path: &str) -> anyhow::Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = netns.enter(|| TcpStream::connect_timeout(&address, TIMEOUT))?;
    let stream = stream.as_mut().map_err(|error| anyhow::anyhow!("cannot connect to {address}: {error}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("not an HTTP answer: {text:?}"))?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        _ => bail!("{path}: {}: {}", head.lines().next().unwrap_or_default(), body.trim()),
    }
}

/// The value of a metric in Prometheus' text format: the sum over its series whose labels contain all of `labels`, each
/// written as `name="value"`.
#[must_use]
pub fn metric(page: &str, name: &str, labels: &[&str]) -> f64 {
    let value_of = |line: &str| {
        let rest = line.strip_prefix(name)?;
        let (series, value) = rest.rsplit_once(' ')?;
        let same = series.is_empty() || series.starts_with('{');
        (same && labels.iter().all(|label| series.contains(label))).then(|| value.parse::<f64>().ok())?
    };
    page.lines().filter_map(value_of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_add_up_by_label() {
        let page = "# TYPE writes counter\nwrites_total{table=\"row\",x=\"1\"} 2\nwrites_total{table=\"row\",x=\"2\"} 3\n\
                    writes_total{table=\"address\"} 7\nwrites_total_other 100\nplain 1.5\n";
        assert_eq!(metric(page, "writes_total", &["table=\"row\""]), 5.0);
        assert_eq!(metric(page, "writes_total", &[]), 12.0);
        assert_eq!(metric(page, "plain", &[]), 1.5);
        assert_eq!(metric(page, "absent", &[]), 0.0);
    }
}
