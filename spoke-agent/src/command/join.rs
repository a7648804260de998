//! `axle-agent join`.
use super::{Failure, JoinArguments};

pub(super) async fn join(_arguments: JoinArguments) -> Result<(), Failure> {
    Ok(())
}
