//! The hub's own certificate, and whom the hub trusts.
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axle_transport::{
    pki::{PkiError, Principal, PrivateKey, Validity},
    tls::{Credentials, SharedCredentials},
};
use tokio::{sync::watch, time::sleep};

use super::bundle::Bundle;

/// The hub's own certificate. Its key lives in this process alone.
#[derive(Debug)]
pub struct Own {
    bundles: watch::Receiver<Arc<Bundle>>,
    names: Vec<String>,
    lifetime: Duration,
    credentials: SharedCredentials,
}

impl Own {
    /// A certificate for a hub that is reached at `names`, by the roots as they are and will be.
    ///
    /// # Errors
    /// When a name is neither a DNS name nor an address.
    pub fn new(
        mut bundles: watch::Receiver<Arc<Bundle>>,
        names: Vec<String>,
        lifetime: Duration,
    ) -> Result<Self, PkiError> {
        let made = make(&bundles.borrow_and_update(), PrivateKey::generate()?, &names, lifetime)?;
        Ok(Self { bundles, names, lifetime, credentials: made.shared() })
    }

    /// What the acceptor shows, and what it trusts.
    #[must_use]
    pub fn credentials(&self) -> SharedCredentials {
        self.credentials.clone()
    }

    /// Makes it anew at half of its life and with every change of the roots, for ever.
    pub async fn renew(mut self) {
        loop {
            tokio::select! {
                () = sleep(self.lifetime / 2) => {}
                changed = self.bundles.changed() => if changed.is_err() { return },
            }
            let bundle = self.bundles.borrow_and_update().clone();
            let key = self.credentials.load().key().clone();
            match make(&bundle, key, &self.names, self.lifetime) {
                Ok(renewed) => self.credentials.store(Arc::new(renewed)),
                Err(why) => tracing::error!(%why, "the hub's own certificate cannot be renewed"),
            }
        }
    }
}

fn make(bundle: &Bundle, key: PrivateKey, names: &[String], lifetime: Duration) -> Result<Credentials, PkiError> {
    let validity = Validity::starting(SystemTime::now(), lifetime);
    let leaf = bundle.signing().issue(&key.public()?, &Principal::Hub, names, validity)?;
    Credentials::new(bundle.chain(leaf), key, bundle.roots())
}
