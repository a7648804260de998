//! Policies of the fleet, and what holds for every policy.
use std::collections::BTreeSet;

use crate::{
    model::{Kind, LabelSelector, Name, Peer, Peers, Policy, Resource, Scope},
    state::{Draft, Rejection, State, clusters::fleet_key},
};

pub(super) fn put(state: &State, draft: &mut Draft<'_>, policies: &[Policy]) -> Result<(), Rejection> {
    let mut names = BTreeSet::new();
    for policy in policies {
        if !names.insert(&policy.name) {
            return Err(Rejection::invalid("duplicate_name", format!("policy {}", policy.name)).because(
                "the same name twice",
                "each policy once",
                "remove or rename one of the documents",
            ));
        }
        if policy.namespace.is_some() {
            return Err(Rejection::invalid("namespaced", format!("policy {}.namespace", policy.name)).because(
                "a namespace",
                "none: the fleet's policies belong to no namespace of one cluster",
                "select namespaces in the subject instead",
            ));
        }
        if let Some(key) = excluded_key(state, policy) {
            return Err(Rejection::invalid("excluded_label", format!("policy {}", policy.name)).because(
                format!("a selector on the label {key:?}, which is not part of any identity in this fleet"),
                "selectors on labels that identities have",
                "select by another label, or change the fleet's excluded label keys",
            ));
        }
        draft.write(Resource::Policy(policy.clone()), Scope::Fleet);
    }
    Ok(())
}

pub(super) fn disable(draft: &mut Draft<'_>, name: &Name, disabled: bool) -> Result<(), Rejection> {
    let policy = find(draft, name)?;
    draft.write(Resource::Policy(Policy { disabled, ..policy }), Scope::Fleet);
    Ok(())
}

pub(super) fn delete(draft: &mut Draft<'_>, name: &Name) -> Result<(), Rejection> {
    find(draft, name)?;
    draft.delete(&fleet_key(Kind::Policy, name));
    Ok(())
}

fn find(draft: &Draft<'_>, name: &Name) -> Result<Policy, Rejection> {
    let object = draft.get(&fleet_key(Kind::Policy, name));
    match object.map(|object| &*object.resource) {
        Some(Resource::Policy(policy)) => Ok(policy.clone()),
        _ => Err(Rejection::not_found("unknown_policy", "name").because(
            format!("{:?}", name.as_str()),
            "the name of a fleet policy",
            "see `axle policy list`",
        )),
    }
}

/// A label key on which a selector of workloads depends though the fleet excludes it from identities.
pub(super) fn excluded_key<'p>(state: &State, policy: &'p Policy) -> Option<&'p str> {
    let excluded = &state.fleet()?.excluded_label_keys;
    let rules = policy.ingress.iter().chain(&policy.egress).flatten();
    let peers = rules.flat_map(|rule| match &rule.peers {
        Peers::Any => &[],
        Peers::Of(peers) => peers.as_slice(),
    });
    let selectors = peers.filter_map(|peer| if let Peer::Pods { pods, .. } = peer { Some(pods) } else { None });
    let keys = std::iter::once(&policy.subject.pods).chain(selectors).flat_map(keys);
    keys.into_iter().find(|key| excluded.iter().any(|other| other == key))
}

fn keys(selector: &LabelSelector) -> impl Iterator<Item = &str> {
    let expressions = selector.match_expressions.iter().map(|requirement| requirement.key.as_str());
    selector.match_labels.keys().map(String::as_str).chain(expressions)
}
