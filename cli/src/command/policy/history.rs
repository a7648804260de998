//! `axle policy history`, `axle policy rollback`
use std::fmt::Write as _;

use axle_proto::v1::{PolicyHistoryRequest, PolicyHistoryResponse, RollbackPolicyRequest};
use clap::Args;

use super::{Wait, begin_write, request_id, show_write};
use crate::{
    failure::Failure,
    format,
    output::{Output, Tone},
    session::Session,
};

/// List the versions of a policy: who wrote it when, and what changed.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// The policy's name.
    name: String,
    /// At most this many versions.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// Bring a version of a policy back, as a new revision that is checked as any other.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  axle policy rollback web-callers --wait\n  axle policy rollback web-callers --to 1205"
)]
pub(crate) struct Rollback {
    /// The policy's name; a deleted one comes back.
    name: String,
    /// The version in force at this revision [default: the one before the present one].
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    to: u64,
    /// Even if a test of policies fails: for admins, and it is in the audit trail.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: Wait,
}

impl History {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let request = PolicyHistoryRequest { name: self.name, limit: self.limit };
        let history = session.admin().await?.policy_history(request).await?.into_inner();
        let output = session.output;
        output.show_text(&history, |history| describe(history, output))
    }
}

impl Rollback {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut admin = session.admin().await?;
        let what = format!("policy {} is rolled back", self.name);
        begin_write(session);
        let request =
            RollbackPolicyRequest { name: self.name, to: self.to, force: self.force, request_id: request_id()? };
        let result = admin.rollback_policy(request).await?.into_inner();
        show_write(session, &what, &result)?;
        self.wait.run(session, &mut admin, result.revision).await
    }
}

/// Writes into a String cannot fail, hence the ignored results.
fn describe(history: &PolicyHistoryResponse, output: Output) -> String {
    let mut text = String::new();
    for version in &history.revisions {
        let _ = writeln!(
            text,
            "revision {}  {}  {}  {}: {}",
            version.revision,
            format::time(version.time_ms),
            version.actor,
            version.change,
            version.action
        );
        for line in version.diff.lines() {
            let tone = if line.starts_with('+') { Tone::Good } else { Tone::Bad };
            let _ = writeln!(text, "  {}", output.paint(line, tone));
        }
    }
    text
}
