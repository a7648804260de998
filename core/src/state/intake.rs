//! What a cluster says of itself.
use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use crate::{
    log::{Change, Delta, Snapshot},
    model::{Cluster, Fleet, Key, Kind, Name, Object, Resource, Uid},
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
    let mut endpoints = HashMap::new();
    for change in changes {
        let checked = owner.allows(change, state.contents()).and_then(|()| match change {
            Change::Put(object) => {
                one_of_its_uid(state, &mut endpoints, object)?;
                fits(state, (uid, cluster), object)
            }
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
    if state.endpoints.get(&key.name).is_some_and(another) || taken.insert(&key.name, key).is_some_and(another) {
        let message = format!("the uid {} is another endpoint's; wanted one that was never used", key.name);
        return Err(refusal(object, code::FOREIGN_OBJECT, message));
    }
    Ok(())
}

fn refusal(object: &Object, code: &str, message: String) -> Refusal {
    Refusal { key: object.key.clone(), revision: object.revision, code: code.into(), message }
}

/// Whose range an address is in, if it is one that a node of this cluster cannot have: with it, the node would stand
/// between policy and another cluster's workloads.
fn range_of_others(state: &State, own: Uid, address: IpAddr) -> Option<String> {
    let service =
        |fleet: &Fleet| IpNet::from(fleet.vip4).contains(&address) || IpNet::from(fleet.vip6).contains(&address);
    if state.fleet().is_some_and(service) {
        return Some("the fleet's services".into());
    }
    let other = state
        .clusters()
        .find(|(uid, cluster)| *uid != own && cluster.prefixes.iter().any(|prefix| prefix.contains(&address)));
    other.map(|(_, cluster)| format!("cluster {}", cluster.name))
}

fn fits(state: &State, (uid, cluster): (Uid, &Cluster), object: &Object) -> Result<(), Refusal> {
    let refuse = |code, message| Err(refusal(object, code, message));
    match &*object.resource {
        Resource::Node(node) => {
            let others = |address: &IpAddr| Some((*address, range_of_others(state, uid, *address)?));
            match node.addresses.iter().find_map(others) {
                None => Ok(()),
                Some((address, whose)) => refuse(
                    code::FOREIGN_OBJECT,
                    format!("node {} has {address}, which is in a range of {whose}; wanted one of its own", node.name),
                ),
            }
        }
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
