//! What a cluster says of itself.
use crate::{
    log::{Change, Delta, Snapshot},
    model::{Cluster, Key, Object, Resource, Uid},
    refusal::{Refusal, code},
    state::{Draft, Owner, Rejection, State, policies},
};

pub(super) fn delta(state: &State, draft: &mut Draft<'_>, uid: Uid, delta: &Delta) -> Result<Vec<Refusal>, Rejection> {
    let cluster = member(state, uid)?;
    Ok(take(state, draft, (uid, cluster), &delta.changes))
}

pub(super) fn snapshot(
    state: &State,
    draft: &mut Draft<'_>,
    uid: Uid,
    snapshot: &Snapshot,
    kept: &[Refusal],
) -> Result<Vec<Refusal>, Rejection> {
    let cluster = member(state, uid)?;
    let changes = Owner::Cluster(uid).sweep(&snapshot.objects, kept, state.contents());
    Ok(take(state, draft, (uid, cluster), &changes))
}

fn member(state: &State, uid: Uid) -> Result<&Cluster, Rejection> {
    let found = state.clusters().find(|(there, _)| *there == uid);
    found.map(|(_, cluster)| cluster).ok_or_else(|| {
        Rejection::not_found("unknown_cluster", "cluster").because(
            uid.to_string(),
            "the uid of a member cluster",
            "the cluster was removed: add it again and let it enrol",
        )
    })
}

fn take(state: &State, draft: &mut Draft<'_>, (uid, cluster): (Uid, &Cluster), changes: &[Change]) -> Vec<Refusal> {
    let owner = Owner::Cluster(uid);
    let mut refused = Vec::new();
    for change in changes {
        let checked = owner.allows(change, state.contents()).and_then(|()| match change {
            Change::Put(object) => fits(state, cluster, object),
            Change::Delete { .. } => Ok(()),
        });
        match (checked, change) {
            (Err(refusal), _) => refused.push(refusal),
            (Ok(()), Change::Put(object)) => draft.put(object.clone()),
            (Ok(()), Change::Delete { key, uid }) => delete(draft, key, *uid),
        }
    }
    refused
}

/// Deletes that incarnation, if it is the one that is there.
fn delete(draft: &mut Draft<'_>, key: &Key, uid: Uid) {
    if draft.get(key).is_some_and(|object| object.uid == uid) {
        draft.delete(key);
    }
}

fn fits(state: &State, cluster: &Cluster, object: &Object) -> Result<(), Refusal> {
    let refuse = |code: &str, message| {
        Err(Refusal { key: object.key.clone(), revision: object.revision, code: code.into(), message })
    };
    match &*object.resource {
        Resource::Endpoint(endpoint) => {
            let outside = |address| !cluster.prefixes.iter().any(|prefix| prefix.contains(address));
            match endpoint.addresses.iter().find(|address| outside(*address)) {
                None => Ok(()),
                Some(address) => refuse(
                    code::ADDRESS_OUTSIDE,
                    format!(
                        "{}/{} has {address}, which is in no prefix of cluster {}; wanted an address in {}",
                        endpoint.namespace,
                        endpoint.name,
                        cluster.name,
                        cluster.prefixes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                    ),
                ),
            }
        }
        Resource::Policy(policy) => match policies::excluded_key(state, policy) {
            None => Ok(()),
            Some(key) => refuse(
                code::INVALID_OBJECT,
                format!("it selects on the label {key:?}, which is not part of any identity in this fleet"),
            ),
        },
        _ => Ok(()),
    }
}
