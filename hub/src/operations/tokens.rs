//! Join tokens for clusters, and the tokens that people bear.
use std::time::Duration;

use axle_core::state::Command;
use axle_proto::v1::{
    CreateTokenRequest, CreateTokenResponse, ListTokensResponse, RevokeTokenRequest, TokenView, WriteResult,
};

use super::{Operations, Problem, Violation, page};
use crate::{
    auth::{Caller, is_token_id},
    enroll::MAX_TOKEN_LIFETIME,
    store::PersonToken,
};

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
        self.write(caller, String::new(), Command::Note { action: format!("token create {name}") }).await?;
        let (token, expires_ms) = self.enroller.create_token(cluster, ttl, &caller.actor()).await?;
        tracing::info!(cluster.name = %name, actor = %caller.actor(), expires_ms, "a join token was made");
        let token = token.reveal();
        let join_command = format!("axle-agent join --hub {} --cluster {name} --token {token}", self.advertised);
        Ok(CreateTokenResponse { token, expires_ms, join_command })
    }

    /// The tokens that people bear, but for those that are over.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn list_tokens(&self) -> Result<ListTokensResponse, Problem> {
        Ok(ListTokensResponse { tokens: self.tokens.list().await?.into_iter().map(view).collect() })
    }

    /// Revokes a person's token for good, also one that is in no list: whoever verifies it may know it all the same.
    ///
    /// # Errors
    /// It is no id of a token.
    pub async fn revoke_token(&self, caller: &Caller, request: RevokeTokenRequest) -> Result<WriteResult, Problem> {
        let listed = self.tokens.list().await?;
        let id = request.id;
        let action = match listed.into_iter().find(|token| token.id == id) {
            Some(token) if token.revoked_ms > 0 => return Ok(WriteResult::default()),
            Some(token) => format!("token revoke {id} of {}", token.subject),
            None if is_token_id(&id) => format!("token revoke {id}"),
            None => {
                let shown: String = id.chars().take(80).flat_map(char::escape_default).collect();
                return Err(Problem::not_found("token", &shown, "see axle token list"));
            }
        };
        let revision = self.write(caller, request.request_id, Command::Note { action }).await?;
        self.tokens.revoke(&id, &caller.actor()).await?;
        Ok(WriteResult { revision, ..WriteResult::default() })
    }
}

fn view(token: PersonToken) -> TokenView {
    let PersonToken { id, subject, role, issued_ms, expires_ms, creator, revoked_ms } = token;
    TokenView { id, subject, role, issued_ms, expires_ms, creator, revoked_ms }
}
