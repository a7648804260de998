//! The way to the API server.
use std::{path::Path, time::Duration};

use kube::{
    Client, Config,
    client::ClientBuilder,
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tower::limit::RateLimitLayer;

/// Requests that may begin in a second. All of a client stand in one line, first come first served, so none is starved.
const REQUESTS_PER_SECOND: u64 = 20;
/// How long the server may be silent within an answer. A watch hears a bookmark about every minute.
const SILENCE: Duration = Duration::from_secs(150);
/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(10);

/// The API server of the cluster that this agent belongs to. Cheap to clone.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
    config: Config,
}

impl std::fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiServer({})", self.address())
    }
}

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// This is no pod.
    #[error("this is no pod of a cluster, and no kubeconfig is named: {0}")]
    NoPod(#[from] InClusterError),
    /// The file is wrong.
    #[error("the kubeconfig does not do: {0}")]
    File(#[from] KubeconfigError),
    /// What they say does not do.
    #[error("the API server's settings do not do: {0}")]
    Settings(#[from] kube::Error),
}

impl ApiServer {
    /// As this file says, or as a pod knows it. Nothing is sent yet. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn find(kubeconfig: Option<&Path>) -> Result<Self, ConnectError> {
        let config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
            }
            None => Config::incluster()?,
        };
        Self::at(config)
    }

    /// With these settings.
    ///
    /// # Errors
    /// When they do not do.
    pub fn at(mut config: Config) -> Result<Self, ConnectError> {
        config.connect_timeout = Some(CONNECTING);
        config.read_timeout = Some(SILENCE);
        config.reset_reader_on_write = true;
        Ok(Self { client: client(&config)?, config })
    }

    /// For requests that may wait in line.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A line of its own, for what must not wait behind others.
    ///
    /// # Errors
    /// When the settings do not do any more.
    pub fn separate(&self) -> Result<Client, ConnectError> {
        client(&self.config)
    }

    /// The namespace that this agent is in.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.config.default_namespace
    }

    /// Where it is, for people.
    #[must_use]
    pub fn address(&self) -> String {
        self.config.cluster_url.to_string()
    }
}

fn client(config: &Config) -> Result<Client, ConnectError> {
    let mut config = config.clone();
    // Whoever asks tries again by themselves, and says meanwhile why; retries within the client would pass by the line.
    config.default_retry = false;
    let limit = RateLimitLayer::new(REQUESTS_PER_SECOND, Duration::from_secs(1));
    Ok(ClientBuilder::try_from(config)?.with_layer(&limit).build())
}
