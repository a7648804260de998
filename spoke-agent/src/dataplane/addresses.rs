//! IPv4 addresses as three directly indexed levels of 16, 8 and 8 bits.
//!
//! A new block is written before the level above leads to it. A block that has become empty is unlinked, and used again
//! only after a grace period, when no program can still be on its way through it.
use std::{
    collections::HashSet,
    net::Ipv4Addr,
    sync::atomic::{
        AtomicU32,
        Ordering::{Relaxed, Release},
    },
};

use axle_core::policy::tables::Class;
use axle_ebpf_common::policy::DENIED;

use super::{Capacity, WriteError, mapped::Mapped};

const CELLS: usize = 256;

/// The class that an entry stands for.
pub(super) fn known(class: Class) -> Class {
    if class == DENIED { 0 } else { class }
}

/// The table of IPv4 addresses.
pub(super) struct Addresses4 {
    first: Mapped<AtomicU32>,
    second: Level,
    third: Level,
}

/// One level of blocks; block 0 stands for none.
struct Level {
    cells: Mapped<AtomicU32>,
    used: Vec<u16>,
    free: Vec<u32>,
    unlinked: Vec<u32>,
}

impl Level {
    fn new(cells: Mapped<AtomicU32>) -> Self {
        let blocks = cells.len() / CELLS;
        Self { used: vec![0; blocks], free: (1..blocks as u32).rev().collect(), unlinked: Vec::new(), cells }
    }

    fn cell(&self, block: u32, index: u8) -> &AtomicU32 {
        &self.cells[block as usize * CELLS + usize::from(index)]
    }

    /// Sets a cell and keeps count; the result is whether the block is now empty.
    fn set(&mut self, block: u32, index: u8, value: u32) -> bool {
        let before = self.cell(block, index).load(Relaxed);
        self.cell(block, index).store(value, Release);
        let used = &mut self.used[block as usize];
        match (before, value) {
            (0, 0) => {}
            (0, _) => *used += 1,
            (_, 0) => *used -= 1,
            _ => {}
        }
        *used == 0
    }

    fn unlink(&mut self, block: u32) {
        self.unlinked.push(block);
    }
}

impl Addresses4 {
    pub(super) fn new(first: Mapped<AtomicU32>, second: Mapped<AtomicU32>, third: Mapped<AtomicU32>) -> Self {
        Self { first, second: Level::new(second), third: Level::new(third) }
    }

    /// Sets the class of an address.
    pub(super) fn set(&mut self, address: Ipv4Addr, class: Option<Class>) -> Result<(), WriteError> {
        let class = class.map_or(0, |class| if class == 0 { DENIED } else { class });
        let [a, b, c, d] = address.octets();
        let top = usize::from(u16::from_be_bytes([a, b]));
        let second = self.first[top].load(Relaxed);
        let third = if second == 0 { 0 } else { self.second.cell(second, c).load(Relaxed) };
        if class == 0 {
            if third != 0 && self.third.set(third, d, 0) {
                self.remove_block(top, second, c, third);
            }
            return Ok(());
        }
        if third != 0 {
            self.third.set(third, d, class);
            return Ok(());
        }
        let third = self.third.free.pop().ok_or(WriteError::Full("block of 256 IPv4 addresses"))?;
        self.third.set(third, d, class);
        if second != 0 {
            self.second.set(second, c, third);
            return Ok(());
        }
        let Some(second) = self.second.free.pop() else {
            self.third.set(third, d, 0);
            self.third.free.push(third);
            return Err(WriteError::Full("block of 65,536 IPv4 addresses"));
        };
        self.second.set(second, c, third);
        self.first[top].store(second, Release);
        Ok(())
    }

    fn remove_block(&mut self, top: usize, second: u32, c: u8, third: u32) {
        let is_empty = self.second.set(second, c, 0);
        self.third.unlink(third);
        if is_empty {
            self.first[top].store(0, Release);
            self.second.unlink(second);
        }
    }

    /// Whether blocks wait for a grace period.
    pub(super) fn has_unlinked(&self) -> bool {
        !self.third.unlinked.is_empty()
    }

    /// Frees what was unlinked. A grace period must have passed.
    pub(super) fn free_unlinked(&mut self) {
        for level in [&mut self.second, &mut self.third] {
            level.free.append(&mut level.unlinked);
        }
    }

    /// Checks that there are blocks for these new addresses.
    pub(super) fn check(&self, addresses: impl Iterator<Item = Ipv4Addr>) -> Result<(), Capacity> {
        let (mut seconds, mut thirds) = (HashSet::new(), HashSet::new());
        for address in addresses {
            let [a, b, c, _] = address.octets();
            let second = self.first[usize::from(u16::from_be_bytes([a, b]))].load(Relaxed);
            if second == 0 {
                seconds.insert([a, b]);
            }
            if second == 0 || self.second.cell(second, c).load(Relaxed) == 0 {
                thirds.insert([a, b, c]);
            }
        }
        for (level, new, what) in [
            (&self.second, seconds.len(), "blocks of 65,536 IPv4 addresses (/16) with entries"),
            (&self.third, thirds.len(), "blocks of 256 IPv4 addresses (/24) with entries"),
        ] {
            let limit = level.used.len() - 1;
            Capacity::check(what, limit - level.free.len() + new, limit)?;
        }
        Ok(())
    }

    /// Every address that has a class, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Ipv4Addr, Class)> {
        let blocks = |table: &[AtomicU32], at: usize| -> Vec<(usize, u32)> {
            let cells = table.iter().skip(at).take(if at == 0 && table.len() == 65_536 { 65_536 } else { CELLS });
            cells
                .enumerate()
                .map(|(index, cell)| (index, cell.load(Relaxed)))
                .filter(|(_, value)| *value != 0)
                .collect()
        };
        let first = blocks(&self.first, 0);
        first.into_iter().flat_map(move |(top, second)| {
            blocks(&self.second.cells, second as usize * CELLS).into_iter().flat_map(move |(c, third)| {
                blocks(&self.third.cells, third as usize * CELLS)
                    .into_iter()
                    .map(move |(d, class)| (Ipv4Addr::from((top << 16 | c << 8 | d) as u32), known(class)))
            })
        })
    }
}
