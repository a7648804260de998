//! Transport headers: what identifies a flow, and which number of which port table its policy is asked for.
use axle_ebpf_common::policy::{Address, EGRESS, Head, INGRESS, Interface};
use aya_ebpf::programs::TcContext;

use crate::{
    packet::{ICMP, ICMPV6, Packet, SCTP, TCP, UDP, read},
    verifier::forget,
};

/// Index of the port table of protocols without ports.
const OTHER: u32 = 5;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A packet's place in its flow.
#[derive(Clone, Copy)]
pub struct Transport {
    /// Of the workload; see `FlowKey`.
    pub own_port: u16,
    /// Of the other end.
    pub peer_port: u16,
    /// Which port table.
    pub table: u32,
    /// The number in it, by the direction in which the flow began.
    pub numbers: [u16; 2],
    pub kind: Kind,
    pub fin: bool,
    pub reset: bool,
}

impl Transport {
    /// Forgets what says which way the header was read.
    #[inline(always)]
    pub fn forget(mut self) -> Option<Self> {
        let ways = (self.table, self.kind, self.fin, self.reset);
        (self.table, self.kind, self.fin, self.reset) = forget(ways)?;
        Some(self)
    }
}

/// What a packet may do to the table of flows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Begins a flow, whatever went before: TCP SYN, ICMP query.
    Opens,
    /// Begins one if none is known: UDP, SCTP, protocols without ports.
    MayOpen,
    /// Belongs to one that was begun: TCP without SYN.
    Continues,
    /// Answers a query, if one is known: ICMP replies.
    Answers,
    /// Has no flow: other ICMP messages.
    Single,
}

/// Reads what identifies the flow, from the packet's transport header.
#[inline(always)]
pub fn head(context: &TcContext, packet: &Packet) -> Option<Head> {
    match packet.protocol {
        TCP | UDP | SCTP => {
            let ports = u32::from_be(read(context, packet.transport)?);
            Some(Head { first: (ports >> 16) as u16, second: ports as u16 })
        }
        ICMP | ICMPV6 => {
            let first = u16::from_be(read(context, packet.transport)?);
            let identifier = if query(packet.protocol, (first >> 8) as u8).is_some() {
                u16::from_be(read(context, packet.transport + 4)?)
            } else {
                0
            };
            Some(Head { first, second: identifier })
        }
        protocol => Some(Head { first: u16::from(protocol), second: 0 }),
    }
}

/// Works out the packet's place in its flow. `direction` is the packet's.
#[inline(always)]
pub fn transport(protocol: u8, head: Head, direction: u8) -> Transport {
    let (own_port, peer_port) = if direction == EGRESS { (head.first, head.second) } else { (head.second, head.first) };
    let ports = |table, kind| Transport {
        own_port,
        peer_port,
        table,
        numbers: [own_port, peer_port],
        kind,
        fin: false,
        reset: false,
    };
    match protocol {
        TCP => ports(0, Kind::Continues),
        UDP => ports(1, Kind::MayOpen),
        SCTP => ports(2, Kind::MayOpen),
        ICMP => icmp(3, protocol, head, direction),
        ICMPV6 => icmp(4, protocol, head, direction),
        _ => Transport {
            own_port: 0,
            peer_port: 0,
            table: OTHER,
            numbers: [head.first, head.first],
            kind: Kind::MayOpen,
            fin: false,
            reset: false,
        },
    }
}

/// Adds what TCP's flags say.
#[inline(always)]
pub fn tcp_flags(context: &TcContext, packet: &Packet, transport: &mut Transport) -> Option<()> {
    let flags: u8 = read(context, packet.transport + 13)?;
    if flags & (SYN | ACK | RST | FIN) == SYN {
        transport.kind = Kind::Opens;
    }
    transport.fin = flags & FIN != 0;
    transport.reset = flags & RST != 0;
    Some(())
}

#[inline(always)]
fn icmp(table: u32, protocol: u8, head: Head, direction: u8) -> Transport {
    let mut result = Transport {
        own_port: 0,
        peer_port: 0,
        table,
        numbers: [head.first, head.first],
        kind: Kind::Single,
        fin: false,
        reset: false,
    };
    let Some(query) = query(protocol, (head.first >> 8) as u8) else { return result };
    let asks = query == (head.first >> 8) as u8;
    // The identifier stands at the end that asks.
    if asks == (direction == EGRESS) {
        result.own_port = head.second;
    } else {
        result.peer_port = head.second;
    }
    if asks {
        result.kind = Kind::Opens;
    } else {
        result.kind = Kind::Answers;
        // As a reply it is judged by what it answers.
        let against = if direction == EGRESS { INGRESS } else { EGRESS };
        result.numbers[(against & 1) as usize] = u16::from(query) << 8;
    }
    result
}

/// For a query or its answer, the type of the query: echo and timestamp (RFC 792), echo (RFC 4443).
#[inline(always)]
fn query(protocol: u8, kind: u8) -> Option<u8> {
    match (protocol, kind) {
        (ICMP, 8 | 0) => Some(8),
        (ICMP, 13 | 14) => Some(13),
        (ICMPV6, 128 | 129) => Some(128),
        _ => None,
    }
}

/// Whether an ICMP type is an error about another packet, which it carries.
#[inline(always)]
pub fn is_error(protocol: u8, kind: u8) -> bool {
    match protocol {
        ICMP => matches!(kind, 3 | 11 | 12),
        ICMPV6 => matches!(kind, 1..=4),
        _ => false,
    }
}

/// Whether an ICMPv6 packet is the link's own, which nobody judges: it came from the link itself, and what a workload
/// sends of it goes no further. A workload is no router: it may not ask for listeners, announce or redirect.
///
/// Multicast listeners (RFC 3810 section 5): hop limit 1, to a group, from a link-local address or, before there is one,
/// from none. Neighbour and router discovery (RFC 4861): hop limit 255, so it was not routed.
#[inline(always)]
pub fn is_link(packet: &Packet, kind: u8, direction: u8, interface: &Interface) -> bool {
    let Packet { source, destination, hop_limit, .. } = packet;
    let inward = direction == INGRESS;
    let nearby = source.is_link_local() || source.is_unspecified();
    match kind {
        130 => *hop_limit == 1 && nearby && destination.is_multicast() && inward,
        131 | 132 | 143 => *hop_limit == 1 && nearby && destination.is_multicast(),
        133 | 135 | 136 => {
            let honest = nearby || interface.own.contains(source);
            *hop_limit == 255 && (inward || honest && is_neighbour(destination, interface))
        }
        134 | 137 => *hop_limit == 255 && inward,
        _ => false,
    }
}

/// Whether what a workload sends there may stay on its link: an address or a group of the link's, or in the /64 of an
/// address of its own.
#[inline(always)]
fn is_neighbour(address: &Address, interface: &Interface) -> bool {
    // Where the upper half is zero, it is an IPv4 address of the workload's, or none.
    let same = || address.high != 0 && interface.own.iter().any(|own| own.high == address.high);
    address.is_link_local() || address.is_link_multicast() || same()
}
