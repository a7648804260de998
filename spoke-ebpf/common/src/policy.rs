//! Types of the packet path: `spoke-ebpf/src/policy` reads and writes them, the agent's `dataplane` is the other side.

mod outcome;

pub use outcome::Outcome;

/// An address as the bytes that a packet has, IPv4 in the mapped form `::ffff:a.b.c.d`; read as two words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Address {
    /// The first 8 bytes.
    pub high: u64,
    /// The last 8 bytes.
    pub low: u64,
}

impl Address {
    /// The mapped form of an IPv4 address, of which a packet has the bytes of `ipv4`.
    #[must_use]
    pub const fn mapped(ipv4: u32) -> Self {
        let [a, b, c, d] = ipv4.to_ne_bytes();
        Self { high: 0, low: u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d]) }
    }

    /// The bytes of the IPv4 address of which this is the mapped form.
    #[must_use]
    pub const fn ipv4(self) -> u32 {
        let [.., a, b, c, d] = self.low.to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }

    /// Whether it is the mapped form of an IPv4 address.
    #[must_use]
    pub const fn is_mapped(self) -> bool {
        // What is left of the low word without the IPv4 address.
        let upper = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        self.high == 0 && self.low & upper == Self::mapped(0).low
    }

    /// Whether it is `::`, which stands for none.
    #[must_use]
    pub const fn is_unspecified(self) -> bool {
        self.high | self.low == 0
    }

    /// Whether it is of IPv6's link-local addresses, `fe80::/10`.
    #[must_use]
    pub const fn is_link_local(self) -> bool {
        u64::from_be(self.high) >> 54 == 0xfe80 >> 6
    }

    /// Whether it is an IPv6 group, `ff00::/8`.
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        u64::from_be(self.high) >> 56 == 0xff
    }

    /// Whether it is an IPv6 group that ends with the link, `ffx2::/16` (RFC 4291 section 2.7).
    #[must_use]
    pub const fn is_link_multicast(self) -> bool {
        (u64::from_be(self.high) >> 48) & 0xff0f == 0xff02
    }
}

/// What reaches the workload. Also the index of a direction's slot and counter.
pub const INGRESS: u8 = 0;
/// What the workload sends.
pub const EGRESS: u8 = 1;

/// Rows of a bitmap, in words.
pub const ROW_WORDS: usize = 8;
/// Cells of a block, and of a block of the address table.
pub const BLOCK_CELLS: usize = 256;
/// Blocks of a slot.
pub const SLOT_BLOCKS: usize = 64;
/// Port tables: TCP, UDP, SCTP, ICMP, ICMPv6, other (in the order of `axle_core::policy::tables::PortTable`).
pub const PORT_TABLES: u32 = 6;
/// What the table of IPv4 addresses says of one that is denied outright (class 0), as 0 stands for no entry there. No slot
/// has a block for such a class.
pub const DENIED: u32 = u32::MAX;
/// Addresses that one workload may have.
pub const OWN_ADDRESSES: usize = 8;

/// The one cell of `CONTROL`: what the agent tells the programs of one map set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Control {
    /// The generation in force, 0 or 1. Read once per packet: its change is the instant at which a revision takes effect.
    pub generation: u32,
    /// Tracked flows that one workload may have.
    pub share: u32,
    /// Events of denied packets that one CPU may send in one window of [`EVENT_WINDOW_SHIFT`].
    pub denied_events: u32,
    /// The same for new flows.
    pub flow_events: u32,
}

/// A window of event rates lasts 2^27 ns, 134 ms.
pub const EVENT_WINDOW_SHIFT: u32 = 27;

/// How far one CPU has used its events of one kind. Cell 0: denied packets, cell 1: new flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Budget {
    /// Which window.
    pub window: u64,
    /// Events sent in it.
    pub used: u64,
    /// The last jiffy in which nothing was left; no more is asked in that one.
    pub spent: u64,
}

/// A workload's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Interface {
    /// Index of its host side; 0 in a cell that is nobody's.
    pub index: u32,
    /// The workload's number in the tables.
    pub local: u32,
    /// Its cell of `SEEN`.
    pub seen: u32,
    /// Zero.
    pub padding: u32,
    /// The addresses it may send from; the unspecified address means none.
    pub own: [Address; OWN_ADDRESSES],
}

/// A local workload of one map set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Workload {
    /// `slots[generation][direction]`.
    pub slots: [[u32; 2]; 2],
    /// Flows that it has in the table of tracked flows. Programs count up; garbage collection sets it.
    pub flows: u64,
}

/// A tracked flow as its workload sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// The workload's address.
    pub own: Address,
    /// The other end's address.
    pub peer: Address,
    /// Index of the workload's interface, which outlives an agent.
    pub interface: u32,
    /// The workload's port, host order. ICMP: the query's identifier at the end that asks, 0 at the other.
    pub own_port: u16,
    /// The other end's.
    pub peer_port: u16,
    /// IP protocol number.
    pub protocol: u32,
    /// 4 or 6.
    pub family: u32,
}

/// The key of a flow over IPv4, in half the room. In words: the kernel reads it so, and what was written by halves just
/// before would have to wait for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey4 {
    /// The bytes of the workload's address, then those of the other end's.
    pub addresses: u64,
    /// Index of the workload's interface, its port, and the other end's.
    pub ports: u64,
    /// IP protocol number.
    pub protocol: u64,
}

