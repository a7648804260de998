//! Whether nodes have room for a change of policies, as far as can be said before they try.
use std::{collections::BTreeMap, sync::Arc};

use axle_core::{
    log::Change,
    model::{Name, Peers, Policy, Resource, Uid},
    policy::{World, survey, tables::Limits},
};
use axle_proto::v1;

use super::Violation;
use crate::live::Live;

/// Sorts of node that a change is compiled for, at most: each costs a full compile of the world.
const SORTS: usize = 8;
/// A node of whose every table less than this part is used has room for a small change beyond doubt.
const LIGHT: u64 = 4;
/// Peers in a small change, at most.
const SMALL: usize = 32;

/// How much room each node has and uses, as it last said.
pub(super) type Rooms = BTreeMap<(Uid, String), Vec<v1::Capacity>>;

/// What nodes say of their room.
pub(super) fn rooms(live: &Arc<Live>) -> Rooms {
    let spokes = live.spokes().into_iter();
    spokes
        .flat_map(|(cluster, spoke)| {
            spoke.nodes.into_iter().map(move |(name, status)| ((cluster, name), status.capacity))
        })
        .collect()
}

/// What of a change does not fit, as faults, and what is not known, as a warning.
pub(super) fn check(world: &World, changes: &[Change], rooms: &Rooms) -> (Vec<Violation>, Option<String>) {
    let small = changes.iter().map(peers).sum::<usize>() <= SMALL;
    let room = |cluster: Uid, node: &Name| match rooms.get(&(cluster, node.to_string())) {
        Some(tables) if small && !tables.is_empty() && tables.iter().all(|table| table.used * LIGHT < table.limit) => {
            None
        }
        Some(tables) => Some(limits(tables)),
        None => Some(Limits::default()),
    };
    let prediction = survey::predict(world, changes, &room, SORTS);
    let violations = prediction.refused.iter().map(|overflow| {
        let cluster = |uid: Uid| world.cluster(uid).map_or_else(|| uid.to_string(), |it| it.name.to_string());
        let named = overflow.nodes.iter().take(5).map(|(uid, node)| format!("{}/{node}", cluster(*uid)));
        let more = overflow.nodes.len().saturating_sub(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Violation {
            code: "does_not_fit".into(),
            field: format!("policy {} on {}{more}", overflow.policy.name, named.collect::<Vec<_>>().join(", ")),
            got: format!("{} {}", overflow.shortage.wanted, overflow.shortage.what),
            want: format!("at most {}", overflow.shortage.limit),
            fix: "make the policy narrower, or the node's tables larger; an admin may force it (--force)".into(),
        }
    });
    let unknown = prediction.unknown;
    let warning = format!("whether it fits was not looked at for {unknown} of {} nodes", prediction.concerned);
    (violations.collect(), (unknown > 0).then_some(warning))
}

fn peers(change: &Change) -> usize {
    let Change::Put(object) = change else { return 0 };
    let Resource::Policy(Policy { ingress, egress, .. }) = object.resource.as_ref() else { return 0 };
    let of = |peers: &Peers| if let Peers::Of(peers) = peers { peers.len() } else { 1 };
    ingress.iter().chain(egress).flatten().map(|rule| of(&rule.peers)).sum()
}

/// What a node says it holds; the default of a table that it does not speak of.
fn limits(tables: &[v1::Capacity]) -> Limits {
    let mut limits = Limits::default();
    for v1::Capacity { table, limit, .. } in tables {
        let limit = u32::try_from(*limit).unwrap_or(u32::MAX);
        match table.as_str() {
            "classes" => limits.classes = limit,
            "port_classes" => limits.port_classes = u16::try_from(limit).unwrap_or(u16::MAX),
            "rows" => limits.rows = limit,
            "blocks" => limits.blocks = limit,
            "slots" => limits.slots = limit,
            "workloads" => limits.locals = limit,
            "addresses4" => limits.addresses4 = limit,
            "addresses6" => limits.addresses6 = limit,
            "prefixes" => limits.prefixes = limit,
            _ => {}
        }
    }
    limits
}
