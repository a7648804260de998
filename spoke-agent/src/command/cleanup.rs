//! `axle-agent cleanup`.
use super::{Exit, Failure, arguments::CleanupArguments, terminal};
use crate::{
    dataplane::{self, Error},
    kubernetes::cni,
};

pub(super) fn cleanup(arguments: &CleanupArguments) -> Result<(), Failure> {
    // First, or a pod would wait for what is about to be gone.
    if let Some(configurations) = &arguments.chain.cni_configurations {
        let changed = cni::remove(configurations, &arguments.chain.cni_plugins)
            .map_err(|error| Failure::internal(format!("the CNI chain: {error}")))?;
        terminal::say(&format!("{}: {changed} configurations no longer hold pods up.", configurations.display()))?;
    }
    let cleaned = dataplane::cleanup(&arguments.pin_dir).map_err(|error| match error {
        Error::Locked(_) => Failure::new(Exit::Conflict, error.to_string(), ""),
        other => Failure::internal(other.to_string()),
    })?;
    let (path, links, maps) = (arguments.pin_dir.display(), cleaned.links, cleaned.maps);
    terminal::say(&format!("{path}: removed {links} hooks and {maps} maps. Nothing is enforced here any more."))
}
