//! Ethernet and IP headers.
use axle_ebpf_common::policy::{Address, Outcome};
use aya_ebpf::{EbpfContext as _, programs::TcContext};

use crate::verifier::{forget, opaque};

/// Length of an Ethernet header.
pub const ETHERNET: u32 = 14;
/// IP protocol numbers.
pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const ICMPV6: u8 = 58;
pub const SCTP: u8 = 132;

/// EtherTypes, as the packet has them.
pub const IPV4: u16 = 0x0800_u16.to_be();
pub const IPV6: u16 = 0x86dd_u16.to_be();
pub const ARP: u16 = 0x0806_u16.to_be();

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
/// Extension headers that are followed; a packet with more is malformed. RFC 8200 section 4.1 orders at most seven.
const MAX_EXTENSIONS: u32 = 7;

/// Where a header may start at most.
const FURTHEST: u32 = 1024;

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    First,
    Later,
}

/// What the IP headers say.
#[derive(Clone, Copy)]
pub struct Packet {
    pub source: Address,
    pub destination: Address,
    /// Where the transport header starts; of a later fragment, its payload.
    pub transport: u32,
    /// Identifies the fragments of one datagram.
    pub identification: u32,
    pub protocol: u8,
    pub family: u8,
    pub hop_limit: u8,
    pub part: Part,
}

impl Packet {
    /// Forgets what says which way the headers were read.
    #[inline(always)]
    fn forget(mut self) -> Option<Self> {
        let ways = (self.transport, self.protocol, self.family, self.hop_limit, self.part);
        (self.transport, self.protocol, self.family, self.hop_limit, self.part) = forget(ways)?;
        Some(self)
    }
}

/// Reads a value of the packet in network order, or nothing if the packet ends before.
///
/// Straight from the packet's memory where it lies there, which is nearly always; else the kernel gathers it.
#[inline(always)]
pub fn read<T: Copy>(context: &TcContext, offset: u32) -> Option<T> {
    // The verifier wants to see a bound.
    let offset = opaque(offset as usize);
    if offset > FURTHEST as usize + 64 {
        return None;
    }
    let start = context.data() + offset;
    if opaque(start + size_of::<T>()) <= context.data_end() {
        // SAFETY: in bounds, as just checked; the target loads unaligned.
        return Some(unsafe { *(start as *const T) });
    }
    context.load(offset).ok()
}

/// Reads the IP headers that start at `offset`.
#[inline(always)]
pub fn parse(context: &TcContext, ethertype: u16, offset: u32) -> Result<Packet, Outcome> {
    let packet = match ethertype {
        IPV4 => ipv4(context, offset),
        IPV6 => ipv6(context, offset),
        _ => return Err(Outcome::UnknownProtocol),
    };
    packet.and_then(Packet::forget).ok_or(Outcome::Malformed)
}

#[inline(always)]
fn ipv4(context: &TcContext, offset: u32) -> Option<Packet> {
    let header: [u32; 5] = read(context, offset)?;
    let first = u32::from_be(header[0]);
    let length = (first >> 22) & 0x3c;
    if first >> 28 != 4 || length < 20 {
        return None;
    }
    let second = u32::from_be(header[1]);
    let third = u32::from_be(header[2]);
    let fragment = second & 0x1fff;
    let protocol = (third >> 16) as u8;
    let part = match (fragment, second & 0x2000) {
        (0, 0) => Part::Whole,
        (0, _) => Part::First,
        // It would overwrite the flags of a TCP header already judged (RFC 3128).
        (1, _) if protocol == TCP => return None,
        _ => Part::Later,
    };
    Some(Packet {
        source: Address::mapped(header[3]),
        destination: Address::mapped(header[4]),
        transport: offset + length,
        identification: second >> 16,
        protocol,
        family: 4,
        hop_limit: (third >> 24) as u8,
        part,
    })
}

#[inline(always)]
fn ipv6(context: &TcContext, offset: u32) -> Option<Packet> {
    let header: [u64; 5] = read(context, offset)?;
    let first = u64::from_be(header[0]);
    if first >> 60 != 6 {
        return None;
    }
    let mut packet = Packet {
        source: Address { high: header[1], low: header[2] },
        destination: Address { high: header[3], low: header[4] },
        transport: offset + 40,
        identification: 0,
        protocol: (first >> 8) as u8,
        family: 6,
        hop_limit: first as u8,
        part: Part::Whole,
    };
    // They are IPv4 addresses to us, and no packet may have them (RFC 4291 section 2.5.5.2 means sockets).
    if packet.source.is_mapped() || packet.destination.is_mapped() {
        return None;
    }
    if is_extension(packet.protocol) {
        extensions(context, &mut packet)?;
    }
    Some(packet)
}

/// Steps over the extension headers.
#[inline(always)]
fn extensions(context: &TcContext, packet: &mut Packet) -> Option<()> {
    let mut at = Walk { offset: packet.transport, protocol: packet.protocol, part: Part::Whole, identification: 0 };
    for _ in 0..MAX_EXTENSIONS {
        at = forget(step(context, at)?)?;
        if at.part == Part::Later || !is_extension(at.protocol) {
            packet.transport = at.offset;
            packet.protocol = at.protocol;
            packet.identification = at.identification;
            packet.part = at.part;
            return Some(());
        }
    }
    None
}

/// How far the walk over the extension headers has come.
#[derive(Clone, Copy)]
struct Walk {
    offset: u32,
    identification: u32,
    protocol: u8,
    part: Part,
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS)
}

/// Steps over one extension header.
#[inline(always)]
fn step(context: &TcContext, mut at: Walk) -> Option<Walk> {
    let [next, length, third, fourth]: [u8; 4] = read(context, at.offset)?;
    let bytes = match at.protocol {
        FRAGMENT => {
            let offset = u32::from(third) << 8 | u32::from(fourth);
            at.identification = u32::from_be(read(context, at.offset + 4)?);
            at.part = match (offset >> 3, offset & 1) {
                (0, 0) => at.part,
                (0, _) => Part::First,
                (1, _) if next == TCP => return None,
                _ => Part::Later,
            };
            8
        }
        AUTHENTICATION => (u32::from(length) + 2) * 4,
        // Its destination is not where it is going yet (RFC 8200 section 4.4).
        ROUTING if fourth != 0 => return None,
        _ => (u32::from(length) + 1) * 8,
    };
    at.protocol = next;
    at.offset += bytes;
    // Beyond this nothing is read.
    if at.offset > FURTHEST { None } else { Some(at) }
}

/// Index of the interface at which the packet is.
#[inline(always)]
pub fn interface(context: &TcContext) -> u32 {
    // SAFETY: the context is the socket buffer for as long as the program runs.
    unsafe { (*context.as_ptr().cast::<aya_ebpf::bindings::__sk_buff>()).ifindex }
}
