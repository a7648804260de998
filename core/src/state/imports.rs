//! Exports of one name merge into an import, which keeps its addresses as long as it exists.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

use crate::{
    model::{Cluster, Key, Kind, Name, Resource, Scope, ServiceConflict, ServiceExport, ServiceImport, Uid},
    service::{Exported, merge as merge_exports},
    state::{Draft, State},
};

/// The reason of an import's conflict if the fleet's range has no address left for it.
pub(super) const NO_ADDRESS: &str = "NoAddress";

/// Brings the imports of every service whose exports change up to date.
pub(super) fn merge(state: &State, draft: &mut Draft<'_>) {
    let changed: BTreeSet<(String, Name)> =
        draft.changed(Kind::ServiceExport).map(|key| (key.namespace.clone(), key.name.clone())).collect();
    if changed.is_empty() {
        return;
    }
    let clusters: BTreeMap<Uid, &Cluster> = state.clusters().collect();
    for (namespace, name) in changed {
        let key = |kind, scope| Key { kind, scope, namespace: namespace.clone(), name: name.clone() };
        let mut exports: Vec<(Uid, &Cluster, ServiceExport)> = Vec::new();
        for (uid, cluster) in &clusters {
            let object = draft.get(&key(Kind::ServiceExport, Scope::Cluster(*uid)));
            if let Some(Resource::ServiceExport(export)) = object.map(|object| &*object.resource) {
                exports.push((*uid, cluster, export.clone()));
            }
        }
        let import_key = key(Kind::ServiceImport, Scope::Fleet);
        let Some((_, _, first)) = exports.first() else {
            draft.delete(&import_key);
            continue;
        };
        let held = match draft.get(&import_key).map(|object| &*object.resource) {
            Some(Resource::ServiceImport(import)) => import.vips.clone(),
            _ => Vec::new(),
        };
        let (namespace, name) = (first.namespace.clone(), first.name.clone());
        let offers: Vec<Exported<'_>> = exports
            .iter()
            .map(|(cluster, of, export)| Exported { cluster: *cluster, cluster_name: &of.name, export })
            .collect();
        let merged = merge_exports(&offers);
        let (vips, missing) = addresses(state, draft, &held, &namespace, &name);
        let mut conflicts = merged.conflicts;
        if let (Some(range), Some(cluster)) = (missing, merged.clusters.first()) {
            let message = format!("every address of {range} is in use: give the fleet a larger range");
            conflicts.push(ServiceConflict { cluster: *cluster, reason: NO_ADDRESS.into(), message });
        }
        let import = ServiceImport { namespace, name, vips, ports: merged.ports, clusters: merged.clusters, conflicts };
        draft.write(Resource::ServiceImport(import), Scope::Fleet);
    }
}

/// The import's addresses: those it has, and one of each family that it lacks. Also a range that is used up.
fn addresses(
    state: &State,
    draft: &Draft<'_>,
    held: &[IpAddr],
    namespace: &Name,
    name: &Name,
) -> (Vec<IpAddr>, Option<IpNet>) {
    let Some(fleet) = state.fleet() else { return (held.to_vec(), None) };
    let (mut vips, mut missing) = (Vec::with_capacity(2), None);
    let mut used = None;
    for range in [IpNet::V4(fleet.vip4), IpNet::V6(fleet.vip6)] {
        if let Some(address) = held.iter().find(|address| range.contains(*address)) {
            vips.push(*address);
            continue;
        }
        let used = used.get_or_insert_with(|| draft.addresses_in_use());
        match free(range, used, &state.retired, &format!("{namespace}/{name}")) {
            Some(address) => vips.push(address),
            None => missing = Some(range),
        }
    }
    (vips, missing)
}

/// A free address of the range: the first from a place that the name decides, so that which one it is does not depend on
/// the order in which services came; one that was given up lately only if there is no other.
fn free(
    range: IpNet,
    used: &BTreeSet<IpAddr>,
    retired: &std::collections::VecDeque<IpAddr>,
    name: &str,
) -> Option<IpAddr> {
    let (base, bits) = match range {
        IpNet::V4(range) => (u128::from(u32::from(range.network())), 32 - range.prefix_len()),
        IpNet::V6(range) => (u128::from(range.network()), 128 - range.prefix_len()),
    };
    // Neither the network's own address nor the last one, which is a broadcast address in IPv4.
    let count = (1_u128 << bits.min(64)).checked_sub(2).filter(|count| *count > 0)?;
    let at = |offset: u128| {
        let number = base + 1 + offset % count;
        match range {
            IpNet::V4(_) => u32::try_from(number).ok().map(|number| IpAddr::V4(Ipv4Addr::from(number))),
            IpNet::V6(_) => Some(IpAddr::V6(Ipv6Addr::from(number))),
        }
    };
    let mut hash = [0; 8];
    blake3::Hasher::new_derive_key("axle service address v1").update(name.as_bytes()).finalize_xof().fill(&mut hash);
    let start = u128::from(u64::from_le_bytes(hash));
    // Of one more candidate than there are taken ones, one is free.
    let tries = count.min((used.len() + retired.len() + 1) as u128);
    let fresh = (0..tries).filter_map(|i| at(start + i)).find(|a| !used.contains(a) && !retired.contains(a));
    fresh.or_else(|| retired.iter().find(|address| range.contains(*address) && !used.contains(*address)).copied())
}
