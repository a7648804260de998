//! The hub's certificate authority, and the hub's own certificate from it.
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axle_core::model::Name;
use axle_transport::{
    pki::{Authority, PkiError, Principal, PrivateKey, Validity},
    tls::{Credentials, SharedCredentials},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::store::{Store, StoreError};

/// For how long the root holds: ten years. Its successor will overlap with it.
const ROOT_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// The name under which the store keeps it.
const SECRET: &str = "ca";

/// The mesh's root, which the first hub of all makes and every hub reads from the store.
///
/// # Errors
/// When the store cannot be used, holds something else, or belongs to another mesh.
pub async fn root(store: &dyn Store, mesh: &Name) -> Result<Authority, StoreError> {
    let making = |why: PkiError| StoreError::Setup(format!("the certificate authority: {why}"));
    let fresh = Authority::new_root(mesh, Validity::starting(SystemTime::now(), ROOT_LIFETIME)).map_err(making)?;
    let kept = store.secret(SECRET, &to_pem(&fresh)).await?;
    let root = from_pem(&kept).map_err(|why| StoreError::Corrupt(format!("the certificate authority: {why}")))?;
    if root.mesh() != mesh {
        return Err(StoreError::Setup(format!(
            "the database belongs to the mesh {:?}, the setting says {mesh:?}; set mesh to {:?}, or use another database",
            root.mesh(),
            root.mesh()
        )));
    }
    Ok(root)
}

/// A certificate in PEM.
#[must_use]
pub fn certificate_pem(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

fn to_pem(root: &Authority) -> String {
    format!("{}{}", *root.key().to_pem(), certificate_pem(root.certificate()))
}

fn from_pem(pem: &str) -> Result<Authority, PkiError> {
    let unreadable = |what: &'static str| move |why: String| PkiError::Unreadable { what, why };
    let certificate =
        CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|why| unreadable("certificate")(why.to_string()))?;
    Authority::from_parts(certificate, PrivateKey::from_pem(pem)?)
}

/// The hub's own certificate. Its key lives in this process alone.
#[derive(Debug)]
pub struct Own {
    root: Authority,
    names: Vec<String>,
    lifetime: Duration,
    credentials: SharedCredentials,
}

impl Own {
    /// A certificate for a hub that is reached at `names`.
    ///
    /// # Errors
    /// When a name is neither a DNS name nor an address.
    pub fn new(root: &Authority, names: Vec<String>, lifetime: Duration) -> Result<Self, PkiError> {
        let credentials = make(root, PrivateKey::generate()?, &names, lifetime)?.shared();
        Ok(Self { root: root.clone(), names, lifetime, credentials })
    }

    /// What the acceptor shows.
    #[must_use]
    pub fn credentials(&self) -> SharedCredentials {
        self.credentials.clone()
    }

    /// Renews it at half of its life, for ever.
    pub async fn renew(self) {
        loop {
            tokio::time::sleep(self.lifetime / 2).await;
            let key = self.credentials.load().key().clone();
            match make(&self.root, key, &self.names, self.lifetime) {
                Ok(renewed) => self.credentials.store(Arc::new(renewed)),
                Err(why) => tracing::error!(%why, "the hub's own certificate cannot be renewed"),
            }
        }
    }
}

fn make(root: &Authority, key: PrivateKey, names: &[String], lifetime: Duration) -> Result<Credentials, PkiError> {
    let validity = Validity::starting(SystemTime::now(), lifetime);
    let leaf = root.issue(&key.public()?, &Principal::Hub, names, validity)?;
    Credentials::new(vec![leaf], key, vec![root.certificate().clone()])
}
