//! The connection to a hub: TLS pinned to the hub's own CA, a JWT on every call.
use std::{error::Error, io};

use axle_proto::v1::admin_client::AdminClient;
use axle_transport::{
    context::Context,
    pki::certificate_pem,
    tls::{self, ClientTls, Expect},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Uri},
};

use crate::failure::{Exit, Failure};

/// The admin service of a hub.
pub(crate) type Admin = AdminClient<InterceptedService<Channel, Bearer>>;

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

/// Connects to the hub of `context`, naming the step that fails. The hub's roots as it names them, PEM, come along if they
/// are not those of the context: while its certificates are given a new root, the next one is learned so.
pub(crate) async fn connect(context: &Context) -> Result<(Admin, Option<String>), Failure> {
    let address = address(&context.hub)?;
    let trusted = certificates(&context.ca)?;
    let tls = ClientTls::anonymous(&trusted, Expect::Hub)
        .map_err(|error| bad_context(&format!("the CA is not usable: {error}")))?;
    let mut token: MetadataValue<Ascii> = format!("Bearer {}", context.token)
        .parse()
        .map_err(|_| bad_context("the token has characters that no token has"))?;
    token.set_sensitive(true);
    let channel = tls::connect(&address, &tls).await.map_err(|error| unreachable_hub(&address, error.as_ref()))?;
    let named = tls.named_roots();
    let same = named.len() == trusted.len() && named.iter().all(|root| trusted.contains(root));
    let news = (!same).then(|| named.iter().map(certificate_pem).collect());
    Ok((AdminClient::with_interceptor(channel, Bearer(token)).max_decoding_message_size(MAX_ANSWER), news))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|error| bad_context(&format!("the CA is not PEM: {error}")))?;
    if all.is_empty() {
        return Err(bad_context("there is no certificate in the CA's text"));
    }
    Ok(all)
}

/// `host:port` of `https://host[:port]`; the port is 7443 where none is given.
fn address(hub: &str) -> Result<String, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!(
            "{hub:?} is not a hub's address: {why}; wanted https://HOST:PORT, such as https://hub.example:7443"
        ))
    };
    let uri: Uri = hub.parse().map_err(|error| wrong(&format!("{error}")))?;
    if uri.scheme_str() != Some("https") {
        return Err(wrong("it does not start with https://"));
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(wrong("it has a path"));
    }
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it has no host"))?;
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(7443)))
}

fn bad_context(why: &str) -> Failure {
    Failure::new(Exit::Usage, "context", why).fix("axle login --hub URL --ca FILE --token-file FILE")
}

fn unreachable_hub(address: &str, error: &(dyn Error + 'static)) -> Failure {
    let causes = || std::iter::successors(Some(error), |&error| error.source());
    let cause = causes().last().map(ToString::to_string).unwrap_or_default();
    // The TLS library reports a certificate that it refuses as invalid data; what the network does has other kinds.
    let io = causes().find_map(|cause| cause.downcast_ref::<io::Error>());
    if io.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData) {
        return Failure::new(
            Exit::Auth,
            "wrong_certificate",
            format!("the server at {address} did not prove that it is your hub: {cause}"),
        )
        .fix("it is another hub, or someone in between; if your hub was made anew, log in with its new CA");
    }
    Failure::new(Exit::Unavailable, "unavailable", format!("cannot reach the hub at {address}: {cause}"))
        .fix("see that the hub runs and that this address leads to it (axle context list)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(address("https://hub.example").unwrap(), "hub.example:7443");
        assert_eq!(address("https://[fd00::1]:99/").unwrap(), "[fd00::1]:99");
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
    fn a_ca_must_be_pem() {
        for ca in ["", "hello", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
            assert_eq!(certificates(ca).unwrap_err().exit, Exit::Usage, "{ca:?}");
        }
    }
}
