//! `axle policy diff`
use std::fmt::Write as _;

use axle_proto::v1::{DiffEnd, DiffGroup, DiffPoliciesResponse, PreviewRequest};
use clap::Args;

use super::{
    document::{Files, check, joined},
    offline::{self, Offline},
};
use crate::{
    failure::Failure,
    format,
    output::{Output, Table, Tone},
    session::Session,
};

const EXAMPLES: &str = "\
Examples:
  axle policy diff -f new.yaml
  axle policy diff --delete web-callers
  axle policy diff -f policies/ -o json
  axle policy diff -f new.yaml --offline --inventory clusters/ --policies policies/";

/// Identities that a group shows for people; `-o json` has more.
const SHOWN: usize = 8;

/// Say which flows would get another verdict if these policies were applied.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Diff {
    #[command(flatten)]
    files: Files,
    /// A policy that would be deleted. Repeat for several.
    #[arg(long, value_name = "NAME")]
    delete: Vec<String>,
    #[command(flatten)]
    offline: Offline,
}

impl Diff {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let documents = self.files.read_or(!self.delete.is_empty())?;
        check(&documents)?;
        let request = PreviewRequest { document: joined(documents), delete: self.delete };
        let answer = match self.offline.world()? {
            Some(world) => offline::diff(&world, &request)?,
            None => session.admin().await?.diff_policies(request).await?.into_inner(),
        };
        show(session.output, &answer)
    }
}

pub(super) fn show(output: Output, answer: &DiffPoliciesResponse) -> Result<(), Failure> {
    output.show_text(answer, |answer| describe(answer, output))
}

/// Writes into a String cannot fail, hence the ignored results.
fn describe(answer: &DiffPoliciesResponse, output: Output) -> String {
    if answer.groups.is_empty() {
        return "no verdict changes\n".into();
    }
    let mut table = Table::new(["FROM", "TO", "BECOME ACCEPTED", "BECOME DENIED"]);
    let place = |cluster: &str| if cluster.is_empty() { "outside".to_owned() } else { cluster.to_owned() };
    for count in &answer.clusters {
        table.row([
            place(&count.source_cluster).into(),
            place(&count.destination_cluster).into(),
            format::count(usize::try_from(count.accepted).unwrap_or(usize::MAX), "pair").into(),
            format::count(usize::try_from(count.denied).unwrap_or(usize::MAX), "pair").into(),
        ]);
    }
    let mut text = output.render(&table);
    for group in &answer.groups {
        describe_group(&mut text, group, output);
    }
    if answer.more_groups > 0 {
        let _ = writeln!(text, "\nand {} more groups", answer.more_groups);
    }
    text
}

fn describe_group(text: &mut String, group: &DiffGroup, output: Output) {
    let tone = if group.becomes == "accept" { Tone::Good } else { Tone::Bad };
    let becomes = output.paint(if group.becomes == "accept" { "accepted" } else { "denied" }, tone);
    let _ = writeln!(text, "\nbecomes {becomes}: {}", group.ports.join(", "));
    for (word, ends, more) in
        [("from", &group.sources, group.more_sources), ("to", &group.destinations, group.more_destinations)]
    {
        for end in ends.iter().take(SHOWN) {
            let _ = writeln!(text, "  {word:4} {}", describe_end(end));
        }
        let more = more + ends.len().saturating_sub(SHOWN) as u64;
        if more > 0 {
            let _ = writeln!(text, "  {word:4} {more} more");
        }
    }
}

fn describe_end(end: &DiffEnd) -> String {
    let labels = format::labels(&end.labels);
    let count = format::count(end.addresses as usize, "address").replace("addresss", "addresses");
    match end.kind.as_str() {
        "workloads" => format!("{}/{} {labels} ({count})", end.cluster, end.namespace),
        "outside" => format!("outside the mesh, such as {}", end.address),
        "own node" => format!("the workload's own node in {} {labels}", end.cluster),
        _ => format!("nodes of {} {labels} ({count})", end.cluster),
    }
}
