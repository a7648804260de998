//! `axle policy import`
use axle_core::{
    manifest::{
        cilium::{Effect, Import, Note, import_cilium},
        print_policy,
    },
    model::{Name, Policy},
};
use clap::Args;
use ipnet::IpNet;
use serde::Serialize;

use super::document::{Document, Files, fault};
use crate::{
    failure::{Exit, Failure, Fault},
    format,
    output::Output,
};

const EXAMPLES: &str = "\
The policies go to standard output, ready for the inventory folder of the cluster that they are from; what could not be
carried over exactly is reported on standard error, and the exit code is then 6. What cannot be said is left out where it
allows; where it denies, no policy is printed at all. With --partial all others are, and a rule that denies denies more
instead: of peers that cannot be said everybody, of ports every port. What becomes wider is a workload's way to its own
node, and is reported. The documents are read as Cilium 1.19 and later read them: without a cluster, a selector is about
its own. What document shop/web becomes is named shop/cnp.web and, what it denies, cnp-deny.shop.web.

Examples:
  axle policy import -f cilium.yaml --mesh 10.0.0.0/8 > policies.yaml
  axle policy import -f cilium/ --mesh 10.0.0.0/8 --mesh fd00::/8 --cluster eu1 | axle policy apply -f -
  kubectl get cnp,ccnp,ciliumcidrgroup -A -o yaml | axle policy import -f - -o json";

/// Turn policies of Cilium into policies of Axle, here, without a hub.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportArguments {
    #[command(flatten)]
    files: Files,
    /// Addresses of workloads and nodes, which CIDR rules of Cilium do not mean. Repeat for several.
    #[arg(long, value_name = "CIDR")]
    mesh: Vec<IpNet>,
    /// Name the cluster in every name and selector, so that the policies can be applied at the hub and still mean that
    /// cluster only.
    #[arg(long, value_name = "NAME")]
    cluster: Option<Name>,
    /// Print what could be carried over though something was refused, with rules that deny more than they did.
    #[arg(long)]
    partial: bool,
}

/// What it comes to, as data.
#[derive(Debug, Serialize)]
struct Imported {
    exact: bool,
    policies: Vec<String>,
    notes: Vec<Note>,
}

impl ImportArguments {
    pub(super) fn run(self, output: Output) -> Result<(), Failure> {
        let documents = self.files.read()?;
        let mesh: Vec<IpNet> = self.mesh.iter().map(IpNet::trunc).collect();
        let mut import = import_cilium(&joined(&documents), &mesh).map_err(|violations| {
            let faults = violations.iter().map(|violation| {
                let (source, line) = origin(&documents, violation.line);
                let violation = axle_core::manifest::Violation { line, ..violation.clone() };
                fault(source, &violation)
            });
            let faults: Vec<_> = faults.collect();
            let message = format!("{}, nothing was imported", format::count(faults.len(), "fault"));
            Failure { faults, ..Failure::new(Exit::Usage, "invalid_document", message) }
        })?;
        if let Some(cluster) = &self.cluster {
            import = import.of_cluster(cluster).map_err(|error| Failure::usage(error.to_string()))?;
        }
        if !import.is_complete() && !self.partial {
            import.policies.clear();
        }
        let print = |policy: &Policy| {
            let unsaid = || Failure::new(Exit::Internal, "unprintable", format!("{} has no document", policy.title()));
            print_policy(policy).ok_or_else(unsaid)
        };
        let policies = import.policies.iter().map(print).collect::<Result<_, _>>()?;
        let imported = Imported { exact: import.is_exact(), policies, notes: import.notes.clone() };
        output.show_text(&imported, |imported| imported.policies.join("---\n"))?;
        report(&documents, &import)
    }
}

/// Fails if the import is not exact, with every note as what is wrong.
fn report(documents: &[Document], import: &Import) -> Result<(), Failure> {
    if import.is_exact() {
        return Ok(());
    }
    let faults = import.notes.iter().map(|note| {
        let (source, line) = origin(documents, note.line);
        let effect = match note.effect {
            Effect::None => "same",
            Effect::Stricter => "stricter",
            Effect::Refused => "refused",
            Effect::Wider => "wider",
        };
        let text = format!("{} {}: {effect}: {}", note.document, note.field, note.why);
        Fault { place: format!("{source}:{line}:{}", note.column), text }
    });
    let faults: Vec<_> = faults.collect();
    let notes = format::count(faults.len(), "note");
    if import.policies.is_empty() && !import.is_complete() {
        let message = format!("nothing was imported, see {notes}");
        let failure = Failure { faults, ..Failure::new(Exit::Refused, "refused", message) };
        return Err(failure.fix("mend what was refused, or print the rest with --partial"));
    }
    let message = format!("not exactly the same, see {notes}");
    let failure = Failure { faults, ..Failure::new(Exit::Refused, "inexact", message) };
    Err(failure.fix("read the notes, add what is missing, then apply what was printed"))
}

const BETWEEN: &str = "\n---\n";

/// All texts as one, so that documents of one can refer to those of another.
fn joined(documents: &[Document]) -> String {
    documents.iter().map(|document| document.text.as_str()).collect::<Vec<_>>().join(BETWEEN)
}

/// The text that a line of them joined is from, and the line there.
fn origin(documents: &[Document], mut line: u64) -> (&str, u64) {
    let mut last = "";
    for document in documents {
        let lines = (document.text.matches('\n').count() + BETWEEN.matches('\n').count()) as u64;
        last = &document.source;
        if line <= lines {
            break;
        }
        line -= lines;
    }
    (last, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_of_their_files() {
        let document = |source: &str, text: &str| Document { source: source.into(), text: text.into() };
        let documents = [document("a", "1\n2\n"), document("b", "1"), document("c", "1\n2")];
        let all = joined(&documents);
        for (number, text) in (1..).zip(all.lines()).filter(|(_, text)| !text.is_empty() && *text != "---") {
            let (source, line) = origin(&documents, number);
            let of = documents.iter().find(|document| document.source == source).unwrap();
            assert_eq!(of.text.lines().nth(line as usize - 1), Some(text), "{number} is {source}:{line}");
        }
    }
}
