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

use rustls::crypto::CryptoProvider;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
