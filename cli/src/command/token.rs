//! `axle token`
use std::time::Duration;

use axle_core::duration;
use axle_proto::v1::CreateTokenRequest;
use clap::Subcommand;

use crate::{failure::Failure, format, output::note, session::Session};

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
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self::Create { cluster, ttl } = self;
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
}
