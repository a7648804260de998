//! What a process proves itself with.
use std::{sync::Arc, time::SystemTime};

use arc_swap::ArcSwap;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::provider;
use crate::pki::{Peer, PkiError, PrivateKey, Root, Usage, verify};

/// A certificate chain, its key, and the roots that others are verified against: renewed as a whole.
#[derive(Debug, Clone)]
pub struct Credentials {
    chain: Vec<CertificateDer<'static>>,
    roots: Vec<CertificateDer<'static>>,
    key: PrivateKey,
    peer: Peer,
    pub(super) anchors: Vec<Root>,
    pub(super) certified: Arc<CertifiedKey>,
}

/// Credentials that every new connection reads afresh: `store` a renewed set and it is in use.
pub type SharedCredentials = Arc<ArcSwap<Credentials>>;

impl Credentials {
    /// Puts together what an authority issued: `chain` leaf first, without roots.
    ///
    /// The roots are sent along after the chain, so that a joining peer can compare one with the hash in its token.
    ///
    /// # Errors
    /// When the chain does not verify against the roots (an expired one does: it can still be renewed), or the key is
    /// not the leaf's.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKey,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, PkiError> {
        let anchors = roots.iter().map(Root::read).collect::<Result<Vec<_>, _>>()?;
        let peer = match verify(&chain, &anchors, Usage::Client, SystemTime::now()) {
            Err(PkiError::Expired { peer, .. }) => *peer,
            other => other?,
        };
        if peer.key != key.public()?.fingerprint() {
            return Err(PkiError::Refused("this key does not belong to this certificate".into()));
        }
        let unreadable = |why: String| PkiError::Unreadable { what: "private key", why };
        let der = PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).map_err(|why| unreadable(why.to_string()))?;
        let signer = provider().key_provider.load_private_key(der).map_err(|why| unreadable(why.to_string()))?;
        let sent = chain.iter().chain(&roots).cloned().collect();
        Ok(Self { certified: Arc::new(CertifiedKey::new(sent, signer)), chain, roots, key, peer, anchors })
    }

    /// Wraps it for sharing.
    #[must_use]
    pub fn shared(self) -> SharedCredentials {
        Arc::new(ArcSwap::from_pointee(self))
    }

    /// Whom these credentials speak for, and until when.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The chain, leaf first, without roots.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The roots trusted.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }
}
