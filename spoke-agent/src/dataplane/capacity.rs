//! Capacity, computed before anything is written.
use std::{collections::HashSet, net::IpAddr};

use axle_core::policy::tables::{Limits, Plan, Write};
use ipnet::IpNet;

use super::tables::{Tables, words};

/// Something of which a plan needs more than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the plan needs {wanted} {what}, and this node's data plane holds {limit}; nothing was written")]
pub struct Capacity {
    /// Of what, in the plural.
    pub what: &'static str,
    /// How many are needed.
    pub wanted: usize,
    /// How many there may be.
    pub limit: usize,
}

impl Capacity {
    /// Fails if `wanted` is more than `limit`.
    pub(super) fn check(what: &'static str, wanted: usize, limit: usize) -> Result<(), Self> {
        if wanted <= limit { Ok(()) } else { Err(Self { what, wanted, limit }) }
    }
}

/// Checks that the tables have room for a whole plan: numbers within the tables, entries within the maps.
pub(super) fn check(tables: &Tables, plan: &Plan, limits: &Limits) -> Result<(), Capacity> {
    let mut new4 = Vec::new();
    let mut new6 = HashSet::new();
    let mut prefixes = HashSet::new();
    for write in plan.writes.iter().chain(&plan.settle) {
        let (what, number, limit) = match write {
            Write::Row { row, .. } => ("rows", *row, limits.rows),
            Write::Block { block, .. } | Write::Cell { block, .. } => ("blocks", *block, limits.blocks),
            Write::SlotBlock { slot, .. } => ("slots", *slot, limits.slots),
            Write::Workload { local, .. } => ("workloads", *local, limits.locals),
            Write::Ports { class, .. } => ("port classes", u32::from(*class), u32::from(limits.port_classes)),
            Write::Address { class: Some(class), address } => {
                match address {
                    IpAddr::V4(address) => new4.push(*address),
                    IpAddr::V6(_) => drop(new6.insert(words(*address))),
                }
                ("classes", *class, limits.classes)
            }
            Write::Prefix { class: Some(class), prefix } => {
                prefixes.insert(*prefix);
                ("classes", *class, limits.classes)
            }
            _ => continue,
        };
        Capacity::check(what, number as usize + 1, limit as usize)?;
    }
    tables.addresses4.check(new4.into_iter())?;
    new6.retain(|address| tables.addresses6.map.get(address, 0).is_err());
    let addresses6 = &tables.addresses6;
    Capacity::check("IPv6 addresses with entries", addresses6.entries + new6.len(), addresses6.limit)?;
    let (known4, known6): (Vec<&IpNet>, Vec<&IpNet>) = tables.prefixes.union(&prefixes).partition(|net| is_v4(net));
    Capacity::check("IPv4 prefixes", known4.len(), limits.prefixes as usize)?;
    Capacity::check("IPv6 prefixes", known6.len(), limits.prefixes as usize)
}

fn is_v4(prefix: &IpNet) -> bool {
    matches!(prefix, IpNet::V4(_))
}
