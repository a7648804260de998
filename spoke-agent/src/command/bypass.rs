//! `axle-agent bypass`.
use super::{Failure, arguments::BypassArguments, terminal};
use crate::control::{Reply, Request};

pub(super) async fn bypass(arguments: BypassArguments) -> Result<(), Failure> {
    let seconds = arguments.period.map_or(0, |period| period.as_secs());
    match terminal::ask(&arguments.state, &Request::Bypass { seconds }).await? {
        Reply::Bypass { until_ms: Some(until) } => terminal::say(&format!(
            "All traffic of this node's workloads passes until {}; `axle-agent bypass --off` ends it sooner.",
            terminal::clock(until)
        )),
        Reply::Bypass { until_ms: None } => terminal::say("Policy is in force."),
        other => Err(terminal::unexpected(&other)),
    }
}
