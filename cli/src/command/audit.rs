//! `axle audit`
use axle_proto::v1::{AuditEntry, ListAuditRequest};
use clap::Subcommand;

use crate::{failure::Failure, format, output::Table, session::Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what was done, newest first: every revision with who asked for it.
    #[command(after_help = "Examples:\n  axle audit list --limit 20\n  axle audit list --before 1200 -o json")]
    List {
        /// At most this many entries.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Only revisions before this one.
        #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
        before: u64,
    },
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let Self::List { limit, before } = self;
        let mut admin = session.admin().await?;
        let request = ListAuditRequest { before_revision: before, limit };
        let entries = admin.list_audit(request).await?.into_inner().entries;
        session.output.show(&entries, |entries| table(entries))
    }
}

fn table(entries: &[AuditEntry]) -> Table {
    let mut table = Table::new(["REVISION", "TIME", "WHO", "ACTION", "OBJECTS", "HASH"]);
    for entry in entries {
        let objects = match entry.objects.as_slice() {
            [first, rest @ ..] if rest.len() > 2 => format!("{first} and {} more", rest.len()),
            few => format::list(few),
        };
        let hash: String = entry.hash.chars().take(12).collect();
        table.row([
            entry.revision.to_string().into(),
            format::time(entry.time_ms).into(),
            entry.actor.as_str().into(),
            entry.action.as_str().into(),
            objects.into(),
            hash.into(),
        ]);
    }
    table
}
