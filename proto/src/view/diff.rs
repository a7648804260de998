//! Diffs.
use std::collections::BTreeMap;

use axle_core::{
    model::Uid,
    policy::{
        World,
        survey::{Group, Report, Whom},
    },
};

use super::text;
use crate::v1::{DiffCount, DiffEnd, DiffGroup, DiffPoliciesResponse};

/// Groups in one answer.
const GROUPS: usize = 500;
/// Sources, or destinations, of one group.
const ENDS: usize = 200;

/// A diff with the names of everything, cut to a size that can be read.
#[must_use]
pub fn diff(world: &World, report: &Report<'_>) -> DiffPoliciesResponse {
    let clusters = report.clusters.iter().map(|((from, to), pairs)| DiffCount {
        source_cluster: cluster(world, *from),
        destination_cluster: cluster(world, *to),
        accepted: pairs.accepted,
        denied: pairs.denied,
    });
    DiffPoliciesResponse {
        groups: report.groups.iter().take(GROUPS).map(|one| group(world, one)).collect(),
        more_groups: report.groups.len().saturating_sub(GROUPS) as u64,
        clusters: clusters.collect(),
    }
}

fn group(world: &World, group: &Group<'_>) -> DiffGroup {
    let Group { becomes, sources, destinations, ports } = group;
    let ends =
        |ends: &BTreeMap<Whom<'_>, u32>| ends.iter().take(ENDS).map(|(whom, count)| end(world, whom, *count)).collect();
    let more = |ends: &BTreeMap<Whom<'_>, u32>| ends.len().saturating_sub(ENDS) as u64;
    DiffGroup {
        becomes: text::verdict(*becomes).into(),
        ports: ports.iter().map(text::ports).collect(),
        sources: ends(sources),
        more_sources: more(sources),
        destinations: ends(destinations),
        more_destinations: more(destinations),
        pairs: sources.len() as u64 * destinations.len() as u64,
    }
}

fn end(world: &World, whom: &Whom<'_>, addresses: u32) -> DiffEnd {
    let end = DiffEnd { cluster: cluster(world, whom.cluster()), addresses, ..DiffEnd::default() };
    match whom {
        Whom::Workloads { namespace, service_account, labels, .. } => DiffEnd {
            kind: "workloads".into(),
            namespace: namespace.to_string(),
            service_account: (*service_account).to_owned(),
            labels: (*labels).clone(),
            ..end
        },
        Whom::Nodes { labels, own, .. } => {
            DiffEnd { kind: if *own { "own node" } else { "nodes" }.into(), labels: (*labels).clone(), ..end }
        }
        Whom::Outside(address) => DiffEnd { kind: "outside".into(), address: address.to_string(), addresses: 0, ..end },
    }
}

fn cluster(world: &World, uid: Option<Uid>) -> String {
    let name = |uid| world.cluster(uid).map_or_else(|| format!("{uid}"), |cluster| cluster.name.to_string());
    uid.map(name).unwrap_or_default()
}
