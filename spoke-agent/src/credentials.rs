//! Keys and certificates of one role, on disk and in use.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwapOption;
use axle_proto::v1::EnrollResponse;
use axle_transport::{
    pki::{Authority, PkiError, Principal, PrivateKey, sha256},
    tls::{Credentials, SharedCredentials},
};
use prost::Message;

use crate::disk::{self, Sealed};

/// What a role proves itself with; a relay also what it signs its nodes' certificates with. Renewed in place: every
/// new connection uses the newest.
#[derive(Debug, Clone)]
pub struct RoleCredentials {
    path: PathBuf,
    shared: SharedCredentials,
    authority: Arc<ArcSwapOption<Authority>>,
}

/// The keys that certificates are asked for.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The role's own.
    pub own: PrivateKey,
    /// For the cluster's certificate authority, held by its relay.
    pub authority: Option<PrivateKey>,
}

/// The file. Field numbers are on disk for ever.
#[derive(Clone, PartialEq, Message)]
struct Kept {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, optional, tag = "2")]
    authority_key: Option<String>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    chain: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "4")]
    authority: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "5")]
    roots: Vec<Vec<u8>>,
}

/// Why credentials cannot be kept or used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A key or certificate is wrong.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The file is there and not usable.
    #[error("{0}")]
    Damaged(String),
}

impl Keys {
    /// New ones.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate(with_authority: bool) -> Result<Self, PkiError> {
        let authority = if with_authority { Some(PrivateKey::generate()?) } else { None };
        Ok(Self { own: PrivateKey::generate()?, authority })
    }
}

impl RoleCredentials {
    /// Puts together what an authority answered and keeps it at `path`.
    ///
    /// # Errors
    /// When the certificates do not belong to the keys or to each other, or the file cannot be written.
    pub fn keep(path: &Path, keys: &Keys, granted: &EnrollResponse) -> Result<Self, CredentialError> {
        let kept = kept(keys, granted);
        let (credentials, authority) = kept.check()?;
        store(path, &kept)?;
        Ok(Self::of(path, credentials, authority))
    }

    /// What is kept at `path`; `None` if nothing is.
    ///
    /// # Errors
    /// When the file is damaged or cannot be read.
    pub fn load(path: &Path) -> Result<Option<Self>, CredentialError> {
        match disk::unseal(path)? {
            Sealed::Missing => Ok(None),
            Sealed::SetAside(why) => Err(CredentialError::Damaged(format!("{why}; join again with a new token"))),
            Sealed::Whole(bytes) => {
                let damaged = |why: String| CredentialError::Damaged(format!("{}: {why}", path.display()));
                let kept = Kept::decode(&bytes[..]).map_err(|error| damaged(error.to_string()))?;
                let (credentials, authority) = kept.check().map_err(|error| damaged(error.to_string()))?;
                Ok(Some(Self::of(path, credentials, authority)))
            }
        }
    }

    fn of(path: &Path, credentials: Credentials, authority: Option<Authority>) -> Self {
        let authority = Arc::new(ArcSwapOption::from_pointee(authority));
        Self { path: path.into(), shared: credentials.shared(), authority }
    }

    /// Takes a renewal for `keys`: kept on disk, then in use by every new connection.
    ///
    /// # Errors
    /// As [`RoleCredentials::keep`]; what was in use stays.
    pub fn renew(&self, keys: &Keys, granted: &EnrollResponse) -> Result<(), CredentialError> {
        let kept = kept(keys, granted);
        let (credentials, authority) = kept.check()?;
        if credentials.peer().principal != self.principal() {
            let why = format!("the renewal is for {}, wanted {}", credentials.peer().principal, self.principal());
            return Err(PkiError::Refused(why).into());
        }
        store(&self.path, &kept)?;
        self.authority.store(authority.map(Arc::new));
        self.shared.store(Arc::new(credentials));
        Ok(())
    }

    /// For connections.
    #[must_use]
    pub fn shared(&self) -> SharedCredentials {
        self.shared.clone()
    }

    /// SHA-256 of the root certificate that they come from.
    #[must_use]
    pub fn root(&self) -> [u8; 32] {
        self.shared.load().roots().first().map(|root| sha256(root)).unwrap_or_default()
    }

    /// What nodes' certificates are signed with, at a relay.
    #[must_use]
    pub fn authority(&self) -> Option<Arc<Authority>> {
        self.authority.load_full()
    }

    /// The keys of a renewal: the own one as it is, a new one for the cluster's authority. Certificates that nodes hold by
    /// the authority of before stand as long as they say, since each carries that authority's certificate.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn next_keys(&self) -> Result<Keys, PkiError> {
        let authority = self.authority.load().as_ref().map(|_| PrivateKey::generate()).transpose()?;
        Ok(Keys { own: self.shared.load().key().clone(), authority })
    }

    /// Whom they speak for.
    #[must_use]
    pub fn principal(&self) -> Principal {
        self.shared.load().peer().principal.clone()
    }

    /// When the first of the certificates ends.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        let own = self.shared.load().peer().not_after;
        self.authority.load().as_ref().map_or(own, |authority| authority.not_after().min(own))
    }
}

fn kept(keys: &Keys, granted: &EnrollResponse) -> Kept {
    Kept {
        key: keys.own.to_pem().to_string(),
        authority_key: keys.authority.as_ref().map(|key| key.to_pem().to_string()),
        chain: granted.chain.iter().map(|der| der.to_vec()).collect(),
        authority: granted.ca_chain.iter().map(|der| der.to_vec()).collect(),
        roots: granted.roots.iter().map(|der| der.to_vec()).collect(),
    }
}

fn store(path: &Path, kept: &Kept) -> Result<(), CredentialError> {
    if let Some(directory) = path.parent() {
        disk::private_directory(directory)?;
    }
    Ok(disk::seal(path, &kept.encode_to_vec())?)
}

impl Kept {
    fn check(&self) -> Result<(Credentials, Option<Authority>), PkiError> {
        let chain = self.chain.iter().map(|der| der.clone().into()).collect();
        let roots = self.roots.iter().map(|der| der.clone().into()).collect();
        let credentials = Credentials::new(chain, PrivateKey::from_pem(&self.key)?, roots)?;
        let authority = match (&self.authority_key, self.authority.first()) {
            (Some(key), Some(certificate)) => {
                Some(Authority::from_parts(certificate.clone().into(), PrivateKey::from_pem(key)?)?)
            }
            (None, None) => None,
            (Some(_), None) => return Err(PkiError::Refused("no certificate came for the cluster's authority".into())),
            (None, Some(_)) => {
                return Err(PkiError::Refused("a certificate authority came that nobody asked for".into()));
            }
        };
        Ok((credentials, authority))
    }
}
