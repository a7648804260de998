//! What a cluster says of itself.
use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use crate::{
    log::{Change, Delta, Position, Snapshot},
    model::{Cluster, Key, Kind, MAX_SERVICE_PORTS, Name, Object, Resource, Uid},
    refusal::{Refusal, code},
    state::{Draft, Owner, Rejection, State, claims::range_of_others, policies},
};

/// The most bytes of one object: each is held by every hub, relay and node of the fleet.
const MAX_OBJECT: usize = 1 << 20;

pub(super) fn delta(
    state: &State,
    draft: &mut Draft<'_>,
    (uid, after): (Uid, Option<Position>),
    delta: &Delta,
) -> Result<Vec<Refusal>, Rejection> {
    let cluster = member(state, uid)?;
    goes_on(state, uid, after)?;
    Ok(take(state, draft, (uid, cluster), &delta.changes))
}

pub(super) fn snapshot(
    state: &State,
    draft: &mut Draft<'_>,
    (uid, after): (Uid, Option<Position>),
    snapshot: &Snapshot,
    kept: &[Refusal],
) -> Result<Vec<Refusal>, Rejection> {
    let cluster = member(state, uid)?;
    goes_on(state, uid, after)?;
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

/// Of a session that was replaced, perhaps on another hub, something may still be under way: it is older than what the
/// newer session brought, and must not be taken after it.
fn goes_on(state: &State, uid: Uid, after: Option<Position>) -> Result<(), Rejection> {
    let taken = state.intake(uid);
    if taken == after {
        return Ok(());
    }
    let at = |place: Option<Position>| place.map_or("nothing".into(), |place| format!("revision {}", place.revision));
    Err(Rejection::conflict("session_replaced", "cluster").because(
        format!("what follows on {} of its log", at(after)),
        format!("what follows on {}, which is taken in", at(taken)),
        "a newer session of this cluster has gone on: reconnect, and resume from there",
    ))
}

fn take(state: &State, draft: &mut Draft<'_>, (uid, cluster): (Uid, &Cluster), changes: &[Change]) -> Vec<Refusal> {
    let owner = Owner::Cluster(uid);
    let mut refused = Vec::new();
    let mut endpoints = HashMap::new();
    let mut share = state.shares.of_cluster(uid);
    for change in room_first(changes) {
        let checked = owner.allows(change, state.contents()).and_then(|()| match change {
            Change::Put(object) => {
                one_of_its_uid(state, &mut endpoints, object)?;
                fits(state, (uid, cluster), object)?;
                let replaced = share.replace(draft.get(&object.key), Some(object));
                replaced.map_err(|message| refusal(object, code::TOO_MUCH, message))
            }
            Change::Delete { key, uid } => {
                share.replace(draft.get(key).filter(|there| there.uid == *uid), None).unwrap_or_default();
                Ok(())
            }
        });
        match (checked, change) {
            (Err(refusal), _) => refused.push(refusal),
            (Ok(()), Change::Put(object)) => draft.put(object.clone()),
            (Ok(()), Change::Delete { key, uid }) => delete(draft, key, *uid),
        }
    }
    refused
}

/// What goes makes room for what comes with it: the deletes of keys that nothing else is said of, before everything else.
fn room_first(changes: &[Change]) -> impl Iterator<Item = &Change> {
    let puts: HashSet<&Key> = changes.iter().filter(|change| is_put(change)).map(Change::key).collect();
    let (first, then): (Vec<_>, Vec<_>) =
        changes.iter().partition(|change| !is_put(change) && !puts.contains(change.key()));
    first.into_iter().chain(then)
}

fn is_put(change: &Change) -> bool {
    matches!(change, Change::Put(_))
}

/// Deletes that incarnation, if it is the one that is there.
fn delete(draft: &mut Draft<'_>, key: &Key, uid: Uid) {
    if draft.get(key).is_some_and(|object| object.uid == uid) {
        draft.delete(key);
    }
}

/// An endpoint is known by its uid alone wherever addresses are judged: no second object may claim it, neither another
/// cluster's nor one written in the same breath.
fn one_of_its_uid<'c>(
    state: &State,
    taken: &mut HashMap<&'c Name, &'c Key>,
    object: &'c Object,
) -> Result<(), Refusal> {
    let key = &object.key;
    if key.kind != Kind::Endpoint {
        return Ok(());
    }
    let another = |there: &Key| there != key;
    if state.endpoints.another(key).is_some() || taken.insert(&key.name, key).is_some_and(another) {
        let message = format!("the uid {} is another endpoint's; wanted one that was never used", key.name);
        return Err(refusal(object, code::FOREIGN_OBJECT, message));
    }
    Ok(())
}

fn refusal(object: &Object, code: &str, message: String) -> Refusal {
    Refusal { key: object.key.clone(), revision: object.revision, code: code.into(), message }
}

fn fits(state: &State, (uid, cluster): (Uid, &Cluster), object: &Object) -> Result<(), Refusal> {
    let refuse = |code, message| Err(refusal(object, code, message));
    if object.payload.len() > MAX_OBJECT {
        let message = format!("it has {} bytes; wanted at most {MAX_OBJECT}", object.payload.len());
        return refuse(code::INVALID_OBJECT, message);
    }
    let outside = |address: &IpAddr| !cluster.prefixes.iter().any(|prefix| prefix.contains(address));
    match &*object.resource {
        Resource::Node(node) => {
            let others = |address: &IpAddr| Some((*address, range_of_others(state.contents(), uid, *address)?));
            match node.addresses.iter().find_map(others) {
                None => Ok(()),
                Some((address, whose)) => refuse(
                    code::FOREIGN_OBJECT,
                    format!("node {} has {address}, which is in a range of {whose}; wanted one of its own", node.name),
                ),
            }
        }
        Resource::Endpoint(endpoint) => match endpoint.addresses.iter().find(|address| outside(address)) {
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
        },
        Resource::Policy(policy) => match policies::excluded_key(state, policy) {
            None => Ok(()),
            Some(key) => refuse(
                code::INVALID_OBJECT,
                format!("it selects on the label {key:?}, which is not part of any identity in this fleet"),
            ),
        },
        Resource::ServiceExport(export) if export.ports.len() > MAX_SERVICE_PORTS => refuse(
            code::INVALID_OBJECT,
            format!("it has {} ports; wanted at most {MAX_SERVICE_PORTS}: split the service", export.ports.len()),
        ),
        // The hub would hand such a backend to every cluster: nobody speaks for another's addresses.
        Resource::ServiceExport(export) => {
            let mut listed = export.backends.iter().flat_map(|backends| &backends.endpoints);
            match listed.find_map(|endpoint| endpoint.addresses.iter().find(|address| outside(address))) {
                None => Ok(()),
                Some(address) => refuse(
                    code::ADDRESS_OUTSIDE,
                    format!("it lists the backend {address}, which is in no prefix of cluster {}", cluster.name),
                ),
            }
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::sketch::object;

    #[test]
    fn what_goes_makes_room_for_what_comes() {
        let put = |number| Change::Put(object(number, 1, 1));
        let gone = |number| {
            let Object { key, uid, .. } = object(number, 1, 1);
            Change::Delete { key, uid }
        };
        let changes = [put(1), gone(2), gone(1), put(3), gone(4)];
        let ordered: Vec<Change> = room_first(&changes).cloned().collect();
        assert_eq!(ordered, [gone(2), gone(4), put(1), gone(1), put(3)]);
    }
}
