//! `axle login`
use std::{fs, io::Read as _, path::PathBuf};

use axle_proto::v1::GetStatusRequest;
use axle_transport::context::{Context, ContextFile};
use clap::Args;

use crate::{client, failure::Failure, output::note, session::Session};

const EXAMPLES: &str = "\
Examples:
  axle login --hub https://hub.example:7443 --ca hub-ca.pem --token-file token.txt
  pass axle/token | axle login --hub https://hub.example:7443 --ca hub-ca.pem --name prod

Where from: the token is what `axle-hub token` prints on the hub's machine; the certificate is the pem in \
`axle ca status -o json` of somebody who is logged in.";

/// Remember a hub and who you are there.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Login {
    /// The hub's address.
    #[arg(long, value_name = "URL")]
    hub: String,
    /// The hub's CA certificate, PEM; nothing else is trusted.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Where your token is; `-` for standard input.
    #[arg(long, value_name = "FILE", default_value = "-")]
    token_file: PathBuf,
    /// What to call this hub.
    #[arg(long, default_value = "default")]
    name: String,
}

impl Login {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let ca = fs::read_to_string(&self.ca).map_err(|error| Failure::unreadable(self.ca.display(), &error))?;
        let token = if self.token_file.as_os_str() == "-" {
            let mut token = String::new();
            std::io::stdin()
                .read_to_string(&mut token)
                .map_err(|error| Failure::unreadable("the token from standard input", &error))?;
            token
        } else {
            fs::read_to_string(&self.token_file)
                .map_err(|error| Failure::unreadable(self.token_file.display(), &error))?
        };
        let token = token.trim().to_owned();
        if token.is_empty() {
            return Err(Failure::usage("the token is empty").fix("give a token with --token-file FILE"));
        }
        let mut context = Context { name: self.name, hub: self.hub, ca, token };
        // Only what works is remembered.
        let (mut admin, roots) = client::connect(&context).await?;
        let status = admin.get_status(GetStatusRequest {}).await?.into_inner();
        context.ca = roots.unwrap_or(context.ca);
        let path = session.config_path()?;
        let mut file = ContextFile::load(&path)?;
        note(&format!("logged in at {} (hub {}); context {:?} is in use", context.hub, status.version, context.name));
        file.set(context);
        Ok(file.save(&path)?)
    }
}
