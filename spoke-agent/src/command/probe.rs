//! `axle-agent probe`.
use super::{Failure, arguments::ProbeArguments, terminal};
use crate::probe;

pub(super) async fn probe(arguments: ProbeArguments) -> Result<(), Failure> {
    let probes: Vec<_> =
        arguments.addresses.into_iter().map(|to| tokio::spawn(probe::probe(to, arguments.port))).collect();
    for probe in probes {
        let found = probe.await.map_err(|error| Failure::internal(error.to_string()))?;
        terminal::say(&serde_json::to_string(&found).map_err(|error| Failure::internal(error.to_string()))?)?;
    }
    Ok(())
}
