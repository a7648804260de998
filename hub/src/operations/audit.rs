//! Who did what: the log itself.
use axle_core::log::Record;
use axle_proto::v1::{AuditEntry, ListAuditRequest, ListAuditResponse};

use super::{Operations, Problem, page, text};

impl Operations {
    /// The newest revisions, newest first.
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
        Ok(ListAuditResponse { entries: records.into_iter().map(entry).collect() })
    }
}

fn entry(record: Record) -> AuditEntry {
    AuditEntry {
        revision: record.revision,
        time_ms: record.time_ms,
        actor: record.actor,
        action: record.action,
        request_id: record.request_id,
        hash: text::hex(&record.hash.0),
        objects: record.changes.iter().map(|change| change.key().to_string()).collect(),
    }
}
