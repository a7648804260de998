//! TLS 1.3 for both ends, with certificates that can be exchanged while connections live.
mod client;
mod credentials;
mod server;

#[cfg(test)]
pub(crate) use client::dial;
pub use client::{ClientTls, Expect, channel, connect};
pub use credentials::{Credentials, SharedCredentials};
pub(crate) use server::Caller;
pub use server::{RENEWAL_GRACE, ServerTls};

use std::sync::Arc;

use rustls::{CipherSuite, crypto::CryptoProvider};

/// Plain bytes in one TLS record at most (RFC 8446, section 5.1).
const RECORD: usize = 16 << 10;

/// What is best written at once, in bytes: whole records, and few enough to stay in a processor's caches on the way from
/// the log through the cipher into the socket.
pub(crate) const WRITE: usize = 8 * RECORD;

/// The payload of an HTTP/2 DATA frame (RFC 9113, section 4.1) that makes one such write with its head of nine bytes.
pub(crate) const FRAME: usize = WRITE - 9;

/// TLS 1.3's suites, AES-128 first: enough for keys that live as long as a connection, and a hub that sends much works a tenth
/// less than with AES-256.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}
