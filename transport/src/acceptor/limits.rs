//! How much one server takes on.
use std::time::Duration;

/// Bounds of a server; the defaults suit a hub of a thousand clusters.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once; further ones wait in the kernel's queue.
    pub connections: usize,
    /// Connections from one address that have shown no certificate: during their handshake, or for good. A tenth of all,
    /// so that one machine cannot take every place, and a site behind one address still comes in.
    pub strangers: usize,
    /// Connections with one certificate's key: those of an agent, and of its former ones that are not yet known to be dead.
    pub of_one_peer: usize,
    /// TLS handshakes at once: a herd is served in turn, not all at a time.
    pub handshakes: usize,
    /// How long a handshake keeps its turn. What costs the server anything is done by then: who takes longer goes on
    /// without, and holds up nobody.
    pub turn: Duration,
    /// How long the wait for a handshake's first message, the rest of it, and the wait for the first request's headers may
    /// each take.
    pub handshake_timeout: Duration,
    /// How long a connection may last without a request.
    pub idle: Duration,
    /// HTTP/2 streams at once on one connection.
    pub streams: u32,
    /// Streams that a peer may have reset before we closed them; a flood of resets ends its connection.
    pub reset_streams: usize,
    /// Requests that one connection may begin within a second; a flood, also of requests cancelled at once, ends it.
    pub requests: u64,
    /// Request headers on one stream, in bytes.
    pub header_bytes: u32,
    /// Silence after which the other end is asked whether it lives.
    pub keepalive: Duration,
    /// How long the answer may take.
    pub keepalive_timeout: Duration,
    /// How often a live connection's right to be here is looked at again.
    pub recheck: Duration,
    /// How long requests in flight may go on once the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            strangers: 1_000,
            of_one_peer: 64,
            handshakes: 64,
            turn: Duration::from_millis(250),
            handshake_timeout: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            streams: 100,
            reset_streams: 20,
            requests: 2_000,
            header_bytes: 16 * 1024,
            keepalive: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(20),
            recheck: Duration::from_secs(2),
            drain: Duration::from_secs(10),
        }
    }
}
