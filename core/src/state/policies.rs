//! Policies of the fleet, and what holds for every policy.
use std::collections::BTreeSet;

use crate::{
    model::{Key, Kind, LabelSelector, Name, Peer, Policy, Resource, Scope},
    state::{Draft, Rejection, State, clusters::fleet_key},
};

pub(super) fn put(state: &State, draft: &mut Draft<'_>, policies: &[Policy]) -> Result<(), Rejection> {
    let mut names = BTreeSet::new();
    for policy in policies {
        if !names.insert((&policy.namespace, &policy.name)) {
            return Err(Rejection::invalid("duplicate_name", format!("policy {}", policy.title())).because(
                "the same name twice",
                "each policy once",
                "remove or rename one of the documents",
            ));
        }
        if let Some(key) = excluded_key(state, policy) {
            return Err(Rejection::invalid("excluded_label", format!("policy {}", policy.title())).because(
                format!("a selector on the label {key:?}, which is not part of any identity in this fleet"),
                "selectors on labels that identities have",
                "select by another label, or change the fleet's excluded label keys",
            ));
        }
        draft.write(Resource::Policy(policy.clone()), Scope::Fleet);
    }
    Ok(())
}

/// The key of a policy of the fleet.
pub(super) fn key(namespace: Option<&Name>, name: &Name) -> Key {
    Key { namespace: namespace.map(ToString::to_string).unwrap_or_default(), ..fleet_key(Kind::Policy, name) }
}

pub(super) fn disable(draft: &mut Draft<'_>, key: &Key, disabled: bool) -> Result<(), Rejection> {
    let policy = find(draft, key)?;
    draft.write(Resource::Policy(Policy { disabled, ..policy }), Scope::Fleet);
    Ok(())
}

pub(super) fn delete(draft: &mut Draft<'_>, key: &Key) -> Result<(), Rejection> {
    find(draft, key)?;
    draft.delete(key);
    Ok(())
}

fn find(draft: &Draft<'_>, key: &Key) -> Result<Policy, Rejection> {
    match draft.get(key).map(|object| &*object.resource) {
        Some(Resource::Policy(policy)) => Ok(policy.clone()),
        _ => Err(Rejection::not_found("unknown_policy", "name").because(
            if key.namespace.is_empty() {
                format!("{:?}", key.name.as_str())
            } else {
                format!("\"{}/{}\"", key.namespace, key.name)
            },
            "the name of a policy of the fleet, with its namespace if it is of one; a cluster's own is changed in its inventory folder",
            "see `axle policy list`",
        )),
    }
}

/// A label key on which a selector of workloads depends though the fleet excludes it from identities.
pub(super) fn excluded_key<'p>(state: &State, policy: &'p Policy) -> Option<&'p str> {
    let excluded = &state.fleet()?.excluded_label_keys;
    let selectors =
        policy.peers().filter_map(|peer| if let Peer::Pods { pods, .. } = peer { Some(pods) } else { None });
    let keys = std::iter::once(&policy.subject.pods).chain(selectors).flat_map(keys);
    keys.into_iter().find(|key| excluded.iter().any(|other| other == key))
}

fn keys(selector: &LabelSelector) -> impl Iterator<Item = &str> {
    let expressions = selector.match_expressions.iter().map(|requirement| requirement.key.as_str());
    selector.match_labels.keys().map(String::as_str).chain(expressions)
}
