//! Join tokens.
use std::time::Duration;

use axle_proto::v1::{CreateTokenRequest, CreateTokenResponse};

use super::{Operations, Problem, Violation, page};
use crate::{auth::Caller, enroll::MAX_TOKEN_LIFETIME};

/// How long a token may be used, in seconds, where nothing else is asked.
const DEFAULT_TTL: u64 = 600;

impl Operations {
    /// Makes a one-time token for a registered cluster.
    ///
    /// # Errors
    /// There is no such cluster, or the time is out of range.
    pub async fn create_token(
        &self,
        caller: &Caller,
        request: CreateTokenRequest,
    ) -> Result<CreateTokenResponse, Problem> {
        let name = page::required("cluster", &request.cluster)?;
        let ttl = if request.ttl_seconds == 0 { DEFAULT_TTL } else { request.ttl_seconds };
        let most = MAX_TOKEN_LIFETIME.as_secs();
        if ttl > most {
            let want = format!("1 to {most} seconds");
            let violation =
                Violation::new("out_of_range", "ttlSeconds", &ttl.to_string(), &want, "ask for a new one when needed");
            return Err(Problem::invalid(vec![violation]));
        }
        let found = self.read(|state| state.cluster(&name).map(|(uid, _)| uid));
        let cluster =
            found.ok_or_else(|| Problem::not_found("cluster", name.as_str(), "register it first: axle cluster add"))?;
        let ttl = Duration::from_secs(ttl);
        let (token, expires_ms) = self.enroller.create_token(cluster, ttl, &caller.actor()).await?;
        tracing::info!(cluster.name = %name, actor = %caller.actor(), expires_ms, "a join token was made");
        let token = token.reveal();
        let join_command = format!("axle-agent join --hub {} --cluster {name} --token {token}", self.advertised);
        Ok(CreateTokenResponse { token, expires_ms, join_command })
    }
}
