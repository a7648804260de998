//! One set of tables: what a [`Write`] does to the kernel's maps.
use std::{
    collections::HashSet,
    io,
    net::IpAddr,
    sync::atomic::{
        AtomicU16, AtomicU32, AtomicU64,
        Ordering::{Relaxed, Release},
    },
};

use axle_core::policy::tables::{BLOCK_ACCEPT, Class, ROW_ACCEPT, SLOT_ACCEPT, Write};
use axle_ebpf_common::policy::{Address, BLOCK_CELLS, EVENT_WINDOW_SHIFT, ROW_WORDS, SLOT_BLOCKS};
use aya::{
    Ebpf,
    maps::{HashMap, LpmTrie, MapData, MapError, lpm_trie::Key},
};
use ipnet::IpNet;

use super::{
    Error, Settings, WriteError,
    addresses::Addresses4,
    error::kernel,
    load,
    mapped::{Cell, Mapped},
};

/// Flags of an update: the entry must be new, must be there.
const NO_EXIST: u64 = 1;
const EXIST: u64 = 2;
/// Ports of one table.
const PORTS: usize = 1 << 16;
/// Words of 64 bits of one `Workload`: the slots of generation 0, those of generation 1, its flows.
const WORKLOAD_WORDS: usize = 3;
/// Where its flows are.
const WORKLOAD_FLOWS: usize = 2;

/// The maps of one set.
pub(super) struct Tables {
    pub(super) control: Mapped<AtomicU32>,
    pub(super) addresses4: Addresses4,
    pub(super) addresses6: Counted<HashMap<MapData, Address, u32>>,
    pub(super) prefixes4: LpmTrie<MapData, u32, u32>,
    pub(super) prefixes6: LpmTrie<MapData, Address, u32>,
    /// Those that are in the two maps: a lookup there would find a longer one.
    pub(super) prefixes: HashSet<IpNet>,
    pub(super) ports: Mapped<AtomicU16>,
    pub(super) slots: Mapped<AtomicU32>,
    pub(super) blocks: Mapped<AtomicU32>,
    pub(super) rows: Mapped<AtomicU64>,
    pub(super) workloads: Mapped<AtomicU64>,
}

/// A map of the kernel's and how many entries it has.
pub(super) struct Counted<M> {
    pub(super) map: M,
    pub(super) entries: usize,
    pub(super) limit: usize,
}

impl<M> Counted<M> {
    fn new(map: M, limit: u32) -> Self {
        Self { map, entries: 0, limit: limit as usize }
    }

