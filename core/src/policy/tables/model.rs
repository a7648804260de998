//! The tables as a value: takes writes, gives verdicts. The compiler's tests and the kernel's are held against it.
mod compare;

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use super::{
    BLOCK_ACCEPT, BLOCK_CLASSES, BLOCK_DENY, Block, Class, Direction, Limits, Local, MAX_CLASSES, PortClass, PortTable,
    ROW_ACCEPT, ROW_DENY, ROW_PORT_CLASSES, Row, RowBits, SLOT_DENY, Slot, Write,
};

/// What the maps of one node hold.
#[derive(Debug, Clone)]
pub struct Tables {
    limits: Limits,
    rows: Vec<RowBits>,
    blocks: Vec<[Row; 256]>,
    slots: Vec<[Block; SLOT_BLOCKS]>,
    /// How many slot cells lead to each block.
    references: Vec<u32>,
    addresses: HashMap<IpAddr, Class>,
    prefixes: HashMap<IpNet, Class>,
    ports: Vec<Vec<PortClass>>,
    workloads: [HashMap<Local, (Slot, Slot)>; 2],
    generation: u8,
    counts: Counts,
}

/// Blocks that one slot has room for.
pub const SLOT_BLOCKS: usize = (MAX_CLASSES / BLOCK_CLASSES) as usize;

/// How many writes of each kind tables have taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "each counts the writes of its name")]
pub struct Counts {
    pub rows: usize,
    pub blocks: usize,
    pub cells: usize,
    pub slot_blocks: usize,
    pub addresses: usize,
    pub prefixes: usize,
    pub ports: usize,
    pub workloads: usize,
    pub flips: usize,
}

impl Counts {
    /// Counts writes without making them.
    #[must_use]
    pub fn of<'w>(writes: impl IntoIterator<Item = &'w Write>) -> Self {
        let mut counts = Self::default();
        writes.into_iter().for_each(|write| counts.add(write));
        counts
    }

    fn add(&mut self, write: &Write) {
        *match write {
            Write::Row { .. } => &mut self.rows,
            Write::Block { .. } => &mut self.blocks,
            Write::Cell { .. } => &mut self.cells,
            Write::SlotBlock { .. } => &mut self.slot_blocks,
            Write::Address { .. } => &mut self.addresses,
            Write::Prefix { .. } => &mut self.prefixes,
            Write::Ports { .. } => &mut self.ports,
            Write::Workload { .. } => &mut self.workloads,
            Write::Flip { .. } => &mut self.flips,
        } += 1;
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> usize {
        let Self { rows, blocks, cells, slot_blocks, addresses, prefixes, ports, workloads, flips } = self;
        rows + blocks + cells + slot_blocks + addresses + prefixes + ports + workloads + flips
    }
}

/// A write that the tables cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWrite {
    /// The number is beyond the table's end.
    #[error("{what} {number} does not exist: this table holds {limit}")]
    Beyond {
        /// Which kind of number.
        what: &'static str,
        /// The number.
        number: u64,
        /// How many there are.
        limit: u64,
    },
    /// The number stands for a constant.
    #[error("{what} {number} is a constant and cannot be written")]
    Constant {
        /// Which kind of number.
        what: &'static str,
        /// The number.
        number: u32,
    },
    /// A block may be set whole only while no slot leads to it.
    #[error("block {0} is in use and cannot be set whole; set single cells or another block")]
    BlockInUse(Block),
    /// The table is full.
    #[error("no room for another {what}: this table holds {limit}")]
    Full {
        /// Which kind of entry.
        what: &'static str,
        /// How many it holds.
        limit: u32,
    },
    /// `/0` says what an address that nothing else matches is; it can be changed, not removed.
    #[error("the prefix {0} cannot be removed")]
    LastPrefix(IpNet),
}

