//! Keys, certificates and who they speak for.
//!
//! Who a peer is follows from the shape of its chain, never from a message: a leaf signed by the root is the hub or a
//! relay, a leaf signed by a cluster's intermediate is a node of that cluster, anything else is refused.
mod authority;
mod chain;
mod key;
mod pem;
mod principal;
mod token;

pub use authority::{Authority, Validity};
pub use chain::{Peer, Root, Usage, verify};
pub use key::{PrivateKey, PublicKey, sha256};
pub use pem::certificate_pem;
pub use principal::Principal;
pub use token::JoinToken;

/// Certificates as they travel, leaf first.
pub type Chain = Vec<rustls_pki_types::CertificateDer<'static>>;

/// What can be wrong with a key, a certificate or a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PkiError {
    /// A key, request or certificate that does not parse, or one of a kind that is not taken.
    #[error("{what} cannot be read: {why}")]
    Unreadable {
        /// What it should have been.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A chain that does not lead to a trusted root, or does so in a shape that is not ours.
    #[error("the certificate is refused: {0}")]
    Refused(String),
    /// A chain that was good and whose time is over.
    #[error("the certificate of {} expired {} s ago", peer.principal, by.as_secs())]
    Expired {
        /// Whose it is: it may still ask for a renewal, and for nothing else.
        peer: Box<Peer>,
        /// For how long it has been over.
        by: std::time::Duration,
    },
    /// Signing or key generation failed.
    #[error("the certificate cannot be made: {0}")]
    Making(String),
}

#[cfg(test)]
mod tests;
