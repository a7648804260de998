//! Keys and signing requests.
use std::{fmt, sync::Arc};

use rcgen::{CertificateParams, KeyPair, PublicKeyData, SubjectPublicKeyInfo};
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use zeroize::Zeroizing;

use super::PkiError;

/// A private key (ECDSA P-256, which browsers also take at the dashboard's port). Cheap to clone.
#[derive(Clone)]
pub struct PrivateKey(pub(super) Arc<KeyPair>);

impl PrivateKey {
    /// A fresh key from the system's randomness.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, PkiError> {
        KeyPair::generate().map(|key| Self(Arc::new(key))).map_err(|why| PkiError::Making(why.to_string()))
    }

    /// Reads a PKCS#8 key in PEM.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn from_pem(pem: &str) -> Result<Self, PkiError> {
        let unreadable = |why: rcgen::Error| PkiError::Unreadable { what: "private key", why: why.to_string() };
        KeyPair::from_pem(pem).map(|key| Self(Arc::new(key))).map_err(unreadable)
    }

    /// The key as PKCS#8 in PEM, wiped from memory when dropped.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    /// Its public half.
    ///
    /// # Errors
    /// When the key is of a kind that is not taken.
    pub fn public(&self) -> Result<PublicKey, PkiError> {
        PublicKey::from_spki(&self.0.subject_public_key_info())
    }

    /// A PKCS#10 signing request in DER. It proves possession of the key and asks for nothing: whoever signs decides
    /// what the certificate says.
    ///
    /// # Errors
    /// When signing fails.
    pub fn csr(&self) -> Result<Vec<u8>, PkiError> {
        let request = CertificateParams::default().serialize_request(&*self.0);
        request.map(|request| request.der().to_vec()).map_err(|why| PkiError::Making(why.to_string()))
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

/// A public key that certificates are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    pub(super) info: SubjectPublicKeyInfo,
    fingerprint: [u8; 32],
}

/// The largest signing request that is looked at, in bytes.
const MAX_CSR: usize = 16 * 1024;

impl PublicKey {
    /// Takes the public key out of a PKCS#10 request whose signature proves possession; everything else that the
    /// request asks for is ignored.
    ///
    /// # Errors
    /// When the request does not parse, is not signed by its own key, or the key is of a kind that is not taken.
    pub fn from_csr(der: &[u8]) -> Result<Self, PkiError> {
        let unreadable = |why: &str| PkiError::Unreadable { what: "signing request", why: why.into() };
        if der.len() > MAX_CSR {
            return Err(unreadable(&format!("it has {} bytes, at most {MAX_CSR} are taken", der.len())));
        }
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| unreadable("not PKCS#10 in DER"))?;
        if !rest.is_empty() {
            return Err(unreadable("bytes follow after its end"));
        }
        request.verify_signature().map_err(|_| unreadable("it is not signed by the key that it holds"))?;
        Self::from_spki(request.certification_request_info.subject_pki.raw)
    }

    fn from_spki(spki: &[u8]) -> Result<Self, PkiError> {
        let unreadable = |why: String| PkiError::Unreadable { what: "public key", why };
        let info = SubjectPublicKeyInfo::from_der(spki).map_err(|why| unreadable(why.to_string()))?;
        let taken = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519];
        if !taken.into_iter().any(|kind| kind == info.algorithm()) {
            return Err(unreadable("wanted ECDSA P-256, ECDSA P-384 or Ed25519".into()));
        }
        Ok(Self { fingerprint: sha256(spki), info })
    }

    /// SHA-256 over the key's SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }
}

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref());
    out
}
