//! `axle policy apply`
use axle_proto::v1::{ApplyPoliciesRequest, ApplyPoliciesResponse};
use clap::Args;

use super::{
    super::{request_id, warn},
    begin_write,
    document::{Files, check, joined},
};
use crate::{
    command::wait::Wait,
    failure::Failure,
    format,
    output::{Cell, Table, Tone, note},
    session::Session,
};

const EXAMPLES: &str = "\
Examples:
  axle policy apply -f allow-web.yaml --wait
  axle policy apply -f policies/ --dry-run
  generate-policies | axle policy apply -f - --wait --timeout 10s";

/// Apply all policies of the documents at once, or none.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Apply {
    #[command(flatten)]
    files: Files,
    /// Check and show what would change, and change nothing.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Even if a test of policies fails: for admins, and it is in the audit trail.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    wait: Wait,
}

impl Apply {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let documents = self.files.read()?;
        let count = check(&documents)?;
        let document = joined(documents);
        let mut admin = session.admin().await?;
        if !self.dry_run {
            begin_write(session);
        }
        let request =
            ApplyPoliciesRequest { document, dry_run: self.dry_run, request_id: request_id()?, force: self.force };
        let applied = admin.apply_policies(request).await?.into_inner();
        warn(&applied.warnings);
        if !applied.changes.is_empty() || !session.output.is_for_people() {
            session.output.show(&applied, table)?;
        }
        if self.dry_run {
            note("dry run: nothing was changed");
            return Ok(());
        }
        let tests = count - applied.changes.len();
        if tests > 0 {
            note(&format!("{} of policies kept", format::count(tests, "test")));
        }
        // Of what was in place before, the kernel must hold the revision that wrote it.
        let written = applied.changes.iter().map(|change| change.revision);
        let revision = written.chain([applied.revision]).max().unwrap_or_default();
        self.wait.run(session, &mut admin, revision).await
    }
}

fn table(applied: &ApplyPoliciesResponse) -> Table {
    let mut table = Table::new(["POLICY", "CHANGE", "SUBJECTS", "NODES", "REVISION"]);
    for change in &applied.changes {
        let tone = if change.change == "unchanged" { Tone::Plain } else { Tone::Good };
        let revision = if change.revision == 0 { "-".into() } else { change.revision.to_string() };
        table.row([
            change.name.as_str().into(),
            Cell(change.change.clone(), tone),
            change.subjects.to_string().into(),
            change.nodes.to_string().into(),
            revision.into(),
        ]);
    }
    table
}
