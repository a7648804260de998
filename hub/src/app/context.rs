//! A context for the CLI, left ready for the user who started the hub.
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use anyhow::Context as _;
use axle_transport::{
    context::{Context, ContextFile},
    pki::certificate_pem,
};

use super::Parts;
use crate::{auth::Role, config::Config};

/// Writes the context at the first start, and again when the file knows nothing of this hub or its token is of no use: after
/// the file was lost or the hub restored, or for another user. A token is made only then.
pub(super) async fn leave(config: &Config, parts: &Parts, tls: SocketAddr, first_start: bool) -> anyhow::Result<()> {
    let path = match &config.context_file {
        Some(off) if off.as_os_str() == "off" => return Ok(()),
        Some(path) => path.clone(),
        None => match ContextFile::default_path() {
            Ok(path) => path,
            Err(why) => {
                tracing::warn!(%why, "no context is left for the CLI; make a token with `axle-hub token`");
                return Ok(());
            }
        },
    };
    // The user is on this machine, where the advertised name may mean nothing.
    let address = if tls.ip().is_unspecified() { SocketAddr::new(Ipv4Addr::LOCALHOST.into(), tls.port()) } else { tls };
    let hub = format!("https://{address}");
    let roots: Vec<String> = parts.authorities.bundle().roots().iter().map(certificate_pem).collect();
    let usable = |token: &str| parts.tokens.keys().verify(token).is_ok();
    if !first_start && knows(&path, &hub, &roots, usable) {
        return Ok(());
    }
    let mut file = ContextFile::load(&path)?;
    let token = parts.tokens.issue(&parts.writer, "hub", "admin", Role::Admin, config.token_lifetime).await?;
    file.set(Context { name: config.mesh.to_string(), hub, ca: roots.concat(), token });
    file.save(&path).context("the CLI's context file")?;
    tracing::info!(file = %path.display(), "a context for the CLI is ready");
    Ok(())
}

/// Whether a context of the file leads here: it trusts one of the roots, of which `axle` learns the others.
fn knows(path: &Path, hub: &str, roots: &[String], usable: impl Fn(&str) -> bool) -> bool {
    let here = |context: &Context| {
        context.hub == hub && roots.iter().any(|root| context.ca.contains(root)) && usable(&context.token)
    };
    ContextFile::load(path).is_ok_and(|file| file.contexts.iter().any(here))
}
