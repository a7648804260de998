//! Whether nodes have room for a change of policies, as far as can be said before they try.
use std::{collections::BTreeMap, sync::Arc};

use axle_core::{
    log::Change,
    model::{Kind, Name, Uid},
    policy::{
        World,
        survey::{self, Overflow, Room},
        tables::Limits,
    },
};
use axle_proto::v1;

use super::Violation;
use crate::live::Live;

/// Objects that are compiled before it is estimated for the nodes that are left: a second of work.
const WORK: usize = 1_000_000;

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

/// What of a change does not fit, as faults.
pub(super) fn check(world: &World, changes: &[Change], rooms: &Rooms) -> Vec<Violation> {
    let room = |cluster: Uid, node: &Name| match rooms.get(&(cluster, node.to_string())) {
        Some(tables) => room(tables),
        None => Room { limits: Limits::default(), used: None },
    };
    let objects: usize = Kind::ALL.iter().map(|kind| world.objects(*kind).count()).sum();
    let prediction = survey::predict(world, changes, &room, (WORK / objects.max(1)).max(1));
    let violation = |overflow: &Overflow| {
        let cluster = |uid: Uid| world.cluster(uid).map_or_else(|| uid.to_string(), |it| it.name.to_string());
        let named = overflow.nodes.iter().take(5).map(|(uid, node)| format!("{}/{node}", cluster(*uid)));
        let more = overflow.nodes.len().saturating_sub(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let about = if overflow.is_estimate { "about " } else { "" };
        Violation {
            code: "does_not_fit".into(),
            field: format!("policy {} on {}{more}", overflow.policy.name, named.collect::<Vec<_>>().join(", ")),
            got: format!("{about}{} {}", overflow.shortage.wanted, overflow.shortage.what),
            want: format!("at most {}", overflow.shortage.limit),
            fix: "make the policy narrower, or the node's tables larger; an admin may force it (--force)".into(),
        }
    };
    prediction.refused.iter().map(violation).collect()
}

/// What a node says it holds, the default of a table that it does not speak of, and what of it is used.
fn room(tables: &[v1::Capacity]) -> Room {
    let (mut limits, mut used) = (Limits::default(), Limits::NONE);
    for v1::Capacity { table, limit, used: taken } in tables {
        limits.set(table, u32::try_from(*limit).unwrap_or(u32::MAX));
        used.set(table, u32::try_from(*taken).unwrap_or(u32::MAX));
    }
    Room { limits, used: (!tables.is_empty()).then_some(used) }
}
