//! `axle-agent run`.
use super::{Failure, RunArguments};

pub(super) async fn run(_arguments: RunArguments) -> Result<(), Failure> {
    Ok(())
}
