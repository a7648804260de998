//! `axle-agent cleanup`.
use super::{Failure, arguments::CleanupArguments};

pub(super) fn cleanup(_arguments: &CleanupArguments) -> Result<(), Failure> {
    Ok(())
}
