//! `axle audit`
use axle_proto::v1::{AuditEntry, ListAuditRequest};
use clap::Subcommand;

use crate::{
    failure::Failure,
    format,
    output::{Table, note},
    session::Session,
};

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
        let mut entries: Vec<AuditEntry> = Vec::new();
        // The hub gives fewer at once where they are large.
        while entries.len() < limit as usize {
            let before_revision = entries.last().map_or(before, |last| last.revision);
            let limit = limit - u32::try_from(entries.len()).unwrap_or(limit);
            let page = admin.list_audit(ListAuditRequest { before_revision, limit }).await?.into_inner();
            let oldest = page.oldest_revision;
            let more = page.entries.last().is_some_and(|last| last.revision > oldest);
            entries.extend(page.entries);
            if !more {
                if oldest > 1 {
                    note(&format!("the trail begins at revision {oldest}: the hub keeps older records no more"));
                }
                break;
            }
        }
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
