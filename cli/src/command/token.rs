//! `axle token`
use std::time::Duration;

use axle_core::duration;
use axle_proto::v1::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, TokenView};
use clap::Subcommand;

use super::{begin_write, request_id, show_write};
use crate::{
    failure::Failure,
    format,
    output::{Table, note},
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a one-time token for a cluster, and print the whole command that joins with it.
    #[command(after_help = "Example:\n  axle token create --cluster eu1 --ttl 1h")]
    Create {
        /// The cluster that may join with it; it must be registered.
        #[arg(long, value_name = "NAME")]
        cluster: String,
        /// How long it may be used.
        #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration::parse)]
        ttl: Duration,
    },
    /// List the tokens that people bear (`axle-hub token` makes them), but for those that are over.
    List,
    /// Revoke a person's token for good; what it opened ends.
    Revoke {
        /// Its id, as listed; of one that is in no list its claim `jti`, or without that the SHA-256 of its text in hex.
        id: String,
    },
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Create { cluster, ttl } => create(session, cluster, ttl).await,
            Self::List => {
                let tokens = session.admin().await?.list_tokens(ListTokensRequest {}).await?.into_inner().tokens;
                session.output.show(&tokens, |tokens| table(tokens))
            }
            Self::Revoke { id } => {
                let what = format!("token {id} is revoked");
                let request = RevokeTokenRequest { id, request_id: request_id()? };
                let mut admin = session.admin().await?;
                begin_write(session);
                show_write(session, &what, &admin.revoke_token(request).await?.into_inner())
            }
        }
    }
}

async fn create(session: &Session, cluster: String, ttl: Duration) -> Result<(), Failure> {
    if ttl.subsec_nanos() != 0 || ttl.is_zero() {
        return Err(Failure::usage("--ttl: wanted whole seconds, at least one"));
    }
    let mut admin = session.admin().await?;
    let request = CreateTokenRequest { cluster: cluster.clone(), ttl_seconds: ttl.as_secs() };
    let token = admin.create_token(request).await?.into_inner();
    if session.output.is_for_people() {
        note(&format!("run this on the relay node of {cluster}, once, before {}:", format::time(token.expires_ms)));
    }
    session.output.show_text(&token, |token| format!("{}\n", token.join_command))
}

fn table(tokens: &[TokenView]) -> Table {
    let mut table = Table::new(["ID", "SUBJECT", "ROLE", "MADE", "BY", "ENDS", "REVOKED"]);
    for token in tokens {
        let revoked = if token.revoked_ms == 0 { "-".into() } else { format::time(token.revoked_ms) };
        table.row([
            token.id.as_str().into(),
            token.subject.as_str().into(),
            token.role.as_str().into(),
            format::time(token.issued_ms).into(),
            token.creator.as_str().into(),
            format::time(token.expires_ms).into(),
            revoked.into(),
        ]);
    }
    table
}
