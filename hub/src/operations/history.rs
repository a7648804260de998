//! The versions of a policy: who wrote what when, and the way back.
use axle_core::{
    log::{Change, Record},
    manifest::{print_policy, suggest},
    model::{Key, Kind as ObjectKind, Policy, Resource, Scope},
    state::Command,
};
use axle_proto::v1::{PolicyHistoryRequest, PolicyHistoryResponse, PolicyRevision, RollbackPolicyRequest, WriteResult};
use prost::Message as _;

use super::{Operations, Problem, Violation, page, policies::title};
use crate::auth::Caller;

/// Records read at once.
const PAGE: u32 = 200;
/// About how large an answer is at most: clients of gRPC take 4 MiB.
const PAGE_BYTES: usize = 2 << 20;
/// Pairs of lines that are compared to tell what differs between two versions.
const MOST_PAIRS: usize = 1 << 20;

/// One version of a policy: what it was from a revision on.
struct Version {
    /// Without its changes: there may be many of other policies.
    record: Record,
    /// `None`: deleted.
    policy: Option<Policy>,
}

impl Operations {
    /// The versions of a policy of the fleet, newest first: fewer than the limit where they are large.
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
        let turn = self.previews.next().await?;
        // One more, to say what the last one changed.
        let versions = self.versions(&key, limit + 1).await?;
        turn.apart(move || Ok(PolicyHistoryResponse { revisions: told(&versions, limit) })).await
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
        // "The version before" is another one once it was done.
        if request.to == 0
            && let Some(before) = self.store.answered(&caller.actor(), &request.request_id).await?
            && before.action.starts_with(&format!("policy apply {} (rollback to revision ", request.name))
        {
            return Ok(WriteResult { revision: before.revision, warnings: Vec::new() });
        }
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

/// Versions as they are shown, each against the one behind it; the last is there for that only if there are more than
/// `limit`.
fn told(versions: &[Version], limit: usize) -> Vec<PolicyRevision> {
    let text = |version: Option<&Version>| {
        version.and_then(|version| version.policy.as_ref()).and_then(print_policy).unwrap_or_default()
    };
    let revision = |(at, version): (usize, &Version)| {
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
    };
    let mut room = PAGE_BYTES;
    let fits = |revision: &PolicyRevision| {
        let fits = room > 0;
        room = room.saturating_sub(revision.encoded_len());
        fits
    };
    versions.iter().enumerate().take(limit).map(revision).take_while(fits).collect()
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
    Some(Version { record: Record { changes: Vec::new(), ..record }, policy })
}

/// The lines of two texts that differ, `-` of the first and `+` of the second, in order: the fewest that do, or where there
/// are too many to look for those, all between the first and the last that do.
fn lines(before: &str, after: &str) -> String {
    let (mut old, mut new): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    let same = old.iter().zip(&new).take_while(|(was, is)| was == is).count();
    (old, new) = (old.split_off(same), new.split_off(same));
    let same = old.iter().rev().zip(new.iter().rev()).take_while(|(was, is)| was == is).count();
    old.truncate(old.len() - same);
    new.truncate(new.len() - same);
    if old.len().saturating_mul(new.len()) > MOST_PAIRS {
        let marked = |mark| move |line: &&str| format!("{mark} {line}\n");
        return old.iter().map(marked('-')).chain(new.iter().map(marked('+'))).collect();
    }
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

    #[test]
    fn where_too_many_lines_differ_all_of_them_are_shown() {
        let text = |of: &str| {
            let line = |n: usize| if n == 1_000 { "middle\n".to_owned() } else { format!("{of} {n}\n") };
            let middle: String = (0..2_000).map(line).collect();
            format!("same\n{middle}same\n")
        };
        let differing = lines(&text("old"), &text("new"));
        assert_eq!(differing.lines().count(), 4_000);
        assert!(differing.starts_with("- old 0\n") && differing.ends_with("+ new 1999\n"));
        assert!(differing.contains("- middle\n") && differing.contains("+ middle\n"));
    }
}