impl Tables {
    /// Empty tables: every address leads to class 0, every workload to the slot that denies.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            rows: vec![[0; ROW_PORT_CLASSES / 64], [u64::MAX; ROW_PORT_CLASSES / 64]],
            blocks: vec![[ROW_DENY; 256], [ROW_ACCEPT; 256]],
            slots: vec![[BLOCK_DENY; SLOT_BLOCKS], [BLOCK_ACCEPT; SLOT_BLOCKS]],
            references: vec![0; 2],
            addresses: HashMap::new(),
            prefixes: HashMap::new(),
            ports: vec![vec![0; 1 << 16]; PortTable::ALL.len()],
            workloads: [HashMap::new(), HashMap::new()],
            generation: 0,
            counts: Counts::default(),
        }
    }

    /// Makes one write.
    ///
    /// # Errors
    /// [`BadWrite`] where the kernel's maps could not take it either; nothing has changed then.
    pub fn apply(&mut self, write: &Write) -> Result<(), BadWrite> {
        let limits = self.limits;
        match write {
            Write::Row { row, bits } => *entry(&mut self.rows, "row", *row, limits.rows, RowBits::default())? = **bits,
            Write::Block { block, rows } => {
                self.check_rows(rows.as_slice())?;
                if self.references.get(*block as usize).is_some_and(|count| *count > 0) {
                    return Err(BadWrite::BlockInUse(*block));
                }
                *entry(&mut self.blocks, "block", *block, limits.blocks, [ROW_DENY; 256])? = **rows;
            }
            Write::Cell { block, index, row } => {
                self.check_rows(&[*row])?;
                let cells = entry(&mut self.blocks, "block", *block, limits.blocks, [ROW_DENY; 256])?;
                cells[usize::from(*index)] = *row;
            }
            Write::SlotBlock { slot, index, block } => self.set_slot_block(*slot, usize::from(*index), *block)?,
            Write::Address { address, class } => self.set_address(*address, *class)?,
            Write::Prefix { prefix, class } => self.set_prefix(*prefix, *class)?,
            Write::Ports { table, first, last, class } => {
                within("port class", u64::from(*class), u64::from(limits.port_classes))?;
                self.ports[*table as usize][usize::from(*first)..=usize::from(*last)].fill(*class);
            }
            Write::Workload { local, generation, ingress, egress } => {
                within("workload", u64::from(*local), u64::from(limits.locals))?;
                within("generation", u64::from(*generation), 2)?;
                within("slot", u64::from(*ingress.max(egress)), u64::from(limits.slots))?;
                self.workloads[usize::from(*generation)].insert(*local, (*ingress, *egress));
            }
            Write::Flip { generation } => {
                within("generation", u64::from(*generation), 2)?;
                self.generation = *generation;
            }
        }
        self.counts.add(write);
        Ok(())
    }

    fn set_slot_block(&mut self, slot: Slot, index: usize, block: Block) -> Result<(), BadWrite> {
        within("block of a slot", index as u64, SLOT_BLOCKS as u64)?;
        within("block", u64::from(block), self.blocks.len() as u64)?;
        self.references.resize(self.blocks.len(), 0);
        let fresh = [BLOCK_DENY; SLOT_BLOCKS];
        let cell = &mut entry(&mut self.slots, "slot", slot, self.limits.slots, fresh)?[index];
        // A slot that has just come to exist counts as leading nowhere: the constants are never set whole anyway.
        if *cell > BLOCK_ACCEPT {
            self.references[*cell as usize] -= 1;
        }
        self.references[block as usize] += 1;
        *cell = block;
        Ok(())
    }

    fn set_address(&mut self, address: IpAddr, class: Option<Class>) -> Result<(), BadWrite> {
        let Some(class) = class else {
            self.addresses.remove(&address);
            return Ok(());
        };
        within("class", u64::from(class), u64::from(self.limits.classes))?;
        let limit = if address.is_ipv4() { self.limits.addresses4 } else { self.limits.addresses6 };
        let same_family = |known: &&IpAddr| known.is_ipv4() == address.is_ipv4();
        let room = || {
            self.addresses.len() < limit as usize || self.addresses.keys().filter(same_family).count() < limit as usize
        };
        if !self.addresses.contains_key(&address) && !room() {
            return Err(BadWrite::Full { what: "address", limit });
        }
        self.addresses.insert(address, class);
        Ok(())
    }

    fn set_prefix(&mut self, prefix: IpNet, class: Option<Class>) -> Result<(), BadWrite> {
        let Some(class) = class else {
            if prefix.prefix_len() == 0 {
                return Err(BadWrite::LastPrefix(prefix));
            }
            self.prefixes.remove(&prefix);
            return Ok(());
        };
        within("class", u64::from(class), u64::from(self.limits.classes))?;
        let is_v4 = |net: &IpNet| matches!(net, IpNet::V4(_));
        let same_family = self.prefixes.keys().filter(|net| is_v4(net) == is_v4(&prefix)).count();
        if !self.prefixes.contains_key(&prefix) && same_family >= self.limits.prefixes as usize {
            return Err(BadWrite::Full { what: "prefix", limit: self.limits.prefixes });
        }
        self.prefixes.insert(prefix, class);
        Ok(())
    }

    fn check_rows(&self, rows: &[Row]) -> Result<(), BadWrite> {
        rows.iter().try_for_each(|row| within("row", u64::from(*row), self.rows.len() as u64))
    }

    /// The class that an address leads to.
    #[must_use]
    pub fn class_of(&self, address: IpAddr) -> Class {
        if let Some(class) = self.addresses.get(&address) {
            return *class;
        }
        let covering = (0..=if address.is_ipv4() { 32 } else { 128 }).rev();
        covering
            .filter_map(|length| IpNet::new(address, length).ok())
            .find_map(|net| self.prefixes.get(&net.trunc()).copied())
            .unwrap_or(0)
    }

    /// The port class that a port leads to.
    #[must_use]
    pub fn port_class_of(&self, table: PortTable, port: u16) -> PortClass {
        self.ports[table as usize][usize::from(port)]
    }

    /// The verdict on a packet: whether `local` may send it to `peer` (egress) or receive it from there (ingress).
    /// `table` and `port` are those of the packet's destination.
    #[must_use]
    pub fn verdict(&self, local: Local, direction: Direction, peer: IpAddr, table: PortTable, port: u16) -> bool {
        let class = self.class_of(peer);
        if class == 0 {
            return false;
        }
        let words = self.workloads[usize::from(self.generation)].get(&local);
        let (ingress, egress) = words.copied().unwrap_or((SLOT_DENY, SLOT_DENY));
        let slot = match direction {
            Direction::Ingress => ingress,
            Direction::Egress => egress,
        };
        // A slot that nothing was ever written to leads to the block that denies.
        let block = self.slots.get(slot as usize).map_or(BLOCK_DENY, |slot| slot[(class / BLOCK_CLASSES) as usize]);
        let row = self.blocks[block as usize][(class % BLOCK_CLASSES) as usize];
        let bit = usize::from(self.port_class_of(table, port));
        self.rows[row as usize][bit / 64] >> (bit % 64) & 1 == 1
    }

    /// How many writes these tables have taken.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How many addresses have an entry.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// The generation in force.
    #[must_use]
    pub fn generation(&self) -> u8 {
        self.generation
    }
}

fn within(what: &'static str, number: u64, limit: u64) -> Result<(), BadWrite> {
    if number < limit { Ok(()) } else { Err(BadWrite::Beyond { what, number, limit }) }
}

/// The entry of this number, which must lie above the constants and below the limit; made as `fresh` if it is new.
fn entry<'t, T: Clone>(
    table: &'t mut Vec<T>,
    what: &'static str,
    number: u32,
    limit: u32,
    fresh: T,
) -> Result<&'t mut T, BadWrite> {
    // The constants of rows, blocks and slots are 0 and 1.
    if number <= 1 {
        return Err(BadWrite::Constant { what, number });
    }
    within(what, u64::from(number), u64::from(limit))?;
    if table.len() <= number as usize {
        table.resize(number as usize + 1, fresh);
    }
    Ok(&mut table[number as usize])
}
