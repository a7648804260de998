//! Changes of policies are checked before they are done, against the policies and tests as they are when it is done.
use axle_core::{
    log::Change,
    model::Kind as ObjectKind,
    policy::World,
    state::{CHANGED_SINCE, Command, Decision},
};
use axle_proto::{convert::Wire, v1::TestPoliciesResponse, view};

use super::{
    Kind, Operations, Problem, Violation,
    capacity::{self, Rooms},
    policies::rehearsal,
    preview::apart,
};
use crate::auth::{Caller, Role};

/// How often a change is checked anew because other changes came between.
const ATTEMPTS: usize = 8;

/// What a check found: nothing that stands in the way.
#[derive(Debug, Default)]
struct Checked {
    /// The revision whose policies and tests it was checked against.
    at: u64,
    /// For whoever asked.
    warnings: Vec<String>,
    /// For the audit trail.
    note: String,
}

impl Operations {
    /// What would stand in the way of a change of policies, and what else is to be said about it.
    ///
    /// # Errors
    /// What the state machine refuses; a test of policies that fails or a node without room, unless an admin forces it.
    pub(super) async fn rehearse(
        &self,
        caller: &Caller,
        command: &Command,
        force: bool,
    ) -> Result<Vec<String>, Problem> {
        Ok(self.check(caller, command, force).await?.warnings)
    }

    /// Has a change of policies done if nothing stands in its way, and returns its revision (0: everything was so
    /// already) and warnings.
    ///
    /// # Errors
    /// As [`Self::rehearse`]; policies that never stand still.
    pub(super) async fn write_checked(
        &self,
        caller: &Caller,
        request_id: String,
        (command, note): (Command, &str),
        force: bool,
    ) -> Result<(u64, Vec<String>), Problem> {
        if let Some(revision) = self.repeated(caller, &request_id, &command).await? {
            return Ok((revision, Vec::new()));
        }
        for _ in 0..ATTEMPTS {
            let Checked { at, warnings, note: forced } = self.check(caller, &command, force).await?;
            let note = [note, &forced].into_iter().filter(|note| !note.is_empty()).collect::<Vec<_>>().join("; ");
            let checked = Command::Checked { command: Box::new(command.clone()), at, note };
            match self.write(caller, request_id.clone(), checked).await {
                Ok(revision) => return Ok((revision, warnings)),
                Err(problem) if problem.code == CHANGED_SINCE => {}
                Err(problem) => return Err(problem),
            }
        }
        let detail = "other changes of policies kept coming in between; nothing was done: try again";
        Err(Problem::new(Kind::Conflict, CHANGED_SINCE, detail))
    }

    async fn check(&self, caller: &Caller, command: &Command, force: bool) -> Result<Checked, Problem> {
        if force && caller.role < Role::Admin {
            let detail = "only admins may force a change that a test of policies is against";
            return Err(Problem::new(Kind::Conflict, "force_not_allowed", detail));
        }
        let (world, seen) = self.mirror.snapshot();
        let (decision, decided) =
            self.read(|state| (state.decide(&rehearsal(command.clone()), &Wire), state.position().revision));
        let at = seen.min(decided);
        let Decision::Write { record, .. } = decision? else { return Ok(Checked { at, ..Checked::default() }) };
        let rooms = capacity::rooms(&self.live);
        apart(move || examine(&world, &record.changes, &rooms, force).map(|checked| Checked { at, ..checked })).await
    }
}

fn examine(world: &World, changes: &[Change], rooms: &Rooms, force: bool) -> Result<Checked, Problem> {
    let told = view::test(world, changes, &[]);
    let mut failing = violations(&told, "broken");
    let overflows = capacity::check(world, changes, rooms);
    let overflowing = !overflows.is_empty();
    failing.extend(overflows);
    if !failing.is_empty() && !force {
        return Err(Problem { kind: Kind::Conflict, ..Problem::invalid(failing) });
    }
    let missing = violations(&told, "missing").into_iter().map(|one| format!("{}: {}", one.field, one.got));
    let forced = failing.iter().map(|one| format!("forced against {}: {one}", one.field));
    let mut warnings: Vec<String> = forced.chain(missing).collect();
    let is_put = |change: &Change| matches!(change, Change::Put(object) if object.key.kind == ObjectKind::Policy);
    if changes.iter().any(is_put) {
        warnings.extend(view::lint(world, changes).findings.iter().map(|finding| {
            let rule = if finding.rule.is_empty() { String::new() } else { format!(" {}", finding.rule) };
            format!("policy {}{rule}: {} ({}); {}", finding.policy, finding.why, finding.code, finding.fix)
        }));
    }
    let broken = told.results.iter().filter(|result| result.outcome == "broken");
    let tests: std::collections::BTreeSet<&str> = broken.map(|result| result.test.as_str()).collect();
    let against = tests.into_iter().chain(overflowing.then_some("capacity"));
    let note = against.collect::<Vec<_>>().join(", ");
    let note = if note.is_empty() { note } else { format!("forced against {note}") };
    Ok(Checked { warnings, note, ..Checked::default() })
}

/// The assertions that came out so, as faults.
fn violations(told: &TestPoliciesResponse, outcome: &str) -> Vec<Violation> {
    let of_it = told.results.iter().filter(|result| result.outcome == outcome);
    of_it
        .map(|result| {
            let name = if result.assertion.is_empty() { String::new() } else { format!(" ({})", result.assertion) };
            let (got, want) = result.why.rsplit_once("; wanted ").unwrap_or((&result.why, "a test that can be run"));
            Violation {
                code: "policy_test_failed".into(),
                field: format!("test {} assertions[{}]{name}", result.test, result.index),
                got: got.replacen(": got ", ": ", 1),
                want: want.into(),
                fix: "change the policy or the test; an admin may force it (--force)".into(),
            }
        })
        .collect()
}
