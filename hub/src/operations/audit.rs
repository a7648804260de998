//! Who did what: the log itself.
use std::collections::BTreeMap;

use axle_core::{
    log::{Change, Record},
    model::{Resource, Scope, Uid},
};
use axle_proto::v1::{AuditEntry, ListAuditRequest, ListAuditResponse};

use prost::Message as _;

use super::{Operations, Problem, page, text, workloads::cluster_names};

impl Operations {
    /// The newest revisions, newest first: fewer than the limit where they are large.
    ///
    /// # Errors
    /// A limit out of range; the store does not answer.
    pub async fn list_audit(&self, request: &ListAuditRequest) -> Result<ListAuditResponse, Problem> {
        let mut violations = Vec::new();
        let limit = page::checked_limit(request.limit, &mut violations);
        if !violations.is_empty() {
            return Err(Problem::invalid(violations));
        }
        // A revision is a number that the databases hold as a signed one.
        let newest = i64::MAX.unsigned_abs();
        let before = if request.before_revision == 0 { newest } else { request.before_revision.min(newest) };
        let records = self.store.records_before(before, u32::try_from(limit).unwrap_or(u32::MAX)).await?;
        let names = self.read(cluster_names);
        let mut room = PAGE_BYTES;
        let fits = |entry: &AuditEntry| {
            let fits = room > 0;
            room = room.saturating_sub(entry.encoded_len());
            fits
        };
        let entries = records.into_iter().map(|record| entry(record, &names)).take_while(fits).collect();
        let oldest_revision = self.store.oldest().await?.unwrap_or_default();
        Ok(ListAuditResponse { entries, oldest_revision })
    }
}

/// About how large an answer is at most: clients of gRPC take 4 MiB.
const PAGE_BYTES: usize = 2 << 20;
/// Objects that an entry names: a revision may write a whole cluster.
const MOST_NAMED: usize = 1_000;

type Names = BTreeMap<Uid, String>;

fn entry(record: Record, names: &Names) -> AuditEntry {
    let mut objects: Vec<String> = record.changes.iter().take(MOST_NAMED).map(|change| object(change, names)).collect();
    if let Some(more) = record.changes.len().checked_sub(MOST_NAMED).filter(|more| *more > 0) {
        objects.push(format!("and {more} more"));
    }
    AuditEntry {
        revision: record.revision,
        time_ms: record.time_ms,
        actor: actor(record.actor, names),
        action: record.action,
        request_id: record.request_id,
        hash: text::hex(&record.hash.0),
        objects,
    }
}

/// `cluster/<uid>/relay` with the cluster's name in place of its uid, while it is a member.
fn actor(actor: String, names: &Names) -> String {
    let mut parts: Vec<&str> = actor.split('/').collect();
    let name = parts.get(1).and_then(|uid| uid.parse().ok()).and_then(|uid: Uid| names.get(&uid));
    match name {
        Some(name) if parts[0] == "cluster" => {
            parts[1] = name;
            parts.join("/")
        }
        _ => actor,
    }
}

/// An object as people call it: kind, cluster, namespace, name.
fn object(change: &Change, names: &Names) -> String {
    let key = change.key();
    let name = match change {
        Change::Put(object) => match &*object.resource {
            Resource::Endpoint(endpoint) => endpoint.name.as_str(),
            _ => key.name.as_str(),
        },
        Change::Delete { .. } => key.name.as_str(),
    };
    let cluster = match key.scope {
        Scope::Fleet => String::new(),
        Scope::Cluster(uid) => names.get(&uid).cloned().unwrap_or_else(|| uid.to_string()),
    };
    let deleted = if matches!(change, Change::Delete { .. }) { "-" } else { "" };
    let path: Vec<&str> =
        [cluster.as_str(), &key.namespace, name].into_iter().filter(|part| !part.is_empty()).collect();
    format!("{deleted}{:?} {}", key.kind, path.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_of_a_whole_cluster_names_so_many() {
        let uid = Uid([7; 16]);
        let delete = |n: usize| {
            let name = axle_core::model::Name::new(format!("n{n}")).unwrap();
            let key = axle_core::model::Key {
                kind: axle_core::model::Kind::Node,
                scope: Scope::Cluster(uid),
                namespace: String::new(),
                name,
            };
            Change::Delete { key, uid }
        };
        let record = |count| Record {
            revision: 1,
            hash: axle_core::log::Hash::default(),
            time_ms: 0,
            actor: String::new(),
            request_id: String::new(),
            action: String::new(),
            changes: (0..count).map(delete).collect(),
            intake: None,
        };
        assert_eq!(entry(record(MOST_NAMED), &Names::new()).objects.len(), MOST_NAMED);
        let large = entry(record(MOST_NAMED + 5), &Names::new());
        assert_eq!((large.objects.len(), large.objects[MOST_NAMED].as_str()), (MOST_NAMED + 1, "and 5 more"));
    }

    #[test]
    fn clusters_are_called_by_their_names() {
        let uid = Uid([7; 16]);
        let names = Names::from([(uid, "east".to_owned())]);
        assert_eq!(actor(format!("cluster/{uid}/relay"), &names), "cluster/east/relay");
        let gone = format!("cluster/{}/relay", Uid([8; 16]));
        assert_eq!(actor(gone.clone(), &names), gone);
        assert_eq!(actor("user:alice".into(), &names), "user:alice");
    }
}
