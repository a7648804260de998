//! From a presented chain to a peer.
use std::time::{Duration, SystemTime};

use axle_core::model::Name;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{PkiError, Principal, sha256};

/// The other end of a connection, as its certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub principal: Principal,
    /// SHA-256 of its public key (SubjectPublicKeyInfo in DER).
    pub key: [u8; 32],
    /// When its chain stops holding.
    pub not_after: SystemTime,
}

/// A root that is trusted, of one mesh.
#[derive(Debug, Clone)]
pub struct Root {
    anchor: TrustAnchor<'static>,
    mesh: Name,
    not_after: SystemTime,
}

impl Root {
    /// Reads a root certificate.
    ///
    /// # Errors
    /// When it is not the root of a mesh.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, PkiError> {
        let facts = Facts::read(certificate)?;
        let (mesh, principal) = facts.name()?;
        if let Some(other) = principal {
            return Err(PkiError::Refused(format!("the certificate of {other} is not a root")));
        }
        if !facts.signs_itself {
            return Err(PkiError::Refused("it is a root's certificate by another root, not the root itself".into()));
        }
        let anchor = webpki::anchor_from_trusted_cert(certificate).map_err(refused)?.to_owned();
        Ok(Self { anchor, mesh, not_after: facts.not_after })
    }

    /// The mesh it is the root of.
    #[must_use]
    pub fn mesh(&self) -> &Name {
        &self.mesh
    }

    /// Its last moment.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }
}

/// Which end of TLS the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// It called.
    Client,
    /// It was called.
    Server,
}

/// Verifies a presented chain (leaf first) at `now` and says whose it is.
///
/// # Errors
/// [`PkiError::Expired`] when all is well but the time; [`PkiError::Refused`] otherwise.
pub fn verify(chain: &[CertificateDer<'_>], roots: &[Root], usage: Usage, now: SystemTime) -> Result<Peer, PkiError> {
    let (leaf, others) = chain.split_first().ok_or_else(|| PkiError::Refused("there is none".into()))?;
    // Time is judged apart from everything else: an expired chain must be known as that, and only as that.
    let mut not_after = Facts::read(leaf)?.not_after;
    let others: Vec<CertificateDer<'_>> = others.iter().take(MAX_OTHERS).cloned().collect();
    let cert = EndEntityCert::try_from(leaf).map_err(refused)?;
    let anchors: Vec<TrustAnchor<'_>> = roots.iter().map(|root| root.anchor.clone()).collect();
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
    for other in &others {
        let facts = Facts::read(other)?;
        if matches!(facts.name(), Ok((_, Some(Principal::Cluster(_))))) {
            not_after = not_after.min(facts.not_after);
        }
    }
    let at = unix(now.min(not_after));
    let eku = match usage {
        Usage::Client => KeyUsage::client_auth(),
        Usage::Server => KeyUsage::server_auth(),
    };
    let path = cert.verify_for_usage(algorithms, &anchors, &others, at, eku, None, None).map_err(refused)?;

    let root = roots.iter().find(|root| root.anchor == *path.anchor());
    let mesh = root.map(|root| &root.mesh).ok_or_else(|| PkiError::Refused("its root is unknown".into()))?;
    let leaf_facts = Facts::read(leaf)?;
    let principal = leaf_facts.principal(mesh)?;
    let issuers: Vec<CertificateDer<'_>> = path.intermediate_certificates().map(webpki::Cert::der).collect();
    // A root that the root before it vouches for changes nothing in what may stand below it.
    let below = match issuers.split_last() {
        Some((last, below)) if matches!(Facts::read(last)?.name()?, (of, None) if of == *mesh) => below,
        _ => issuers.as_slice(),
    };
    let lawful = match (below, &principal) {
        ([], Principal::Hub | Principal::Relay(_)) => true,
        ([issuer], Principal::Node(cluster, _)) => {
            Facts::read(issuer)?.principal(mesh)? == Principal::Cluster(*cluster)
        }
        _ => false,
    };
    if !lawful {
        return Err(PkiError::Refused(format!("its issuer may not speak for {principal}")));
    }
    let peer = Peer { principal, key: leaf_facts.key_fingerprint, not_after };
    match now.duration_since(not_after) {
        Ok(by) if by > Duration::ZERO => Err(PkiError::Expired { peer: Box::new(peer), by }),
        _ => Ok(peer),
    }
}

/// Certificates beside the leaf that are looked at. During a rotation of roots there are four: the cluster's intermediate,
/// what vouches for the next root, and both roots.
const MAX_OTHERS: usize = 4;

fn refused(why: webpki::Error) -> PkiError {
    PkiError::Refused(why.to_string())
}

fn unix(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

/// What we read out of a certificate ourselves; the signatures are [`webpki`]'s.
pub(super) struct Facts {
    pub(super) common_name: String,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    signs_itself: bool,
    pub(super) key_fingerprint: [u8; 32],
    uris: Vec<String>,
}

impl Facts {
    pub(super) fn read(certificate: &[u8]) -> Result<Self, PkiError> {
        let unreadable = |why: String| PkiError::Unreadable { what: "certificate", why };
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|why| unreadable(why.to_string()))?;
        let time = |at: x509_parser::time::ASN1Time| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(at.timestamp()).unwrap_or_default())
        };
        let common_name = parsed.subject().iter_common_name().find_map(|name| name.as_str().ok()).unwrap_or_default();
        let names = parsed.subject_alternative_name().map_err(|why| unreadable(why.to_string()))?;
        let uris = names.into_iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_string()),
            _ => None,
        });
        Ok(Self {
            common_name: common_name.to_owned(),
            not_before: time(parsed.validity().not_before),
            not_after: time(parsed.validity().not_after),
            signs_itself: parsed.subject() == parsed.issuer(),
            key_fingerprint: sha256(parsed.public_key().raw),
            uris: uris.collect(),
        })
    }

    /// The mesh, and the principal unless the name is the mesh's own.
    pub(super) fn name(&self) -> Result<(Name, Option<Principal>), PkiError> {
        let [uri] = self.uris.as_slice() else {
            return Err(PkiError::Refused(format!("it has {} URI names, wanted one", self.uris.len())));
        };
        if let Some(mesh) = uri.strip_prefix("spiffe://").filter(|rest| !rest.contains('/')) {
            let mesh = Name::new(mesh).map_err(|why| PkiError::Refused(why.to_string()))?;
            return Ok((mesh, None));
        }
        Principal::parse(uri).map(|(mesh, principal)| (mesh, Some(principal)))
    }

    fn principal(&self, mesh: &Name) -> Result<Principal, PkiError> {
        match self.name()? {
            (of, Some(principal)) if of == *mesh => Ok(principal),
            (of, Some(_)) => Err(PkiError::Refused(format!("it is of the mesh {of}, not of {mesh}"))),
            (_, None) => Err(PkiError::Refused("a root is not a leaf".into())),
        }
    }
}
