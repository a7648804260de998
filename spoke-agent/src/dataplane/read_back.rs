//! What the kernel's tables hold, as the writes that would make them.
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    sync::atomic::Ordering::Relaxed,
};

use axle_core::policy::tables::{BLOCK_ACCEPT, PortTable, ROW_ACCEPT, SLOT_ACCEPT, Write};
use axle_ebpf_common::policy::{BLOCK_CELLS, ROW_WORDS, SLOT_BLOCKS};
use aya::maps::MapError;
use ipnet::IpNet;

use super::{
    DataPlane, Error,
    error::kernel,
    tables::{Tables, address},
};

impl DataPlane {
    /// Reads the kernel's tables: a whole plan's writes, with the numbers that the compiler gave. Made on empty
    /// [`axle_core::policy::tables::Tables`] they are the tables that packets are judged by.
    ///
    /// # Errors
    /// [`Error::NotReady`] without tables, [`Error::Map`] if a map cannot be read.
    pub fn read_back(&self) -> Result<Vec<Write>, Error> {
        let tables = &self.set.as_ref().ok_or(Error::NotReady)?.tables;
        let mut writes = Vec::new();
        verdicts(tables, &mut writes);
        ports(tables, &mut writes);
        addresses(tables, &mut writes)?;
        for generation in 0..2 {
            for local in 0..tables.locals() as u32 {
                let (ingress, egress) = tables.slots_of(local, generation);
                if (ingress, egress) != (0, 0) {
                    writes.push(Write::Workload { local, generation: generation as u8, ingress, egress });
                }
            }
        }
        writes.push(Write::Flip { generation: tables.control[0].load(Relaxed) as u8 });
        Ok(writes)
    }
}

/// Rows, blocks and slots that are in use, each after what it leads to.
fn verdicts(tables: &Tables, writes: &mut Vec<Write>) {
    let slots: Vec<Vec<u32>> = used(tables.slots.chunks(SLOT_BLOCKS), |cell| cell.load(Relaxed));
    let in_slots: BTreeSet<u32> = slots.iter().flatten().copied().collect();
    let mut blocks: Vec<Vec<u32>> = used(tables.blocks.chunks(BLOCK_CELLS), |cell| cell.load(Relaxed));
    let last_block = in_slots.last().map_or(0, |last| *last as usize);
    blocks.resize(blocks.len().max(last_block + 1), vec![0; BLOCK_CELLS]);
    let last_row = blocks.iter().flatten().max().map_or(0, |last| *last as usize);
    let mut rows: Vec<Vec<u64>> = used(tables.rows.chunks(ROW_WORDS), |cell| cell.load(Relaxed));
    rows.resize(rows.len().max(last_row + 1), vec![0; ROW_WORDS]);
    for (row, words) in numbered(&rows, ROW_ACCEPT) {
        let mut bits = Box::new([0; ROW_WORDS]);
        bits.copy_from_slice(words);
        writes.push(Write::Row { row, bits });
    }
    for (block, cells) in numbered(&blocks, BLOCK_ACCEPT) {
        let mut rows = Box::new([0; BLOCK_CELLS]);
        rows.copy_from_slice(cells);
        writes.push(Write::Block { block, rows });
    }
    for (slot, cells) in numbered(&slots, SLOT_ACCEPT) {
        writes.extend((0..=u8::MAX).zip(cells).map(|(index, block)| Write::SlotBlock { slot, index, block: *block }));
    }
}

/// The rows of a table, up to the last that is not all zeros.
fn used<'c, C: 'c, V: Copy + Default + PartialEq>(
    rows: impl Iterator<Item = &'c [C]>,
    load: impl Fn(&C) -> V,
) -> Vec<Vec<V>> {
    let mut rows: Vec<Vec<V>> = rows.map(|cells| cells.iter().map(&load).collect()).collect();
    let is_zero = |row: &Vec<V>| row.iter().all(|value| *value == V::default());
    let end = rows.iter().rposition(|row| !is_zero(row)).map_or(0, |last| last + 1);
    rows.truncate(end);
    rows
}

/// Rows after the constants, with their numbers.
fn numbered<V>(rows: &[Vec<V>], last_constant: u32) -> impl Iterator<Item = (u32, &Vec<V>)> {
    (0..).zip(rows).skip(last_constant as usize + 1)
}

/// The port tables as ranges of one class.
fn ports(tables: &Tables, writes: &mut Vec<Write>) {
    for table in PortTable::ALL {
        let all = 1 << 16;
        let start = table as usize * all;
        let classes: Vec<u16> = tables.ports[start..start + all].iter().map(|cell| cell.load(Relaxed)).collect();
        let mut first = 0;
        for range in classes.chunk_by(|left, right| left == right) {
            let last = first + range.len() - 1;
            if range[0] != 0 {
                writes.push(Write::Ports { table, first: first as u16, last: last as u16, class: range[0] });
            }
            first = last + 1;
        }
    }
}

fn addresses(tables: &Tables, writes: &mut Vec<Write>) -> Result<(), Error> {
    let failed = |map| move |error: MapError| Error::Map { map, source: kernel(error) };
    for (address, class) in tables.addresses4.iter() {
        writes.push(Write::Address { address: IpAddr::V4(address), class: Some(class) });
    }
    for entry in tables.addresses6.map.iter() {
        let (key, class) = entry.map_err(failed("ADDRESSES6"))?;
        writes.push(Write::Address { address: address(key, 6), class: Some(class) });
    }
    for entry in tables.prefixes4.iter() {
        let (key, class) = entry.map_err(failed("PREFIXES4"))?;
        prefix(IpAddr::V4(Ipv4Addr::from(u32::from_be(key.data()))), key.prefix_len(), class, writes);
    }
    for entry in tables.prefixes6.iter() {
        let (key, class) = entry.map_err(failed("PREFIXES6"))?;
        prefix(address(key.data(), 6), key.prefix_len(), class, writes);
    }
    Ok(())
}

fn prefix(network: IpAddr, length: u32, class: u32, writes: &mut Vec<Write>) {
    if let Ok(prefix) = IpNet::new(network, length as u8) {
        writes.push(Write::Prefix { prefix, class: Some(class) });
    }
}
