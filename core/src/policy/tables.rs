//! The tables of the packet path, as numbers: what the compiler writes, the kernel reads and the tests compare.
//!
//! A packet's peer address leads to a class, its protocol and port to a port class; the local workload leads to a slot
//! for the direction; (slot, class) leads to a row, and the row's bit for the port class is the verdict.
//!
//! ```text
//! peer address -> Address, else longest Prefix -> class ─┐
//! workload, GENERATION -> slot ──────────────────────────┴-> slot[class >> 8] -> block[class & 255] -> row ─┐
//! protocol, port -> port class ─────────────────────────────────────────────────────────────────────────────┴-> bit
//! ```
mod model;

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

use crate::model::Protocol;
pub use model::{BadWrite, Counts, SLOT_BLOCKS, Tables};

/// Number of an equivalence class of addresses. 0 is never given out: an address that leads to it is denied.
pub type Class = u32;
/// Number of an equivalence class of (protocol, port).
pub type PortClass = u16;
/// Number of a row: the verdicts of one (slot, class) by port class.
pub type Row = u32;
/// Number of a block of 256 (class -> row) cells. Blocks are shared by slots that agree on them.
pub type Block = u32;
/// Number of a slot: one direction of the policy of the workloads that it applies to.
pub type Slot = u32;
/// Number of a workload of this node.
pub type Local = u32;

/// The row that denies everything.
pub const ROW_DENY: Row = 0;
/// The row that accepts everything, whatever port classes come to exist.
pub const ROW_ACCEPT: Row = 1;
/// The block whose every cell is [`ROW_DENY`]: what a new slot holds everywhere.
pub const BLOCK_DENY: Block = 0;
/// The block whose every cell is [`ROW_ACCEPT`].
pub const BLOCK_ACCEPT: Block = 1;
/// The slot that denies everything.
pub const SLOT_DENY: Slot = 0;
/// The slot that accepts everything: a direction without policy.
pub const SLOT_ACCEPT: Slot = 1;
/// Classes that one block covers.
pub const BLOCK_CLASSES: u32 = 256;
/// Port classes that one row covers.
pub const ROW_PORT_CLASSES: usize = 512;
/// The most classes a slot can tell apart: 64 blocks.
pub const MAX_CLASSES: u32 = 64 * BLOCK_CLASSES;

/// Bit `n` says whether port class `n` is accepted.
pub type RowBits = [u64; ROW_PORT_CLASSES / 64];

/// The port tables, one number space of 65,536 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PortTable {
    /// Destination port of TCP.
    Tcp = 0,
    /// Destination port of UDP.
    Udp = 1,
    /// Destination port of SCTP.
    Sctp = 2,
    /// ICMP type times 256 plus code.
    Icmp = 3,
    /// ICMPv6 type times 256 plus code.
    Icmpv6 = 4,
    /// Any other protocol, by its number.
    Other = 5,
}

impl PortTable {
    /// Every table, in the order of their numbers.
    pub const ALL: [Self; 6] = [Self::Tcp, Self::Udp, Self::Sctp, Self::Icmp, Self::Icmpv6, Self::Other];
}

impl From<Protocol> for PortTable {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
            Protocol::Sctp => Self::Sctp,
            Protocol::Icmp => Self::Icmp,
            Protocol::Icmpv6 => Self::Icmpv6,
        }
    }
}

/// The two sides of a workload, as the workload sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// What reaches it.
    Ingress,
    /// What it sends.
    Egress,
}