    /// Inserts by `insert`, which gets the flags, and keeps count of new entries.
    fn put(
        &mut self,
        what: &'static str,
        mut insert: impl FnMut(&mut M, u64) -> Result<(), MapError>,
    ) -> Result<(), WriteError> {
        let error = match insert(&mut self.map, NO_EXIST).map_err(kernel) {
            Ok(()) => {
                self.entries += 1;
                return Ok(());
            }
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                match insert(&mut self.map, EXIST).map_err(kernel) {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        Err(if is_full(&error) { WriteError::Full(what) } else { error.into() })
    }

    /// Takes the result of a removal; what was not there counts as removed.
    fn removed(&mut self, result: Result<(), MapError>) -> Result<(), WriteError> {
        match result {
            Ok(()) => self.entries -= 1,
            Err(error) => {
                let error = kernel(error);
                if error.raw_os_error() != Some(libc::ENOENT) {
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}

impl Tables {
    /// Takes the maps out of a freshly loaded object and writes the constants and settings.
    pub(super) fn new(object: &mut Ebpf, settings: &Settings) -> Result<Self, Error> {
        let limits = settings.limits;
        let addresses6 = load::map(object, "ADDRESSES6")?;
        let tables = Self {
            control: load::mapped(object, "CONTROL")?,
            addresses4: Addresses4::new(
                load::mapped(object, "L1")?,
                load::mapped(object, "L2")?,
                load::mapped(object, "L3")?,
            ),
            addresses6: Counted::new(addresses6, limits.addresses6),
            prefixes4: load::map(object, "PREFIXES4")?,
            prefixes6: load::map(object, "PREFIXES6")?,
            prefixes: HashSet::new(),
            ports: load::mapped(object, "PORTS")?,
            slots: load::mapped(object, "SLOTS")?,
            blocks: load::mapped(object, "BLOCKS")?,
            rows: load::mapped(object, "ROWS")?,
            workloads: load::mapped(object, "WORKLOADS")?,
        };
        fill(&tables.rows, ROW_ACCEPT, ROW_WORDS, |cell| cell.store(u64::MAX, Relaxed));
        fill(&tables.blocks, BLOCK_ACCEPT, BLOCK_CELLS, |cell| cell.store(ROW_ACCEPT, Relaxed));
        fill(&tables.slots, SLOT_ACCEPT, SLOT_BLOCKS, |cell| cell.store(BLOCK_ACCEPT, Relaxed));
        let control = [0, settings.flow_share, per_window(settings.denied_events), per_window(settings.flow_events)];
        for (cell, value) in tables.control.iter().zip(control) {
            cell.store(value, Release);
        }
        Ok(tables)
    }

    /// Makes one write. Programs see it at once.
    pub(super) fn write(&mut self, write: &Write) -> Result<(), WriteError> {
        match write {
            Write::Row { row, bits } => {
                let cells = row_of(&self.rows, "row", *row, ROW_WORDS)?;
                cells.iter().zip(bits.iter()).for_each(|(cell, word)| cell.store(*word, Release));
            }
            Write::Block { block, rows } => {
                let cells = row_of(&self.blocks, "block", *block, BLOCK_CELLS)?;
                cells.iter().zip(rows.iter()).for_each(|(cell, row)| cell.store(*row, Release));
            }
            Write::Cell { block, index, row } => {
                row_of(&self.blocks, "block", *block, BLOCK_CELLS)?[usize::from(*index)].store(*row, Release);
            }
            Write::SlotBlock { slot, index, block } => {
                within("block of a slot", u64::from(*index), SLOT_BLOCKS as u64)?;
                row_of(&self.slots, "slot", *slot, SLOT_BLOCKS)?[usize::from(*index)].store(*block, Release);
            }
            Write::Address { address, class } => self.set_address(*address, *class)?,
            Write::Prefix { prefix, class } => self.set_prefix(*prefix, *class)?,
            Write::Ports { table, first, last, class } => {
                let ports = row_of(&self.ports, "port table", *table as u32, PORTS)?;
                let (first, last) = (usize::from(*first), usize::from(*last));
                ports.iter().take(last + 1).skip(first).for_each(|cell| cell.store(*class, Release));
            }
            Write::Workload { local, generation, ingress, egress } => {
                within("generation", u64::from(*generation), 2)?;
                let words = row_of(&self.workloads, "workload", *local, WORKLOAD_WORDS)?;
                // Both slots in one store: a packet sees the two of one revision.
                let both = u64::from(*egress) << 32 | u64::from(*ingress);
                words[usize::from(*generation)].store(both, Release);
            }
            Write::Flip { generation } => {
                within("generation", u64::from(*generation), 2)?;
                self.control[0].store(u32::from(*generation), Release);
            }
        }
        Ok(())
    }

    fn set_address(&mut self, address: IpAddr, class: Option<Class>) -> Result<(), WriteError> {
        if let IpAddr::V4(address) = address {
            return self.addresses4.set(address, class);
        }
        let address = words(address);
        let table = &mut self.addresses6;
        let Some(class) = class else {
            let result = table.map.remove(&address);
            return table.removed(result);
        };
        table.put("IPv6 address", |map, flags| map.insert(&address, &class, flags))
    }

    fn set_prefix(&mut self, prefix: IpNet, class: Option<Class>) -> Result<(), WriteError> {
        let length = u32::from(prefix.prefix_len());
        match prefix {
            IpNet::V4(net) => {
                put_prefix(&mut self.prefixes4, &Key::new(length, u32::from(net.network()).to_be()), class)?
            }
            IpNet::V6(net) => put_prefix(&mut self.prefixes6, &Key::new(length, words(net.network().into())), class)?,
        }
        match class {
            Some(_) => self.prefixes.insert(prefix),
            None => self.prefixes.remove(&prefix),
        };
        Ok(())
    }

    /// Flows of a workload: programs count up, garbage collection corrects.
    pub(super) fn flows(&self, local: u32) -> Option<&AtomicU64> {
        self.workloads.get(local as usize * WORKLOAD_WORDS + WORKLOAD_FLOWS)
    }

    /// Slots of a workload for a generation: ingress, egress.
    pub(super) fn slots_of(&self, local: u32, generation: usize) -> (u32, u32) {
        let both = self.workloads[local as usize * WORKLOAD_WORDS + generation].load(Relaxed);
        (both as u32, (both >> 32) as u32)
    }

    /// How many workloads there is room for.
    pub(super) fn locals(&self) -> usize {
        self.workloads.len() / WORKLOAD_WORDS
    }
}

fn put_prefix<K: aya::Pod>(
    map: &mut LpmTrie<MapData, K, u32>,
    key: &Key<K>,
    class: Option<Class>,
) -> Result<(), WriteError> {
    let result = match class {
        Some(class) => map.insert(key, &class, 0),
        None => map.remove(key),
    };
    match result.map_err(kernel) {
        Err(error) if is_full(&error) => Err(WriteError::Full("prefix")),
        // What is not there is removed.
        Err(error) if class.is_none() && error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether the kernel said that a map has no room.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC))
}

/// The cells of one row of a table.
fn row_of<'t, C: Cell>(
    cells: &'t Mapped<C>,
    what: &'static str,
    number: u32,
    width: usize,
) -> Result<&'t [C], WriteError> {
    within(what, u64::from(number), (cells.len() / width) as u64)?;
    let start = number as usize * width;
    Ok(&cells[start..start + width])
}

fn within(what: &'static str, number: u64, limit: u64) -> Result<(), WriteError> {
    if number < limit { Ok(()) } else { Err(WriteError::Beyond { what, number, limit }) }
}

fn fill<C: Cell>(cells: &Mapped<C>, row: u32, width: usize, set: impl Fn(&C)) {
    cells.iter().skip(row as usize * width).take(width).for_each(set);
}

/// Events of one window for a rate per second.
fn per_window(rate: u32) -> u32 {
    ((u64::from(rate) << EVENT_WINDOW_SHIFT) / 1_000_000_000) as u32
}

/// An address as the programs see it.
pub(super) fn words(address: IpAddr) -> Address {
    match address {
        IpAddr::V4(address) => Address::mapped(u32::from_ne_bytes(address.octets())),
        IpAddr::V6(address) => {
            let [high, low] =
                [0, 8].map(|start| u64::from_ne_bytes(std::array::from_fn(|byte| address.octets()[start + byte])));
            Address { high, low }
        }
    }
}

/// The address that the programs see as `words`.
pub(super) fn address(words: Address, family: u8) -> IpAddr {
    if family == 4 {
        return IpAddr::from(words.ipv4().to_ne_bytes());
    }
    let (high, low) = (words.high.to_ne_bytes(), words.low.to_ne_bytes());
    IpAddr::from(std::array::from_fn::<u8, 16, _>(|byte| if byte < 8 { high[byte] } else { low[byte - 8] }))
}
