//! How nodes join this relay and renew their certificates, also with the hub away.
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axle_core::model::{Name, Uid};
use axle_proto::v1::{EnrollRequest, EnrollResponse, RenewRequest, enrollment_server::Enrollment};
use axle_transport::{
    acceptor::{ExpiredPeer, Guard},
    pki::{JoinToken, Peer, Principal, PublicKey, Validity},
};
use tonic::{Request, Response, Status};

use super::{registry::Registry, tokens::Tokens};
use crate::{clock, credentials::RoleCredentials};

/// The same for every reason: whoever tries tokens learns nothing.
const REFUSED: &str =
    "the token is unknown, used, expired or for another name; ask for a new one: axle-agent token create";

/// The same for every reason here too; the reason is in the relay's log.
const UNPROVEN: &str = "the service account's token does not prove that this is that node; the relay's log says why";

/// Knows which node the token of a service account is from.
#[tonic::async_trait]
pub trait Review: std::fmt::Debug + Send + Sync + 'static {
    /// The node, if the token is its agent's.
    async fn node_of(&self, token: &str) -> Result<Name, Unproven>;
}

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unproven {
    /// It is not what is wanted, for this reason.
    Refused(String),
    /// Nobody can be asked now, for this reason.
    Unknown(String),
}

/// The enrolment service of a relay.
#[derive(Debug)]
pub struct NodeEnrollment {
    /// The relay's own, whose authority signs.
    pub credentials: RoleCredentials,
    /// The relay's cluster.
    pub cluster: Uid,
    /// Its name.
    pub cluster_name: Name,
    /// Given out and not yet used.
    pub tokens: Arc<Tokens>,
    /// Asked about tokens of service accounts; `None`: there are none here.
    pub review: Option<Arc<dyn Review>>,
    /// Who is let in.
    pub registry: Arc<Registry>,
    /// Hears of renewals, so that connections outlive the certificates they began with.
    pub guard: Arc<Guard>,
    /// How long nodes' certificates live.
    pub lifetime: Duration,
}

impl NodeEnrollment {
    async fn prove(&self, node: &Name, token: &str) -> Result<(), Status> {
        let refused = |why: &str| {
            tracing::warn!(node.name = %node, reason = %why, "a node was refused");
            Status::unauthenticated(UNPROVEN)
        };
        let review = self.review.as_ref().ok_or_else(|| refused("this relay is not in Kubernetes"))?;
        match review.node_of(token).await {
            Ok(proven) if proven == *node => Ok(()),
            Ok(proven) => Err(refused(&format!("the token is of node {proven}"))),
            Err(Unproven::Refused(why)) => Err(refused(&why)),
            Err(Unproven::Unknown(why)) => Err(Status::unavailable(why)),
        }
    }

    fn issue(&self, node: Name, csr: &[u8]) -> Result<(EnrollResponse, SystemTime), Status> {
        let key = PublicKey::from_csr(csr).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let authority = self.credentials.authority().ok_or_else(|| Status::internal("this relay has no authority"))?;
        let validity = Validity::starting(SystemTime::now(), self.lifetime);
        let leaf = authority
            .issue(&key, &Principal::Node(self.cluster, node), &[], validity)
            .map_err(|error| Status::internal(error.to_string()))?;
        let shared = self.credentials.shared();
        let roots = shared.load().roots().iter().map(|root| root.to_vec().into()).collect();
        let granted = EnrollResponse {
            chain: vec![leaf.to_vec().into(), authority.certificate().to_vec().into()],
            ca_chain: Vec::new(),
            roots,
            cluster: self.cluster.0.to_vec().into(),
            cluster_name: self.cluster_name.to_string(),
        };
        Ok((granted, validity.not_after.min(authority.not_after())))
    }
}

#[tonic::async_trait]
impl Enrollment for NodeEnrollment {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        let refused = |why: &str| {
            tracing::warn!(node.name = %request.name, reason = %why, "a node was refused");
            Status::unauthenticated(REFUSED)
        };
        let node = Name::new(request.name.clone()).map_err(|error| Status::invalid_argument(error.to_string()))?;
        // What can be wrong with the rest is found before the token is used up.
        let key = PublicKey::from_csr(&request.csr).map_err(|error| Status::invalid_argument(error.to_string()))?;
        if request.service_account_token.is_empty() {
            let token: JoinToken = request.token.parse().map_err(|_| refused("it is not a token"))?;
            self.tokens.redeem(&token, &node, clock::now_ms()).map_err(|why| refused(&why))?;
        } else {
            self.prove(&node, &request.service_account_token).await?;
        }
        let (granted, _) = self.issue(node.clone(), &request.csr)?;
        self.registry.enter(node, key.fingerprint()).map_err(|error| Status::internal(error.to_string()))?;
        tracing::info!(node.name = %request.name, "a node joined");
        Ok(Response::new(granted))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<EnrollResponse>, Status> {
        let extensions = request.extensions();
        let peer =
            extensions.get::<Peer>().or_else(|| extensions.get::<ExpiredPeer>().map(|expired| &expired.0)).cloned();
        let peer = peer.ok_or_else(|| Status::unauthenticated("a renewal needs the certificate that it renews"))?;
        let Principal::Node(cluster, node) = &peer.principal else {
            return Err(Status::permission_denied(format!("{} is not a node of this cluster", peer.principal)));
        };
        if *cluster != self.cluster {
            return Err(Status::permission_denied(format!("{} is not a node of this cluster", peer.principal)));
        }
        self.registry.admits(&peer).map_err(Status::permission_denied)?;
        let csr = &request.get_ref().csr;
        let key = PublicKey::from_csr(csr).map_err(|error| Status::invalid_argument(error.to_string()))?;
        if key.fingerprint() != peer.key {
            return Err(Status::permission_denied("a renewal keeps its key; for another key join again"));
        }
        let (granted, not_after) = self.issue(node.clone(), csr)?;
        self.guard.renewed(&peer, not_after);
        Ok(Response::new(granted))
    }
}
