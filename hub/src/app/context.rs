//! A context for the CLI, left ready for the user who started the hub.
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use anyhow::Context as _;
use axle_transport::{
    context::{Context, ContextFile},
    pki::Authority,
};

use super::Parts;
use crate::{auth::Role, authority::certificate_pem, config::Config};

/// Writes the context at the first start, and again when the file knows nothing of this hub: after the file was lost,
/// or for another user. A token is made only then.
pub(super) fn leave(
    config: &Config,
    parts: &Parts,
    root: &Authority,
    tls: SocketAddr,
    first_start: bool,
) -> anyhow::Result<()> {
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
    let ca = certificate_pem(root.certificate());
    if !first_start && knows(&path, &hub, &ca) {
        return Ok(());
    }
    let mut file = ContextFile::load(&path)?;
    let token = parts.gate.issue("admin", Role::Admin, config.token_lifetime)?;
    file.set(Context { name: config.mesh.to_string(), hub, ca, token });
    file.save(&path).context("the CLI's context file")?;
    tracing::info!(file = %path.display(), "a context for the CLI is ready");
    Ok(())
}

fn knows(path: &Path, hub: &str, ca: &str) -> bool {
    ContextFile::load(path).is_ok_and(|file| file.contexts.iter().any(|context| context.hub == hub && context.ca == ca))
}
