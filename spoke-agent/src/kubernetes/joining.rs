//! How a node of Kubernetes joins: at its cluster's relay, by the token of its agent's service account.
use std::{path::PathBuf, time::Duration};

use axle_core::session::Backoff;
use axle_transport::sync::LinkState;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use tokio::sync::watch;

use super::{
    client::ApiServer,
    place::{Here, RELAY, RelayPlace},
    trouble::Trouble,
};
use crate::{
    credentials::RoleCredentials,
    enroll::{JoinError, Joining, Proof, join, join_anew},
    problems::Problems,
    state_directory::{Enrollment, StateDirectory, Upstream},
};

/// The pauses between attempts.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// How long somebody who has joined waits for the API server before they go on with what they have.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a session may be away before the relay is asked anew.
const AWAY: Duration = Duration::from_secs(20);
/// The longest pause between two such attempts.
const LONGEST_AWAY: Duration = Duration::from_secs(600);
/// Who reports here.
const SOURCE: &str = "kubernetes";

/// Who joins, and by what.
#[derive(Debug, Clone)]
pub struct Joiner {
    api: ApiServer,
    here: Here,
    /// The file with the service account's token, which the kubelet keeps fresh.
    token: PathBuf,
}

/// Why it did not work this time.
#[derive(Debug, thiserror::Error)]
enum NotYet {
    #[error(transparent)]
    Trouble(#[from] Trouble),
    #[error("{0}")]
    Place(String),
    #[error("the service account's token cannot be read: {0}")]
    Token(std::io::Error),
    #[error(transparent)]
    Join(#[from] JoinError),
}

impl Joiner {
    /// For the node that `here` names.
    #[must_use]
    pub fn new(api: ApiServer, here: Here, token: PathBuf) -> Self {
        Self { api, here, token }
    }

    /// Who this node is. If it has not joined yet, or in another cluster than its relay's, it joins, however long that
    /// takes.
    ///
    /// # Errors
    /// When the state directory does not do.
    pub async fn joined(&self, state: &StateDirectory, problems: &Problems) -> anyhow::Result<Enrollment> {
        let known = state.enrollment()?.filter(|known| known.node == self.here.node);
        let usable = RoleCredentials::load(&state.node_certificates());
        let usable = usable.inspect_err(|error| tracing::warn!(%error, "the node joins anew")).ok().flatten().is_some();
        if let Some(known) = known.filter(|_| usable) {
            match tokio::time::timeout(PATIENCE, self.place()).await {
                Ok(Ok(place)) if place.cluster == known.cluster => {
                    let upstream = Upstream::Relay(place.address);
                    if upstream != known.upstream {
                        let moved = Enrollment { upstream, ..known };
                        state.enroll(&moved)?;
                        return Ok(moved);
                    }
                    return Ok(known);
                }
                Ok(Ok(_)) => {
                    tracing::warn!("this machine was a node of another cluster; it joins the one of its relay")
                }
                // Whoever has joined needs nobody to start.
                Ok(Err(_)) | Err(_) => return Ok(known),
            }
        }
        let mut pauses = Backoff::new(PAUSES.0, PAUSES.1);
        loop {
            match self.join(state).await {
                Ok(enrollment) => {
                    state.enroll(&enrollment)?;
                    problems.set(SOURCE, Vec::new());
                    tracing::info!(cluster.name = %enrollment.cluster_name, node.name = %enrollment.node, "joined");
                    return Ok(enrollment);
                }
                Err(why) => problems.set(SOURCE, vec![format!("this node has not joined yet: {why}")]),
            }
            tokio::time::sleep(PAUSES.0 + pauses.next(getrandom::u64().unwrap_or_default())).await;
        }
    }

    async fn place(&self) -> Result<RelayPlace, NotYet> {
        let api = Api::<ConfigMap>::namespaced(self.api.client(), &self.here.namespace);
        match api.get_opt(RELAY).await {
            Ok(Some(map)) => RelayPlace::read(&map).map_err(NotYet::Place),
            Ok(None) => {
                let namespace = &self.here.namespace;
                let why = format!("namespace {namespace} has no ConfigMap {RELAY}: no relay leads there yet");
                Err(NotYet::Place(why))
            }
            Err(error) => Err(Trouble::of::<ConfigMap>("get", &error).into()),
        }
    }

    fn token(&self) -> Result<String, NotYet> {
        let read = std::fs::read_to_string(&self.token);
        let named =
            |error: std::io::Error| std::io::Error::new(error.kind(), format!("{}: {error}", self.token.display()));
        Ok(read.map_err(|error| NotYet::Token(named(error)))?.trim().to_owned())
    }

    async fn join(&self, state: &StateDirectory) -> Result<Enrollment, NotYet> {
        let RelayPlace { address, cluster, root } = self.place().await?;
        let (token, upstream) = (self.token()?, Upstream::Relay(address));
        let proof = Proof::ServiceAccount { token: &token, root, cluster };
        let joining = Joining { upstream: &upstream, proof, name: &self.here.node };
        let joined = join(&joining, &state.node_certificates()).await?;
        let node = self.here.node.clone();
        Ok(Enrollment { cluster: joined.cluster, cluster_name: joined.cluster_name, node, upstream })
    }

    /// Sees to it that the relay knows this node: while there is no session, the relay may have another address, or may
    /// have lost the node's key. Ends when the relay is elsewhere: whoever starts then finds it.
    pub async fn keep_joined(
        self,
        enrollment: Enrollment,
        credentials: RoleCredentials,
        mut link: watch::Receiver<LinkState>,
    ) {
        let mut pause = AWAY;
        loop {
            let is_up = |state: &LinkState| matches!(state, LinkState::Connected);
            if link.wait_for(|state| !is_up(state)).await.is_err() {
                return;
            }
            match tokio::time::timeout(pause, link.wait_for(is_up)).await {
                Ok(Ok(_)) => {
                    pause = AWAY;
                    continue;
                }
                Ok(Err(_)) => return,
                Err(_) => pause = (pause * 2).min(LONGEST_AWAY),
            }
            match self.join_anew(&enrollment, &credentials).await {
                Ok(true) => tracing::info!("the relay has not answered for a while: joined anew"),
                Ok(false) => return tracing::warn!("the relay is elsewhere: starting anew to find it"),
                Err(why) => {
                    tracing::warn!(%why, "the relay has not answered for a while, and joining anew does not work")
                }
            }
        }
    }

    /// Whether the relay is where it was.
    async fn join_anew(&self, known: &Enrollment, credentials: &RoleCredentials) -> Result<bool, NotYet> {
        let RelayPlace { address, cluster, root } = self.place().await?;
        let upstream = Upstream::Relay(address);
        if (&upstream, cluster) != (&known.upstream, known.cluster) {
            return Ok(false);
        }
        let token = self.token()?;
        let proof = Proof::ServiceAccount { token: &token, root, cluster };
        join_anew(&Joining { upstream: &upstream, proof, name: &known.node }, credentials).await?;
        Ok(true)
    }
}
