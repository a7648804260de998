//! Joining: from a token to certificates.
use std::{error::Error, io, path::Path};

use axle_core::model::{Name, Uid};
use axle_proto::v1::{EnrollRequest, EnrollResponse, enrollment_client::EnrollmentClient};
use axle_transport::{
    pki::{JoinToken, PkiError, Principal},
    tls::{ClientTls, Expect, connect},
};

use crate::{
    credentials::{CredentialError, Keys, RoleCredentials},
    state_directory::Upstream,
};

/// Who joins where.
#[derive(Debug)]
pub struct Joining<'a> {
    /// At the hub as a cluster's relay, or at a relay as a node.
    pub upstream: &'a Upstream,
    /// By what right.
    pub proof: Proof<'a>,
    /// The cluster's name at the hub, the node's name at a relay.
    pub name: &'a Name,
}

/// By what right somebody joins.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// A join token.
    Token(&'a JoinToken),
    /// At a relay in Kubernetes: the token of the node agent's service account.
    ServiceAccount {
        /// The token.
        token: &'a str,
        /// SHA-256 of the mesh's root certificate in DER.
        root: [u8; 32],
        /// Whose relay it must be.
        cluster: Uid,
    },
}

impl std::fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(…)",
            Self::ServiceAccount { .. } => "ServiceAccount(…)",
        })
    }
}

impl Proof<'_> {
    fn root(&self) -> [u8; 32] {
        match self {
            Self::Token(token) => token.root,
            Self::ServiceAccount { root, .. } => *root,
        }
    }

    fn cluster(&self) -> Option<Uid> {
        match self {
            Self::Token(token) => token.cluster,
            Self::ServiceAccount { cluster, .. } => Some(*cluster),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Joined {
    /// The cluster's uid.
    pub cluster: Uid,
    /// The cluster's name.
    pub cluster_name: Name,
    /// The role's keys and certificates, already on disk.
    pub credentials: RoleCredentials,
}

/// Why joining failed.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Nobody answers.
    #[error("{address} does not answer: {why}")]
    Unavailable {
        /// Where.
        address: String,
        /// What happened.
        why: String,
    },
    /// Somebody else answers.
    #[error("{address} is not who the token names: {why}")]
    WrongServer {
        /// Where.
        address: String,
        /// What it showed and what was wanted.
        why: String,
    },
    /// The token is not accepted.
    #[error("{address} refused the token: {why}")]
    Refused {
        /// Where.
        address: String,
        /// In its words, which are the same for every reason.
        why: String,
    },
    /// What came back is not what was asked for.
    #[error("{address} answered with {why}")]
    WrongAnswer {
        /// Where.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// A key could not be made, or certificates not be kept.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
}

impl From<PkiError> for JoinError {
    fn from(error: PkiError) -> Self {
        Self::Credentials(error.into())
    }
}

/// Redeems the token and keeps what comes back at `path`.
///
/// # Errors
/// [`JoinError`] says which step failed. The token may be used up afterwards.
pub async fn join(joining: &Joining<'_>, path: &Path) -> Result<Joined, JoinError> {
    let is_relay = matches!(joining.upstream, Upstream::Hub(_));
    let keys = Keys::generate(is_relay)?;
    let granted = ask(joining, &keys).await?;
    let (Upstream::Hub(address) | Upstream::Relay(address)) = joining.upstream;
    let wrong = |why: String| JoinError::WrongAnswer { address: address.clone(), why };
    let (cluster, cluster_name) = cluster(&granted).map_err(wrong)?;
    let credentials = RoleCredentials::keep(path, &keys, &granted)?;
    let wanted = if is_relay { Principal::Relay(cluster) } else { Principal::Node(cluster, joining.name.clone()) };
    if credentials.principal() != wanted {
        return Err(wrong(format!("a certificate for {}, wanted {wanted}", credentials.principal())));
    }
    Ok(Joined { cluster, cluster_name, credentials })
}

/// Joins anew, under the same name and with new keys, in the place of what `credentials` were.
///
/// # Errors
/// As [`join`]; what was in use stays.
pub async fn join_anew(joining: &Joining<'_>, credentials: &RoleCredentials) -> Result<(), JoinError> {
    let keys = Keys::generate(credentials.authority().is_some())?;
    let granted = ask(joining, &keys).await?;
    Ok(credentials.renew(&keys, &granted)?)
}

async fn ask(joining: &Joining<'_>, keys: &Keys) -> Result<EnrollResponse, JoinError> {
    let (address, expect) = match joining.upstream {
        Upstream::Hub(address) => (address, Expect::Hub),
        Upstream::Relay(address) => (address, joining.proof.cluster().map_or(Expect::AnyRelay, Expect::Relay)),
    };
    let (token, service_account_token) = match joining.proof {
        Proof::Token(token) => (token.reveal(), String::new()),
        Proof::ServiceAccount { token, .. } => (String::new(), token.to_owned()),
    };
    let request = EnrollRequest {
        token,
        name: joining.name.to_string(),
        csr: keys.own.csr()?.into(),
        ca_csr: keys.authority.as_ref().map(|key| key.csr()).transpose()?.unwrap_or_default().into(),
        service_account_token,
    };
    let tls = ClientTls::joining(joining.proof.root(), expect)?;
    let channel = connect(address, &tls).await.map_err(|error| connection_failure(address, &*error))?;
    let answer = EnrollmentClient::new(channel).enroll(request).await.map_err(|status| refusal(address, &status))?;
    Ok(answer.into_inner())
}

fn cluster(granted: &EnrollResponse) -> Result<(Uid, Name), String> {
    let uid = <[u8; 16]>::try_from(&granted.cluster[..])
        .map_err(|_| format!("a cluster uid of {} bytes, wanted 16", granted.cluster.len()))?;
    let name = Name::new(granted.cluster_name.clone()).map_err(|error| error.to_string())?;
    Ok((Uid(uid), name))
}

/// Why there is no connection: nobody there, or the wrong one (the TLS library reports a refused certificate as bad data).
fn connection_failure(address: &str, error: &(dyn Error + 'static)) -> JoinError {
    let mut innermost = error;
    let mut wrong_server = false;
    loop {
        let io = innermost.downcast_ref::<io::Error>();
        wrong_server |= io.is_some_and(|error| error.kind() == io::ErrorKind::InvalidData);
        match innermost.source() {
            Some(source) => innermost = source,
            None => break,
        }
    }
    let (address, why) = (address.to_owned(), innermost.to_string());
    if wrong_server { JoinError::WrongServer { address, why } } else { JoinError::Unavailable { address, why } }
}

fn refusal(address: &str, status: &tonic::Status) -> JoinError {
    let (address, why) = (address.to_owned(), status.message().to_owned());
    match status.code() {
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => JoinError::Refused { address, why },
        tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => JoinError::Unavailable { address, why },
        code => JoinError::WrongAnswer { address, why: format!("{code:?}: {why}") },
    }
}
