//! What is done beside a hub that runs, on its database.
use std::sync::Arc;

use anyhow::{Context as _, anyhow, ensure};
use axle_proto::v1::admin_server;
use axle_transport::{
    context::{Context, ContextFile},
    pki::certificate_pem,
    tls::{ClientTls, Expect, connect},
};
use rustls_pki_types::CertificateDer;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::lifetimes;
use crate::{
    authority::Authorities,
    config::Config,
    store::{Store, StoreError},
};

/// Asks the hub at `address` whether it can do its work. It must prove by a root of this database that it is one.
///
/// # Errors
/// When nobody or somebody else answers there, or the hub is not ready.
pub async fn check(config: &Config, store: Arc<dyn Store>, address: &str) -> anyhow::Result<()> {
    let tls = ClientTls::anonymous(&roots(config, store).await?, Expect::Hub)?;
    let ask = async {
        let channel = connect(address, &tls).await.map_err(|why| anyhow!(why))?;
        let request = HealthCheckRequest { service: admin_server::SERVICE_NAME.into() };
        let answer = HealthClient::new(channel).check(request).await?.into_inner();
        ensure!(answer.status() == ServingStatus::Serving, "the hub is not ready");
        Ok(())
    };
    ask.await.with_context(|| address.to_owned())
}

/// A context file for `axle`: the hub at `address`, and who bears `token` there.
///
/// # Errors
/// When the database cannot be used.
pub async fn context(config: &Config, store: Arc<dyn Store>, address: &str, token: String) -> anyhow::Result<String> {
    let ca = roots(config, store).await?.iter().map(certificate_pem).collect();
    let mut file = ContextFile::default();
    file.set(Context { name: config.mesh.to_string(), hub: format!("https://{address}"), ca, token });
    file.to_text().map_err(anyhow::Error::msg)
}

async fn roots(config: &Config, store: Arc<dyn Store>) -> Result<Vec<CertificateDer<'static>>, StoreError> {
    Ok(Authorities::open(store, &config.mesh, lifetimes(config)).await?.bundle().roots())
}
