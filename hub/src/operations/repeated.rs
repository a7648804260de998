//! A request that is asked again with its id is answered, not done again; an id that was used for another is refused.
use std::collections::BTreeMap;

use axle_core::{
    log::Change,
    model::{Key, Resource, Scope, Uid},
    state::Command,
};

use super::{Kind, Operations, Problem};
use crate::auth::Caller;

/// Records read at once.
const PAGE: u32 = 200;

impl Operations {
    /// The revision of this very request, if it was answered before.
    ///
    /// # Errors
    /// The id was used for something else; the store does not answer.
    pub(super) async fn repeated(
        &self,
        caller: &Caller,
        request_id: &str,
        command: &Command,
    ) -> Result<Option<u64>, Problem> {
        if request_id.is_empty() {
            return Ok(None);
        }
        let Some(before) = self.store.answered(&caller.actor(), request_id).await? else { return Ok(None) };
        let action = command.action();
        // What was forced or rolled back has a note behind.
        let named = before.action == action || before.action.starts_with(&format!("{action} ("));
        if named && self.wrote(before.revision, command).await? {
            return Ok(Some(before.revision));
        }
        let detail = format!(
            "the request id was used before, for {:?} at revision {}{}; nothing was done: use a fresh one",
            before.action,
            before.revision,
            if named { " with other contents" } else { "" },
        );
        Err(Problem::new(Kind::Conflict, "request_id_reused", detail))
    }

    /// Whether everything that a command puts was as it says at that revision.
    async fn wrote(&self, revision: u64, command: &Command) -> Result<bool, Problem> {
        let mut open = BTreeMap::new();
        puts(command, &mut open);
        let mut records = self.store.records_before(revision + 1, 1).await?;
        while !open.is_empty() {
            for change in records.iter().flat_map(|record| record.changes.iter().rev()) {
                let Some(asked) = open.remove(change.key()) else { continue };
                if !matches!(change, Change::Put(object) if *object.resource == asked) {
                    return Ok(false);
                }
            }
            // What a record does not write was so already: as it is now if nobody wrote it since, else as it was written last.
            self.read(|state| {
                open.retain(|key, asked| {
                    let now = state.contents().get(key);
                    !now.is_some_and(|now| now.revision <= revision && *now.resource == *asked)
                });
            });
            let Some(oldest) = records.last() else { break };
            records = self.store.policy_records_before(oldest.revision, PAGE).await?;
        }
        Ok(open.is_empty())
    }
}

fn puts(command: &Command, found: &mut BTreeMap<Key, Resource>) {
    let resources: Vec<Resource> = match command {
        Command::AddCluster { cluster } => vec![Resource::Cluster(cluster.clone())],
        Command::PutPolicies { policies } => policies.iter().cloned().map(Resource::Policy).collect(),
        Command::PutTests { tests } => tests.iter().cloned().map(Resource::PolicyTest).collect(),
        Command::Together(commands) => return commands.iter().for_each(|command| puts(command, found)),
        Command::Checked { command, .. } => return puts(command, found),
        _ => Vec::new(),
    };
    found.extend(resources.into_iter().map(|one| (Key::of(&one, Scope::Fleet, Uid::default()), one)));
}
