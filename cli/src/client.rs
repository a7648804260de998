//! The connection to a hub: TLS pinned to the hub's own CA, a JWT on every call.
use std::{io, sync::Arc, time::Duration};

use axle_proto::v1::admin_client::AdminClient;
use axle_transport::context::Context;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Uri},
};

use crate::failure::{Exit, Failure};

/// The admin service of a hub.
pub(crate) type Admin = AdminClient<InterceptedService<Channel, Bearer>>;

/// How long each step of connecting may take.
const STEP: Duration = Duration::from_secs(10);
/// The largest answer taken: a page of a thousand policies with their documents fits.
const MAX_ANSWER: usize = 64 << 20;

/// Puts the user's token on every request.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Connects to the hub of `context`, naming the step that fails.
pub(crate) async fn connect(context: &Context) -> Result<Admin, Failure> {
    let (host, port) = address(&context.hub)?;
    let tls = config(&context.ca)?;
    let mut token: MetadataValue<Ascii> = format!("Bearer {}", context.token)
        .parse()
        .map_err(|_| bad_context("the token has characters that no token has"))?;
    token.set_sensitive(true);

    // The steps are taken here, one by one, so that a failure says which it was.
    let stream = handshake(&host, port, tls).await?;
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_: Uri| {
        let stream = stream.take().ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the connection was lost"));
        async move { stream }
    });
    let uri = Uri::builder().scheme("https").authority(format!("{}:{port}", bracketed(&host))).path_and_query("/").build();
    let uri = uri.map_err(|error| bad_context(&format!("the hub's address is not usable: {error}")))?;
    let channel = Endpoint::from(uri)
        .connect_with_connector(connector)
        .await
        .map_err(|error| unavailable(&context.hub, "speak HTTP/2 with", &root_cause(&error)))?;
    Ok(AdminClient::with_interceptor(channel, Bearer(token)).max_decoding_message_size(MAX_ANSWER))
}

async fn handshake(host: &str, port: u16, tls: ClientConfig) -> Result<TlsStream<TcpStream>, Failure> {
    let at = format!("{}:{port}", bracketed(host));
    let mut addresses = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| unavailable(&at, "look up the name of", &error.to_string()))?
        .peekable();
    if addresses.peek().is_none() {
        return Err(unavailable(&at, "look up the name of", "it has no address"));
    }
    let addresses: Vec<_> = addresses.collect();
    let tcp = timeout(STEP, async {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(tcp) => return Ok(tcp),
                Err(error) => last = error,
            }
        }
        Err(last)
    });
    let tcp = tcp.await.map_err(|_| unavailable(&at, "connect to", "no answer in 10 s"))?;
    let tcp = tcp.map_err(|error| unavailable(&at, "connect to", &error.to_string()))?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| bad_context(&format!("{host:?} is no name of a server: {error}")))?;
    let tls = timeout(STEP, TlsConnector::from(Arc::new(tls)).connect(name, tcp)).await;
    tls.map_err(|_| unavailable(&at, "make a TLS connection to", "no answer in 10 s"))?.map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(reason)) => Failure::new(
                Exit::Auth,
                "wrong_certificate",
                format!("the server at {at} did not prove that it is your hub: {reason}"),
            )
            .fix("this is another hub, or someone in between; if the hub was made anew, log in again with its new CA"),
            _ => unavailable(&at, "make a TLS connection to", &error.to_string()),
        }
    })
}

fn config(ca: &str) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        let certificate = certificate.map_err(|error| bad_context(&format!("the CA is not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| bad_context(&format!("the CA is not a certificate: {error}")))?;
    }
    if roots.is_empty() {
        return Err(bad_context("there is no certificate in the CA's text"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Failure::new(Exit::Internal, "tls", error.to_string()))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Host and port of `https://host[:port]`; the port is 7443 where none is given.
pub(crate) fn address(hub: &str) -> Result<(String, u16), Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!("{hub:?} is not a hub's address: {why}; wanted https://HOST:PORT, such as https://hub.example:7443"))
    };
    let uri: Uri = hub.parse().map_err(|error| wrong(&format!("{error}")))?;
    if uri.scheme_str() != Some("https") {
        return Err(wrong("it does not start with https://"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("it has a path"));
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), uri.port_u16().unwrap_or(7443)))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn bad_context(why: &str) -> Failure {
    Failure::new(Exit::Usage, "context", why).fix("axle login --hub URL --ca FILE --token-file FILE")
}

fn unavailable(at: &str, step: &str, why: &str) -> Failure {
    Failure::new(Exit::Unavailable, "unavailable", format!("cannot {step} the hub at {at}: {why}"))
        .fix("see that the hub runs and that this address leads to it (axle context list)")
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(address("https://hub.example").unwrap(), ("hub.example".into(), 7443));
        assert_eq!(address("https://[fd00::1]:99/").unwrap(), ("fd00::1".into(), 99));
        for (wrong, why) in [
            ("http://hub:1", "does not start with https"),
            ("hub:7443", "does not start with https"),
            ("https://hub/x", "path"),
            ("https://", "not a hub's address"),
        ] {
            let failure = address(wrong).unwrap_err();
            assert!(failure.message.contains(why) && failure.exit == Exit::Usage, "{failure}");
        }
    }

    #[test]
    fn a_ca_must_be_a_certificate() {
        for ca in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert_eq!(config(ca).unwrap_err().exit, Exit::Usage, "{ca:?}");
        }
    }
}
