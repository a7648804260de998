//! Exports of one name merge into an import, which keeps its addresses as long as it exists.
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;

use crate::{
    model::{
        Cluster, Family, Key, Kind, Name, Resource, Scope, ServiceConflict, ServiceExport, ServiceImport, Traits, Uid,
    },
    service::{Exported, Merged, merge as merge_exports},
    state::{Draft, State},
};

/// The reason of an import's conflict if the fleet's range has no address left for it.
pub(super) const NO_ADDRESS: &str = "NoAddress";

/// Brings the imports of every service whose exports change up to date.
pub(super) fn merge(state: &State, draft: &mut Draft<'_>) {
    let mut changed: BTreeMap<(String, Name), BTreeSet<Uid>> = BTreeMap::new();
    for key in draft.changed(Kind::ServiceExport) {
        if let Scope::Cluster(cluster) = key.scope {
            changed.entry((key.namespace.clone(), key.name.clone())).or_default().insert(cluster);
        }
    }
    if changed.is_empty() {
        return;
    }
    let clusters: BTreeMap<Uid, &Cluster> = state.clusters().collect();
    let mut given = HashSet::new();
    for ((namespace, name), mut members) in changed {
        let key = |kind, scope| Key { kind, scope, namespace: namespace.clone(), name: name.clone() };
        let import_key = key(Kind::ServiceImport, Scope::Fleet);
        let mut held = Vec::new();
        if let Some(Resource::ServiceImport(import)) = draft.get(&import_key).map(|object| &*object.resource) {
            members.extend(&import.clusters);
            held.clone_from(&import.vips);
        }
        let mut exports: Vec<(Uid, &Cluster, ServiceExport)> = Vec::new();
        for uid in members {
            let object = draft.get(&key(Kind::ServiceExport, Scope::Cluster(uid)));
            if let (Some(cluster), Some(Resource::ServiceExport(export))) =
                (clusters.get(&uid), object.map(|object| &*object.resource))
            {
                exports.push((uid, cluster, export.clone()));
            }
        }
        let Some((_, _, first)) = exports.first() else {
            draft.delete(&import_key);
            continue;
        };
        let (namespace, name) = (first.namespace.clone(), first.name.clone());
        let offers: Vec<Exported<'_>> = exports
            .iter()
            .map(|(cluster, of, export)| Exported { cluster: *cluster, cluster_name: &of.name, export })
            .collect();
        let Merged { ports, clusters, mut conflicts, traits } = merge_exports(&offers);
        let (vips, missing) = addresses(state, &traits, &mut given, &held, &format!("{namespace}/{name}"));
        if let (Some(range), Some(cluster)) = (missing, clusters.first()) {
            let message = format!("every address of {range} is in use: give the fleet a larger range");
            conflicts.push(ServiceConflict { cluster: *cluster, reason: NO_ADDRESS.into(), message });
        }
        let import = ServiceImport { namespace, name, vips, ports, clusters, conflicts, traits };
        draft.write(Resource::ServiceImport(import), Scope::Fleet);
    }
}

/// The import's addresses: those it has, and one of each family that it shall have and lacks. Also a range that is used up.
fn addresses(
    state: &State,
    traits: &Traits,
    given: &mut HashSet<IpAddr>,
    held: &[IpAddr],
    name: &str,
) -> (Vec<IpAddr>, Option<IpNet>) {
    let Some(fleet) = state.fleet() else { return (held.to_vec(), None) };
    let families: &[Family] = match traits.families.as_slice() {
        _ if traits.headless => &[],
        [] => &[Family::V4, Family::V6],
        some => some,
    };
    let (mut vips, mut missing) = (Vec::with_capacity(2), None);
    for family in families {
        let range = match family {
            Family::V4 => IpNet::V4(fleet.vip4),
            Family::V6 => IpNet::V6(fleet.vip6),
        };
        if let Some(address) = held.iter().find(|address| range.contains(*address)) {
            vips.push(*address);
            continue;
        }
        match state.addresses.free(range, given, name) {
            Some(address) => {
                given.insert(address);
                vips.push(address);
            }
            None => missing = Some(range),
        }
    }
    (vips, missing)
}
