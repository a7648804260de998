//! The versions of a policy: who wrote what when, and the way back.
use axle_core::{
    log::{Change, Record},
    manifest::{print_policy, suggest},
    model::{Key, Kind as ObjectKind, Policy, Resource, Scope},
    state::Command,
};
use axle_proto::v1::{PolicyHistoryRequest, PolicyHistoryResponse, PolicyRevision, RollbackPolicyRequest, WriteResult};

use super::{Operations, Problem, Violation, page, policies::title};
use crate::auth::Caller;

/// Records read at once.
const PAGE: u32 = 200;

/// One version of a policy: what it was from a revision on.
struct Version {
    record: Record,
    /// `None`: deleted.
    policy: Option<Policy>,
}

impl Operations {
    /// The versions of a policy of the fleet, newest first.
    ///
    /// # Errors
    /// There never was one of that name; the store does not answer.
    pub async fn policy_history(&self, request: &PolicyHistoryRequest) -> Result<PolicyHistoryResponse, Problem> {
        let key = fleet_key(&request.name)?;
        let mut violations = Vec::new();
        let limit = page::checked_limit(request.limit, &mut violations);
        if !violations.is_empty() {
            return Err(Problem::invalid(violations));
        }
        // One more, to say what the last one changed.
        let versions = self.versions(&key, limit + 1).await?;
        let text = |version: Option<&Version>| {
            version.and_then(|version| version.policy.as_ref()).and_then(print_policy).unwrap_or_default()
        };
        let revisions = versions.iter().enumerate().take(limit).map(|(at, version)| {
            let (before, now) = (text(versions.get(at + 1)), text(Some(version)));
            let was = versions.get(at + 1).is_some_and(|version| version.policy.is_some());
            PolicyRevision {
                revision: version.record.revision,
                time_ms: version.record.time_ms,
                actor: version.record.actor.clone(),
                action: version.record.action.clone(),
                change: match (&version.policy, was) {
                    (None, _) => "deleted",
                    (Some(_), true) => "changed",
                    (Some(_), false) => "created",
                }
                .into(),
                diff: lines(&before, &now),
                document: now,
            }
        });
        Ok(PolicyHistoryResponse { revisions: revisions.collect() })
    }

    /// Brings a version of a policy back, as a new revision that is checked as any other.
    ///
    /// # Errors
    /// There is no such version; what stands in the way of applying it.
    pub async fn rollback_policy(
        &self,
        caller: &Caller,
        request: RollbackPolicyRequest,
    ) -> Result<WriteResult, Problem> {
        let key = fleet_key(&request.name)?;
        let versions = self.versions(&key, usize::MAX).await?;
        let present = versions.first().map_or(0, |version| version.record.revision);
        let wanted = if request.to == 0 { present.saturating_sub(1) } else { request.to };
        let found = versions.iter().find(|version| version.record.revision <= wanted);
        let policy = found.and_then(|version| version.policy.clone()).ok_or_else(|| {
            let known: Vec<_> = versions
                .iter()
                .filter(|version| version.policy.is_some())
                .map(|version| version.record.revision.to_string())
                .collect();
            let want =
                format!("a revision at which {} was there: it was written at {}", request.name, known.join(", "));
            Problem::invalid(vec![Violation::new(
                "unknown_version",
                "to",
                &wanted.to_string(),
                &want,
                "see axle policy history",
            )])
        })?;
        let of = found.map_or(0, |version| version.record.revision);
        let change = (Command::PutPolicies { policies: vec![policy] }, &*format!("rollback to revision {of}"));
        let (revision, warnings) = self.write_checked(caller, request.request_id, change, request.force).await?;
        Ok(WriteResult { revision, warnings })
    }

    /// The newest versions of a policy, newest first, at most `limit`.
    async fn versions(&self, key: &Key, limit: usize) -> Result<Vec<Version>, Problem> {
        let mut versions = Vec::new();
        let mut before = i64::MAX.unsigned_abs();
        while versions.len() < limit {
            let records = self.store.policy_records_before(before, PAGE).await?;
            let Some(last) = records.last() else { break };
            before = last.revision;
            versions.extend(records.into_iter().filter_map(|record| version(record, key)));
        }
        versions.truncate(limit);
        if versions.is_empty() {
            let world = self.mirror.world();
            let wanted = if key.namespace.is_empty() { String::new() } else { format!("{}/", key.namespace) };
            let wanted = format!("{wanted}{}", key.name);
            let names: Vec<_> = world.policies().map(|(_, policy)| policy.title()).collect();
            let fix = suggest(&wanted, names.iter().map(String::as_str));
            return Err(Problem::not_found("policy", &wanted, &fix.unwrap_or_else(|| "see axle policy list".into())));
        }
        Ok(versions)
    }
}

/// The key of a policy of the fleet, by its title.
fn fleet_key(text: &str) -> Result<Key, Problem> {
    let (namespace, name) = title("name", text)?;
    let namespace = namespace.map(String::from).unwrap_or_default();
    Ok(Key { kind: ObjectKind::Policy, scope: Scope::Fleet, namespace, name })
}

/// What a record made of the policy with this key, if anything.
fn version(record: Record, key: &Key) -> Option<Version> {
    let change = record.changes.iter().rfind(|change| change.key() == key)?;
    let policy = match change {
        Change::Put(object) => match object.resource.as_ref() {
            Resource::Policy(policy) => Some(policy.clone()),
            _ => None,
        },
        Change::Delete { .. } => None,
    };
    Some(Version { record, policy })
}

/// The lines of two texts that differ, `-` of the first and `+` of the second, in order: the fewest that do.
fn lines(before: &str, after: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    // The longest common rest of each pair of rests.
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        let (mark, line) = match (old.get(i), new.get(j)) {
            (Some(was), Some(is)) if was == is => {
                (i, j) = (i + 1, j + 1);
                continue;
            }
            (Some(was), _) if j == new.len() || common[i + 1][j] >= common[i][j + 1] => {
                i += 1;
                ('-', was)
            }
            (_, Some(is)) => {
                j += 1;
                ('+', is)
            }
            (was, None) => {
                i += 1;
                ('-', was.unwrap_or(&""))
            }
        };
        text.extend([mark, ' ']);
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_differ_are_shown() {
        assert_eq!(lines("a\nb\nc\n", "a\nx\nc\nd\n"), "- b\n+ x\n+ d\n");
        assert_eq!(lines("", "a\n"), "+ a\n");
        assert_eq!(lines("a\n", ""), "- a\n");
        assert_eq!(lines("a\n", "a\n"), "");
    }
}