impl Direction {
    /// `ingress` or `egress`, as documents have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One write to one table. The data plane carries them out one for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a row whole.
    Row {
        /// Which; at least 2.
        row: Row,
        /// Its verdicts.
        bits: Box<RowBits>,
    },
    /// Sets every cell of a block that nothing refers to yet.
    Block {
        /// Which; at least 2.
        block: Block,
        /// The row of each class of the block.
        rows: Box<[Row; 256]>,
    },
    /// Sets one cell of a block.
    Cell {
        /// Which block.
        block: Block,
        /// Class modulo 256.
        index: u8,
        /// The row.
        row: Row,
    },
    /// Sets which block a slot uses for 256 of its classes.
    SlotBlock {
        /// Which slot; at least 2.
        slot: Slot,
        /// Class divided by 256.
        index: u8,
        /// The block.
        block: Block,
    },
    /// Sets the class of one address, or removes the address (its prefix decides then).
    Address {
        /// Which.
        address: IpAddr,
        /// Its class.
        class: Option<Class>,
    },
    /// Sets the class of the addresses of a prefix that have no entry and no longer prefix. `/0` of both families are
    /// always there.
    Prefix {
        /// Which.
        prefix: IpNet,
        /// Their class.
        class: Option<Class>,
    },
    /// Sets the port class of a range of ports.
    Ports {
        /// Which table.
        table: PortTable,
        /// First port.
        first: u16,
        /// Last port, included.
        last: u16,
        /// Their class.
        class: PortClass,
    },
    /// Sets the slots of a workload for one generation.
    Workload {
        /// Which.
        local: Local,
        /// 0 or 1.
        generation: u8,
        /// Slot for what reaches it.
        ingress: Slot,
        /// Slot for what it sends.
        egress: Slot,
    },
    /// Makes a generation the one in force: the instant at which a revision takes effect.
    Flip {
        /// 0 or 1.
        generation: u8,
    },
}

/// How a change reaches the tables: every write but the flip leaves all verdicts of live traffic as they are, or moves
/// one address to the verdicts it shall have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Up to and including the flip, in order.
    pub writes: Vec<Write>,
    /// After the flip, once no packet that read the old generation is under way; numbers that this frees may be used
    /// again from the next plan on.
    pub settle: Vec<Write>,
}

/// How much the tables hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limits {
    /// Classes, at most [`MAX_CLASSES`].
    pub classes: u32,
    /// Port classes, at most [`ROW_PORT_CLASSES`].
    pub port_classes: u16,
    /// Rows.
    pub rows: u32,
    /// Blocks.
    pub blocks: u32,
    /// Slots.
    pub slots: u32,
    /// Workloads of this node.
    pub locals: u32,
    /// IPv4 addresses with an entry.
    pub addresses4: u32,
    /// IPv6 addresses with an entry.
    pub addresses6: u32,
    /// Prefixes, per family.
    pub prefixes: u32,
}

impl Limits {
    /// Nothing of anything.
    pub const NONE: Self = Self {
        classes: 0,
        port_classes: 0,
        rows: 0,
        blocks: 0,
        slots: 0,
        locals: 0,
        addresses4: 0,
        addresses6: 0,
        prefixes: 0,
    };

    /// Each table by the name that nodes report it under.
    #[must_use]
    pub fn tables(&self) -> [(&'static str, u32); 9] {
        [
            ("classes", self.classes),
            ("port_classes", self.port_classes.into()),
            ("rows", self.rows),
            ("blocks", self.blocks),
            ("slots", self.slots),
            ("workloads", self.locals),
            ("addresses4", self.addresses4),
            ("addresses6", self.addresses6),
            ("prefixes", self.prefixes),
        ]
    }

    /// Sets a table by that name; one that is not known is left alone.
    pub fn set(&mut self, table: &str, holds: u32) {
        match table {
            "classes" => self.classes = holds,
            "port_classes" => self.port_classes = u16::try_from(holds).unwrap_or(u16::MAX),
            "rows" => self.rows = holds,
            "blocks" => self.blocks = holds,
            "slots" => self.slots = holds,
            "workloads" => self.locals = holds,
            "addresses4" => self.addresses4 = holds,
            "addresses6" => self.addresses6 = holds,
            "prefixes" => self.prefixes = holds,
            _ => {}
        }
    }
}

impl Default for Limits {
    /// What a node holds that was told nothing else.
    fn default() -> Self {
        Self {
            classes: MAX_CLASSES,
            port_classes: ROW_PORT_CLASSES as u16,
            rows: 65_536,
            blocks: 16_384,
            slots: 4_096,
            locals: 1_024,
            addresses4: 1 << 20,
            addresses6: 131_072,
            prefixes: 16_384,
        }
    }
}
