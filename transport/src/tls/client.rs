//! The calling end of TLS, and gRPC channels over it.
use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use axle_core::model::Uid;
use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use super::{FRAME, SharedCredentials, provider};
use crate::pki::{PkiError, Principal, Root, Usage, sha256, verify};

/// Whom a caller means to reach. Addresses and DNS names do not matter: the certificate's URI does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// The hub.
    Hub,
    /// The relay of this cluster.
    Relay(Uid),
    /// A relay of any cluster: for a node that joins with a token that does not name one.
    AnyRelay,
}

impl Expect {
    fn admits(&self, principal: &Principal) -> bool {
        match (self, principal) {
            (Self::Hub, Principal::Hub) | (Self::AnyRelay, Principal::Relay(_)) => true,
            (Self::Relay(wanted), Principal::Relay(got)) => wanted == got,
            _ => false,
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("the hub"),
            Self::Relay(cluster) => write!(f, "the relay of cluster {cluster}"),
            Self::AnyRelay => f.write_str("a relay"),
        }
    }
}

/// How a caller proves itself and whom it accepts.
#[derive(Debug, Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    named: Named,
}

/// The roots that the other end named with its certificate when it was verified last.
type Named = Arc<Mutex<Vec<CertificateDer<'static>>>>;

#[derive(Debug, Clone)]
enum Trust {
    Shared(SharedCredentials),
    Roots(Vec<Root>),
    Pin([u8; 32]),
}

impl ClientTls {
    /// With a certificate of our own, and the roots that came with it; both as they are at each connection.
    ///
    /// # Errors
    /// When the TLS library refuses its settings.
    pub fn mutual(credentials: SharedCredentials, expect: Expect) -> Result<Self, PkiError> {
        Self::build(Trust::Shared(credentials), expect)
    }

    /// Without a certificate, trusting these roots: for people's tools.
    ///
    /// # Errors
    /// When a root is not one.
    pub fn anonymous(roots: &[CertificateDer<'_>], expect: Expect) -> Result<Self, PkiError> {
        Self::build(Trust::Roots(roots.iter().map(Root::read).collect::<Result<_, _>>()?), expect)
    }

    /// Without a certificate, trusting the root whose DER has this SHA-256: for who joins with a token.
    ///
    /// # Errors
    /// When the TLS library refuses its settings.
    pub fn joining(root: [u8; 32], expect: Expect) -> Result<Self, PkiError> {
        Self::build(Trust::Pin(root), expect)
    }

    fn build(trust: Trust, expect: Expect) -> Result<Self, PkiError> {
        let provider = provider();
        let own = match &trust {
            Trust::Shared(credentials) => Some(credentials.clone()),
            Trust::Roots(_) | Trust::Pin(_) => None,
        };
        let named = Named::default();
        let verifier = Verifier { trust, expect, named: named.clone(), provider: provider.clone() };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|why| PkiError::Making(why.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match own {
            Some(credentials) => builder.with_client_cert_resolver(Arc::new(Resolver(credentials))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), named })
    }

    /// The roots that the other end named with its certificate when it was verified last; empty before. They are as good
    /// as its word: the next root of a rotation is learned so while the present one is trusted.
    #[must_use]
    pub fn named_roots(&self) -> Vec<CertificateDer<'static>> {
        self.named.lock().clone()
    }
}

/// A gRPC channel to `address` (`host:port`) that connects when it is first used, and again when it was cut.
///
/// # Errors
/// When the address is not one.
pub fn channel(address: &str, tls: &ClientTls) -> Result<Channel, PkiError> {
    Ok(endpoint(address)?.connect_with_connector_lazy(Connector(tls.clone())))
}

/// A gRPC channel to `address` (`host:port`), connected now.
///
/// # Errors
/// When the address is not one, nobody answers there within ten seconds, or the wrong party does; the innermost source
/// of the error says which.
pub async fn connect(address: &str, tls: &ClientTls) -> Result<Channel, Box<dyn std::error::Error + Send + Sync>> {
    Ok(endpoint(address)?.connect_with_connector(Connector(tls.clone())).await?)
}

fn endpoint(address: &str) -> Result<Endpoint, PkiError> {
    let host = address.strip_prefix("https://").unwrap_or(address).trim_end_matches('/');
    let wrong =
        |why: String| PkiError::Unreadable { what: "address", why: format!("{address:?}: {why}; wanted host:port") };
    let uri: Uri = format!("https://{host}").parse().map_err(|why: http::uri::InvalidUri| wrong(why.to_string()))?;
    if uri.port_u16().is_none() || uri.path() != "/" {
        return Err(wrong("it has no port, or more than host and port".into()));
    }
    let endpoint = Endpoint::from(uri)
        .max_frame_size(u32::try_from(FRAME).ok())
        .connect_timeout(Duration::from_secs(10))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(20))
        .keep_alive_while_idle(true);
    Ok(endpoint)
}

#[derive(Clone)]
struct Connector(ClientTls);

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.0.clone();
        Box::pin(async move { dial(&uri, &tls).await.map(TokioIo::new) })
    }
}

/// A TLS connection to a URI's host and port.
pub(crate) async fn dial(uri: &Uri, tls: &ClientTls) -> io::Result<TlsStream<TcpStream>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_string();
    let port = uri.port_u16().unwrap_or_default();
    let stream = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(|why| io::Error::new(why.kind(), format!("no connection to {host} port {port}: {why}")))?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
    let connected = TlsConnector::from(tls.config.clone()).connect(name, stream).await;
    connected.map_err(|why| io::Error::new(why.kind(), format!("TLS handshake with {host} port {port} failed: {why}")))
}

#[derive(Debug)]
struct Resolver(SharedCredentials);

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().certified.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    expect: Expect,
    named: Named,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn check(&self, chain: &[CertificateDer<'_>], now: SystemTime) -> Result<(), PkiError> {
        let peer = match &self.trust {
            Trust::Shared(credentials) => verify(chain, &credentials.load().anchors, Usage::Server, now),
            Trust::Roots(roots) => verify(chain, roots, Usage::Server, now),
            Trust::Pin(pin) => verify(chain, &[pinned(chain, pin)?], Usage::Server, now),
        }?;
        if self.expect.admits(&peer.principal) {
            let named = chain.iter().filter(|certificate| Root::read(certificate).is_ok());
            *self.named.lock() = named.map(|root| root.clone().into_owned()).collect();
            return Ok(());
        }
        Err(PkiError::Refused(format!("it speaks for {}, wanted {}", peer.principal, self.expect)))
    }
}

fn pinned(chain: &[CertificateDer<'_>], pin: &[u8; 32]) -> Result<Root, PkiError> {
    if let Some(root) = chain.iter().find(|certificate| sha256(certificate) == *pin) {
        return Root::read(root);
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let got: Vec<String> = chain.iter().skip(1).map(|certificate| hex(&sha256(certificate))).collect();
    Err(PkiError::Refused(format!(
        "the token names the root {}, the server presents {}: wrong server, old token, or an interception",
        hex(pin),
        if got.is_empty() { "none".into() } else { got.join(" and ") }
    )))
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        self.check(&chain, now).map(|()| ServerCertVerified::assertion()).map_err(|why| Error::General(why.to_string()))
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
