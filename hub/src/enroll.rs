//! How clusters join: a token once, a renewal as long as they are members.
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use axle_core::model::{Kind, Name, Resource, Uid};
use axle_proto::v1::{EnrollRequest, EnrollResponse, RenewRequest, enrollment_server::Enrollment};
use axle_transport::{
    acceptor::{ExpiredPeer, Guard},
    pki::{Chain, JoinToken, Peer, PkiError, Principal, PublicKey, Validity, sha256},
};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use crate::{
    authority::Authorities,
    clock::milliseconds,
    members::Members,
    replica::Replica,
    store::{Enrolment, Store, StoreError, TokenRow},
};

/// Makes join tokens, and certificates for who brings one.
#[derive(Debug)]
pub struct Enroller {
    /// Where tokens and enrolments are kept.
    pub store: Arc<dyn Store>,
    /// Which clusters there are.
    pub replica: Arc<Replica>,
    /// Told of who enrolls.
    pub members: Arc<Members>,
    /// Told of who renews.
    pub guard: Arc<Guard>,
    /// Sign.
    pub authorities: Arc<Authorities>,
    /// For how long what it signs holds.
    pub lifetime: Duration,
    /// Bounds how many tokens are looked at at once: whoever guesses must not keep the store from its work.
    pub turns: Semaphore,
}

/// Tokens looked at at once.
pub const TURNS: usize = 4;

/// For how long a join token holds unless somebody says otherwise.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(600);
/// The longest life of a join token.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// One text for every token that is not taken: whoever guesses learns nothing.
const TOKEN_REFUSED: &str = "the join token is not valid: it is unknown, used, expired, or for another cluster; \
                             ask for a new one: axle token create";

impl Enroller {
    /// A token that lets one relay enrol for `cluster`, once.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub async fn create_token(
        &self,
        cluster: Uid,
        lifetime: Duration,
        creator: &str,
    ) -> Result<(JoinToken, u64), StoreError> {
        let token = JoinToken::generate(sha256(self.authorities.bundle().signing().certificate()), None)
            .map_err(|why| StoreError::Setup(why.to_string()))?;
        let expires_ms = milliseconds(SystemTime::now() + lifetime.min(MAX_TOKEN_LIFETIME));
        let row = TokenRow { digest: token.digest(), cluster, expires_ms, creator: creator.into() };
        self.store.add_token(&row).await?;
        Ok((token, expires_ms))
    }

    async fn redeem(&self, request: &EnrollRequest, key: &PublicKey) -> Result<(Uid, Name), Status> {
        let refused = |why: &str| {
            tracing::warn!(cluster.name = %request.name.escape_debug(), why, "a join token was refused");
            Status::unauthenticated(TOKEN_REFUSED)
        };
        let token: JoinToken = request.token.parse().map_err(|why: PkiError| refused(&why.to_string()))?;
        let name = Name::new(&request.name).map_err(|why| refused(&why.to_string()))?;
        let found = self.replica.read().cluster(&name).map(|(uid, _)| uid);
        let cluster = found.ok_or_else(|| refused("there is no such cluster"))?;
        let _turn = self.turns.acquire().await.map_err(|why| Status::unavailable(why.to_string()))?;
        let now_ms = milliseconds(SystemTime::now());
        let enrolment = Enrolment { cluster, relay_key: key.fingerprint(), enrolled_ms: now_ms };
        if !self.store.redeem(&token.digest(), now_ms, &enrolment).await.map_err(away)? {
            // For the log alone; if it cannot be found out, that is no other answer.
            let kept = self.store.join_token(&token.digest()).await.ok().flatten();
            return Err(refused(match kept {
                None => "it is unknown, or used",
                Some(kept) if kept.cluster != cluster => "it is for another cluster",
                Some(_) => "it expired",
            }));
        }
        self.members.enrolled(&enrolment);
        tracing::info!(cluster.name = %name, cluster.uid = %cluster, "a relay enrolled");
        Ok((cluster, name))
    }

    /// The certificates of a relay: its own, and its cluster's authority.
    fn certify(
        &self,
        cluster: (Uid, Name),
        key: &PublicKey,
        ca_key: &PublicKey,
    ) -> Result<(EnrollResponse, SystemTime), PkiError> {
        let (uid, name) = cluster;
        let validity = Validity::starting(SystemTime::now(), self.lifetime);
        let bundle = self.authorities.bundle();
        let root = bundle.signing();
        let leaf = root.issue(key, &Principal::Relay(uid), &[], validity)?;
        let intermediate = root.issue_intermediate(ca_key, uid, validity)?;
        let wire = |chain: Chain| chain.iter().map(|certificate| certificate.to_vec().into()).collect();
        let response = EnrollResponse {
            chain: wire(bundle.chain(leaf)),
            ca_chain: wire(vec![intermediate]),
            roots: wire(bundle.roots()),
            cluster: uid.0.to_vec().into(),
            cluster_name: name.to_string(),
        };
        Ok((response, validity.not_after.min(root.not_after())))
    }
}

#[tonic::async_trait]
impl Enrollment for Enroller {
    async fn enroll(&self, request: Request<EnrollRequest>) -> Result<Response<EnrollResponse>, Status> {
        let request = request.into_inner();
        // Read before the token is used up, so that a broken request does not cost one.
        let key = public_key("csr", &request.csr)?;
        let ca_key = public_key("ca_csr", &request.ca_csr)?;
        let cluster = self.redeem(&request, &key).await?;
        let (response, _) = self.certify(cluster, &key, &ca_key).map_err(|why| Status::internal(why.to_string()))?;
        Ok(Response::new(response))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<EnrollResponse>, Status> {
        let known = request.extensions();
        let peer = known.get::<Peer>().or_else(|| known.get::<ExpiredPeer>().map(|expired| &expired.0)).cloned();
        let peer = peer.ok_or_else(|| Status::unauthenticated("a renewal needs the certificate that it renews"))?;
        // A live connection may be older than the last change of members.
        self.members.admit(&peer).map_err(Status::permission_denied)?;
        let key = public_key("csr", &request.get_ref().csr)?;
        let ca_key = public_key("ca_csr", &request.get_ref().ca_csr)?;
        if key.fingerprint() != peer.key {
            return Err(Status::invalid_argument(
                "csr: got another key than the certificate's, wanted the same; a new key needs a new enrolment",
            ));
        }
        let cluster = peer.principal.cluster().and_then(|uid| Some((uid, name_of(&self.replica, uid)?)));
        let cluster = cluster.ok_or_else(|| Status::permission_denied("its cluster was removed"))?;
        let (response, not_after) =
            self.certify(cluster, &key, &ca_key).map_err(|why| Status::internal(why.to_string()))?;
        self.guard.renewed(&peer, not_after);
        Ok(Response::new(response))
    }
}

fn name_of(replica: &Replica, cluster: Uid) -> Option<Name> {
    let state = replica.read();
    let object = state.list(Kind::Cluster).find(|object| object.uid == cluster)?;
    match &*object.resource {
        Resource::Cluster(cluster) => Some(cluster.name.clone()),
        _ => None,
    }
}

fn public_key(field: &str, csr: &[u8]) -> Result<PublicKey, Status> {
    PublicKey::from_csr(csr).map_err(|why| {
        Status::invalid_argument(format!(
            "{field}: {why}; wanted a PKCS#10 request in DER that is signed by its own key"
        ))
    })
}

fn away(why: StoreError) -> Status {
    Status::unavailable(why.to_string())
}
