//! The fleet's settings, clusters and nodes.
use ipnet::IpNet;

use crate::{
    model::{Cluster, Fleet, Key, Kind, Name, Resource, Scope},
    state::{Draft, Owner, Rejection, State},
};

pub(super) fn begin(state: &State, draft: &mut Draft<'_>, fleet: &Fleet) -> Result<(), Rejection> {
    if state.fleet().is_some_and(|there| there != fleet) {
        return Err(Rejection::conflict("already_begun", "fleet").because(
            "other settings",
            "the settings that the fleet began with",
            "start with the same settings, or with a new database",
        ));
    }
    for (at, range) in [("vip4", IpNet::V4(fleet.vip4)), ("vip6", IpNet::V6(fleet.vip6))] {
        no_host_bits(at, &range)?;
    }
    draft.write(Resource::Fleet(fleet.clone()), Scope::Fleet);
    Ok(())
}

pub(super) fn add(state: &State, draft: &mut Draft<'_>, cluster: &Cluster) -> Result<(), Rejection> {
    if state.cluster(&cluster.name).is_some() {
        return Err(Rejection::conflict("duplicate_name", "name").because(
            format!("{:?}, which a cluster has already", cluster.name.as_str()),
            "a name that no cluster has",
            "choose another name, or remove that cluster first",
        ));
    }
    if cluster.prefixes.is_empty() {
        return Err(Rejection::invalid("no_prefix", "prefixes").because(
            "none",
            "the address ranges of the cluster's workloads",
            "name at least one, such as 10.1.0.0/16",
        ));
    }
    for (i, prefix) in cluster.prefixes.iter().enumerate() {
        let at = format!("prefixes[{i}]");
        no_host_bits(&at, prefix)?;
        if let Some(other) = cluster.prefixes[..i].iter().find(|other| overlap(prefix, other)) {
            return Err(overlapping(at, prefix, other, "of the same cluster"));
        }
        for (_, there) in state.clusters() {
            if let Some(other) = there.prefixes.iter().find(|other| overlap(prefix, other)) {
                return Err(overlapping(at, prefix, other, &format!("of cluster {}", there.name)));
            }
        }
        for range in state.fleet().into_iter().flat_map(|fleet| [IpNet::V4(fleet.vip4), IpNet::V6(fleet.vip6)]) {
            if overlap(prefix, &range) {
                return Err(overlapping(at, prefix, &range, "of the fleet's service addresses"));
            }
        }
    }
    draft.write(Resource::Cluster(cluster.clone()), Scope::Fleet);
    Ok(())
}

pub(super) fn remove(state: &State, draft: &mut Draft<'_>, name: &Name) -> Result<(), Rejection> {
    let (uid, _) = state.cluster(name).ok_or_else(|| unknown(state, name))?;
    let owner = Owner::Cluster(uid);
    let owned: Vec<Key> = owner.owned(state.contents()).map(|object| object.key.clone()).collect();
    for key in &owned {
        draft.delete(key);
    }
    draft.delete(&fleet_key(Kind::Cluster, name));
    Ok(())
}

pub(super) fn drain(state: &State, draft: &mut Draft<'_>, name: &Name, draining: bool) -> Result<(), Rejection> {
    let (_, cluster) = state.cluster(name).ok_or_else(|| unknown(state, name))?;
    draft.write(Resource::Cluster(Cluster { draining, ..cluster.clone() }), Scope::Fleet);
    Ok(())
}

pub(super) fn remove_node(state: &State, draft: &mut Draft<'_>, cluster: &Name, node: &Name) -> Result<(), Rejection> {
    let (uid, _) = state.cluster(cluster).ok_or_else(|| unknown(state, cluster))?;
    let owner = Owner::Node(uid, node.clone());
    let owned: Vec<Key> = owner.owned(state.contents()).map(|object| object.key.clone()).collect();
    if owned.is_empty() {
        return Err(Rejection::not_found("unknown_node", "node").because(
            format!("{:?}", node.as_str()),
            format!("a node of cluster {cluster}"),
            "see `axle status` for its nodes",
        ));
    }
    for key in &owned {
        draft.delete(key);
    }
    Ok(())
}

pub(super) fn fleet_key(kind: Kind, name: &Name) -> Key {
    Key { kind, scope: Scope::Fleet, namespace: String::new(), name: name.clone() }
}

fn unknown(state: &State, name: &Name) -> Rejection {
    let names: Vec<&str> = state.clusters().map(|(_, cluster)| cluster.name.as_str()).collect();
    Rejection::not_found("unknown_cluster", "cluster").because(
        format!("{:?}", name.as_str()),
        if names.is_empty() { "a cluster, but there is none".into() } else { format!("one of {}", names.join(", ")) },
        "see `axle cluster list`",
    )
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

fn overlapping(at: String, prefix: &IpNet, other: &IpNet, whose: &str) -> Rejection {
    Rejection::conflict("overlapping_prefix", at).because(
        format!("{prefix}, which overlaps {other} {whose}"),
        "a range of its own for every cluster",
        "give the cluster another range",
    )
}

fn no_host_bits(at: &str, prefix: &IpNet) -> Result<(), Rejection> {
    if prefix.trunc() == *prefix {
        return Ok(());
    }
    Err(Rejection::invalid("host_bits", at).because(
        prefix.to_string(),
        "an address block without host bits",
        format!("write {}", prefix.trunc()),
    ))
}
