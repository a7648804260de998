//! `axle-agent cleanup` and, in Kubernetes, `await-cleanup`.
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Exit, Failure,
    arguments::{AwaitCleanupArguments, CleanupArguments},
    terminal,
};
use crate::{
    dataplane::{self, Error},
    kubernetes::{ApiServer, cni, uninstall},
};

pub(super) async fn cleanup(arguments: &CleanupArguments) -> Result<(), Failure> {
    // Before it, or a signal in between would be lost.
    let mut told = signal(SignalKind::terminate()).map_err(|error| Failure::internal(error.to_string()))?;
    let pins = arguments.pin_dir.display();
    dataplane::idle(&arguments.pin_dir).map_err(failure)?;
    // First, or a pod would wait for what is about to be gone.
    if let Some(configurations) = &arguments.chain.cni_configurations {
        let changed = cni::remove(configurations, &arguments.chain.cni_plugins)
            .map_err(|error| Failure::internal(format!("the CNI chain: {error}")))?;
        terminal::say(&format!("{}: {changed} configurations no longer hold pods up.", configurations.display()))?;
    }
    if arguments.chain_only {
        terminal::say(&format!("{pins}: what is in force stays in force."))?;
    } else {
        let cleaned = dataplane::cleanup(&arguments.pin_dir).map_err(failure)?;
        let (links, maps) = (cleaned.links, cleaned.maps);
        terminal::say(&format!("{pins}: removed {links} hooks and {maps} maps. Nothing is enforced here any more."))?;
    }
    if arguments.stay {
        told.recv().await;
    }
    Ok(())
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Locked(_) => Failure::new(Exit::Conflict, error.to_string(), ""),
        other => Failure::internal(other.to_string()),
    }
}

pub(super) async fn await_cleanup(arguments: &AwaitCleanupArguments) -> Result<(), Failure> {
    let unavailable = |error: String| Failure::new(Exit::Unavailable, error, "");
    let api = ApiServer::find(None).await.map_err(|error| unavailable(error.to_string()))?;
    let nodes = uninstall::finish(&api, &arguments.daemonset, arguments.within)
        .await
        .map_err(|error| unavailable(error.to_string()))?;
    terminal::say(&format!("{nodes} nodes are cleaned up, and the DaemonSet {} is deleted.", arguments.daemonset))
}
