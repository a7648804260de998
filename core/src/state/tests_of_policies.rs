//! Tests of the fleet's policies, and changes that were checked by them.
use std::collections::BTreeSet;

use crate::{
    model::{Kind, Name, PolicyTest, Resource, Scope},
    state::{Draft, Rejection, State, clusters::fleet_key},
};

/// The code of a rejection of what was checked against policies that are others now.
pub const CHANGED_SINCE: &str = "changed_since";

pub(super) fn put(draft: &mut Draft<'_>, tests: &[PolicyTest]) -> Result<(), Rejection> {
    let mut names = BTreeSet::new();
    for test in tests {
        if !names.insert(&test.name) {
            return Err(Rejection::invalid("duplicate_name", format!("test {}", test.name)).because(
                "the same name twice",
                "each test once",
                "remove or rename one of the documents",
            ));
        }
        draft.write(Resource::PolicyTest(test.clone()), Scope::Fleet);
    }
    Ok(())
}

pub(super) fn delete(draft: &mut Draft<'_>, name: &Name) -> Result<(), Rejection> {
    let key = fleet_key(Kind::PolicyTest, name);
    if draft.get(&key).is_none() {
        return Err(Rejection::not_found("unknown_test", "name").because(
            format!("{:?}", name.as_str()),
            "the name of a test of policies",
            "see `axle policy test`",
        ));
    }
    draft.delete(&key);
    Ok(())
}

/// Whether policies and tests are still as they were when somebody checked a change of them.
pub(super) fn unchanged(state: &State, since: u64) -> Result<(), Rejection> {
    if state.policies_changed <= since {
        return Ok(());
    }
    Err(Rejection::conflict(CHANGED_SINCE, "policies").because(
        format!("a change of policies that was checked at revision {since}"),
        format!("one that was checked at revision {} or later", state.policies_changed),
        "check it again",
    ))
}
