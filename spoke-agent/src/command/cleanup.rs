//! `axle-agent cleanup`.
use super::{Exit, Failure, arguments::CleanupArguments, terminal};
use crate::dataplane::{self, Error};

pub(super) fn cleanup(arguments: &CleanupArguments) -> Result<(), Failure> {
    let cleaned = dataplane::cleanup(&arguments.pin_dir).map_err(|error| match error {
        Error::Locked(_) => Failure::new(Exit::Conflict, error.to_string(), ""),
        other => Failure::internal(other.to_string()),
    })?;
    let (path, links, maps) = (arguments.pin_dir.display(), cleaned.links, cleaned.maps);
    terminal::say(&format!("{path}: removed {links} hooks and {maps} maps. Nothing is enforced here any more."))
}