impl FlowKey4 {
    /// Index of the workload's interface.
    #[must_use]
    pub const fn interface(&self) -> u32 {
        self.ports as u32
    }
}

impl From<&FlowKey> for FlowKey4 {
    #[inline(always)]
    fn from(key: &FlowKey) -> Self {
        Self {
            addresses: key.own.low >> 32 | key.peer.low >> 32 << 32,
            ports: u64::from(key.interface) | u64::from(key.own_port) << 32 | u64::from(key.peer_port) << 48,
            protocol: u64::from(key.protocol),
        }
    }
}

/// What is known of a tracked flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// When the last packet was seen (monotonic, ns), to a [`Self::tick`].
    pub seen: u64,
    /// In which tick of the programs' coarse clock that was. A tick lasts 256 of the kernel's jiffies: from a quarter of a
    /// second to three, a second as most kernels are built.
    pub tick: u32,
    /// Bit [`INGRESS`] or [`EGRESS`]: in which direction it began. Both, if it was adopted and that cannot be known:
    /// then the policy of either direction can cut it.
    pub origins: u16,
    /// `Flow::REPLIED` and so on.
    pub flags: u16,
}

impl Flow {
    /// A packet against the direction in which it began was seen.
    pub const REPLIED: u16 = 1;
    /// After that, one with the direction was seen.
    pub const CONFIRMED: u16 = 2;
    /// TCP: FIN with the direction.
    pub const FIN_FORWARD: u16 = 4;
    /// TCP: FIN against it.
    pub const FIN_REPLY: u16 = 8;
    /// TCP: the last packet was a RST.
    pub const RESET: u16 = 16;
}

/// Identifies the fragments of one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct FragmentKey {
    /// Source of the packet.
    pub source: Address,
    /// Destination of the packet.
    pub destination: Address,
    /// Index of the workload's interface.
    pub interface: u32,
    /// The datagram's identification.
    pub identification: u32,
    /// IP protocol number.
    pub protocol: u32,
    /// [`INGRESS`] or [`EGRESS`].
    pub direction: u32,
}

/// What identifies a flow at the head of a transport header. Later fragments lack it and use that of their first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Head {
    /// Source port; ICMP: type times 256 plus code. Host order.
    pub first: u16,
    /// Destination port; ICMP: identifier. Host order.
    pub second: u16,
}

/// Packets and bytes, per CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, with the Ethernet header.
    pub bytes: u64,
}

/// What one interface's hooks have seen, per CPU and by direction: the proof that they see packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Seen {
    /// Packets seen.
    pub packets: [u64; 2],
    /// Of these, denied.
    pub denied: [u64; 2],
    /// Index of the interface, on every CPU; 0 while the cell is nobody's. So the next agent finds it again.
    pub interface: u64,
}

/// A verdict, as the ring buffer carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// When (monotonic, ns, to a tick).
    pub time: u64,
    /// The workload's address.
    pub own: Address,
    /// The other end's address.
    pub peer: Address,
    /// Index of the workload's interface.
    pub interface: u32,
    /// The workload's number at the time.
    pub local: u32,
    /// Class of the peer's address, or [`DENIED`]; 0 if the tables were not asked.
    pub class: u32,
    /// Slot that was asked.
    pub slot: u32,
    /// Length of the packet in bytes.
    pub length: u32,
    /// The workload's port; ICMP: the identifier of a query that it sent.
    pub own_port: u16,
    /// The other end's port.
    pub peer_port: u16,
    /// Number in the port table that was asked for.
    pub number: u16,
    /// Port class that it led to.
    pub port_class: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`INGRESS`] or [`EGRESS`]: of the packet.
    pub direction: u8,
    /// An [`Outcome`].
    pub outcome: u8,
    /// 4 or 6.
    pub family: u8,
    /// [`INGRESS`] or [`EGRESS`]: which direction's policy decided.
    pub decided: u8,
    /// 1 if a denied packet passed because of a bypass.
    pub bypassed: u8,
    /// Which port table was asked.
    pub table: u8,
    /// Zero.
    pub padding: u8,
    /// The generation that was in force.
    pub generation: u32,
}

const _: () = {
    assert!(size_of::<Control>() == 16);
    assert!(size_of::<Interface>() == 144);
    assert!(size_of::<Workload>() == 24);
    assert!(size_of::<FlowKey>() == 48);
    assert!(size_of::<FlowKey4>() == 24);
    assert!(size_of::<Flow>() == 16);
    assert!(size_of::<FragmentKey>() == 48);
    assert!(size_of::<Event>() == 80);
};

#[cfg(feature = "user")]
mod pod {
    use super::{
        Address, Budget, Control, Counter, Event, Flow, FlowKey, FlowKey4, FragmentKey, Head, Interface, Seen, Workload,
    };

    macro_rules! pod {
        ($($of:ty),*) => { $(
            // SAFETY: `repr(C)` of integers without implicit padding: every bit pattern is a value.
            unsafe impl aya::Pod for $of {}
        )* };
    }
    pod!(
        Address,
        Budget,
        Control,
        Counter,
        Event,
        Flow,
        FlowKey,
        FlowKey4,
        FragmentKey,
        Head,
        Interface,
        Seen,
        Workload
    );
}
