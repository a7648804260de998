//! The called end of TLS.
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::{SharedCredentials, provider};
use crate::pki::{Peer, PkiError, Usage, verify};

/// For how long an expired certificate may still ask for its renewal, unless a setting says otherwise: thirty days.
pub const RENEWAL_GRACE: Duration = Duration::from_secs(30 * 24 * 3600);

/// TLS settings of a server: the certificate in force at each handshake, a client certificate asked for and not
/// required, no session resumption (a resumed session would carry an identity that nobody verified again).
#[derive(Debug, Clone)]
pub struct ServerTls {
    credentials: SharedCredentials,
    grace: Duration,
    pub(crate) config: Arc<ServerConfig>,
}

/// Who is at the other end, after a handshake.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// No certificate.
    Anonymous,
    /// A certificate in force.
    Known(Peer),
    /// One whose time is over, within the grace for renewals.
    Expired(Peer),
}

impl ServerTls {
    /// Settings that follow `credentials` as they are exchanged.
    ///
    /// # Errors
    /// When the TLS library refuses them.
    pub fn new(credentials: SharedCredentials) -> Result<Self, PkiError> {
        Self::with_grace(credentials, RENEWAL_GRACE)
    }

    /// The same, with another time for which an expired certificate may ask for its renewal.
    ///
    /// # Errors
    /// When the TLS library refuses them.
    pub fn with_grace(credentials: SharedCredentials, grace: Duration) -> Result<Self, PkiError> {
        let provider = provider();
        let making = |why: Error| PkiError::Making(why.to_string());
        let verifier = Verifier { credentials: credentials.clone(), grace, provider: provider.clone() };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(making)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(Resolver(credentials.clone())));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { credentials, grace, config: Arc::new(config) })
    }

    /// Names the peer of a finished handshake. The chain is verified once more rather than read, so that nothing but a
    /// verified path can give a name.
    pub(crate) fn caller(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<Caller, PkiError> {
        let Some(chain) = chain else { return Ok(Caller::Anonymous) };
        match verify(chain, &self.credentials.load().anchors, Usage::Client, SystemTime::now()) {
            Ok(peer) => Ok(Caller::Known(peer)),
            Err(PkiError::Expired { peer, by }) if by <= self.grace => Ok(Caller::Expired(*peer)),
            Err(why) => Err(why),
        }
    }
}

#[derive(Debug)]
struct Resolver(SharedCredentials);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().certified.clone())
    }
}

#[derive(Debug)]
struct Verifier {
    credentials: SharedCredentials,
    grace: Duration,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        match verify(&chain, &self.credentials.load().anchors, Usage::Client, now) {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(PkiError::Expired { by, .. }) if by <= self.grace => Ok(ClientCertVerified::assertion()),
            Err(PkiError::Expired { .. }) => Err(CertificateError::Expired.into()),
            Err(why) => {
                tracing::debug!(%why, "client certificate refused");
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
