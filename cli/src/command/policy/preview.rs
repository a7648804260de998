//! `axle policy lint`, `axle policy test`
use std::fmt::Write as _;

use axle_proto::v1::{LintPoliciesResponse, PreviewRequest, TestPoliciesResponse};
use clap::Args;

use super::{
    document::{Files, check, joined},
    offline::{self, Offline},
};
use crate::{
    failure::{Exit, Failure, Fault},
    format,
    output::{Output, Tone},
    session::Session,
};

const LINT_EXAMPLES: &str = "\
Examples:
  axle policy lint                     all policies of the fleet
  axle policy lint -f new.yaml         these, as if they were applied
  axle policy lint --offline --inventory clusters/ --policies policies/

Exit codes: 0 nothing but notes, 3 there are warnings.";

const TEST_EXAMPLES: &str = "\
Examples:
  axle policy test                     the tests that the fleet keeps
  axle policy test -f tests.yaml       these, and keep nothing
  axle policy test -f new-policies/    as if these policies were applied
  axle policy test -f new/ --offline --inventory clusters/ --policies policies/

To keep tests, apply them: axle policy apply -f tests.yaml. A kept test that would fail refuses every change of policies.

Exit codes: 0 every assertion holds, 3 some do not or name what is not there.";

/// Say what about policies their authors should look at: rules that never decide, selectors that select nothing, names
/// that lead nowhere, contradictions.
#[derive(Debug, Args)]
#[command(after_help = LINT_EXAMPLES)]
pub(crate) struct Lint {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    offline: Offline,
}

/// Run tests of policies: assertions about who may talk to whom.
#[derive(Debug, Args)]
#[command(after_help = TEST_EXAMPLES)]
pub(crate) struct Test {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    offline: Offline,
}

impl Lint {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let request = request(&self.files)?;
        let answer = match self.offline.world()? {
            Some(world) => offline::lint(&world, &request)?,
            None => session.admin().await?.lint_policies(request).await?.into_inner(),
        };
        show_findings(session.output, &answer)
    }
}

impl Test {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let request = request(&self.files)?;
        let answer = match self.offline.world()? {
            Some(world) => {
                let answer = offline::test(&world, &request)?;
                if answer.results.is_empty() {
                    // A check that checks nothing is a wrong path more often than a wish.
                    let message = "no document of kind PolicyTest; wanted at least one in -f or --policies";
                    return Err(Failure::new(Exit::Usage, "no_test", message));
                }
                answer
            }
            None => session.admin().await?.test_policies(request).await?.into_inner(),
        };
        show_outcomes(session.output, &answer)
    }
}

fn request(files: &Files) -> Result<PreviewRequest, Failure> {
    let documents = files.read_or(true)?;
    check(&documents)?;
    Ok(PreviewRequest { document: joined(documents), delete: Vec::new() })
}

/// Writes into a String cannot fail, hence the ignored results.
pub(super) fn show_findings(output: Output, answer: &LintPoliciesResponse) -> Result<(), Failure> {
    output.show_text(answer, |answer| {
        let mut text = String::new();
        for finding in &answer.findings {
            let tone = if finding.weight == "warning" { Tone::Warn } else { Tone::Plain };
            let place = [&finding.cluster, &finding.namespace, &finding.policy].map(String::as_str);
            let place = place.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
            let rule = if finding.rule.is_empty() { String::new() } else { format!(" {}", finding.rule) };
            let weight = output.paint(&finding.weight, tone);
            let _ = writeln!(text, "{weight}: {place}{rule}: {} [{}]\n  {}", finding.why, finding.code, finding.fix);
        }
        if answer.findings.is_empty() { "nothing to say\n".into() } else { text }
    })?;
    let warnings = answer.findings.iter().filter(|finding| finding.weight == "warning").count();
    match warnings {
        0 => Ok(()),
        some => Err(Failure::new(Exit::Conflict, "lint", format::count(some, "warning"))),
    }
}

pub(super) fn show_outcomes(output: Output, answer: &TestPoliciesResponse) -> Result<(), Failure> {
    output.show_text(answer, |answer| {
        let mut text = String::new();
        for result in &answer.results {
            let (word, tone) = match result.outcome.as_str() {
                "holds" => ("ok", Tone::Good),
                "missing" => ("missing", Tone::Warn),
                _ => ("FAILED", Tone::Bad),
            };
            let name =
                if result.assertion.is_empty() { format!("[{}]", result.index) } else { result.assertion.clone() };
            let why = if result.why.is_empty() {
                format::count(usize::try_from(result.flows).unwrap_or(usize::MAX), "flow")
            } else {
                result.why.clone()
            };
            let _ = writeln!(text, "{} {}: {name}: {why}", output.paint(word, tone), result.test);
        }
        if answer.results.is_empty() {
            text.push_str("there is no test\n");
        }
        text
    })?;
    if answer.broken + answer.missing == 0 {
        return Ok(());
    }
    let bad = answer.results.iter().filter(|result| result.outcome != "holds");
    let faults = bad.map(|result| Fault {
        place: format!("{} assertions[{}]", result.test, result.index),
        text: format!("{}: {}", result.outcome, result.why),
    });
    let message =
        format!("{} of {} failed", answer.broken + answer.missing, format::count(answer.results.len(), "assertion"));
    Err(Failure {
        faults: if output.is_for_people() { Vec::new() } else { faults.collect() },
        ..Failure::new(Exit::Conflict, "policy_test_failed", message)
    })
}
