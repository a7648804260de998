//! Packets as bytes, from the Ethernet header on.
use std::net::IpAddr;

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const GRE: u8 = 47;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SCTP: u8 = 132;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

/// An IP packet in an Ethernet frame.
pub(super) fn packet(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    frame(from, &ip(from, to, protocol, payload))
}

/// A TCP packet.
pub(super) fn tcp(from: IpAddr, source: u16, to: IpAddr, destination: u16, flags: u8) -> Vec<u8> {
    packet(from, to, TCP, &tcp_header(source, destination, flags))
}

/// A UDP packet.
pub(super) fn udp(from: IpAddr, source: u16, to: IpAddr, destination: u16) -> Vec<u8> {
    packet(from, to, UDP, &ports(source, destination))
}

/// An ICMP query (`true`) or its answer, of the addresses' family.
pub(super) fn ping(from: IpAddr, to: IpAddr, asks: bool, identifier: u16) -> Vec<u8> {
    let (protocol, kind) = match (from.is_ipv4(), asks) {
        (true, true) => (ICMP, 8),
        (true, false) => (ICMP, 0),
        (false, true) => (ICMPV6, 128),
        (false, false) => (ICMPV6, 129),
    };
    packet(from, to, protocol, &icmp(kind, 0, identifier, &[]))
}

/// An Ethernet frame around an IP packet of the address's family.
pub(super) fn frame(address: IpAddr, ip: &[u8]) -> Vec<u8> {
    ethernet(if address.is_ipv4() { 0x0800 } else { 0x86dd }, ip)
}

/// An Ethernet frame.
pub(super) fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[2; 12], &ethertype.to_be_bytes()[..], payload].concat()
}

/// An IP packet without options.
pub(super) fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(_), _) => ipv4(from, to, protocol, 0, &[], payload),
        _ => ipv6(from, to, protocol, payload),
    }
}

/// An IPv4 packet with a fragment word and options.
pub(super) fn ipv4(from: IpAddr, to: IpAddr, protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let first = 0x45 + (options.len() / 4) as u8;
    let length = ((20 + options.len() + payload.len()) as u16).to_be_bytes();
    let fragment = fragment.to_be_bytes();
    let header = [first, 0, length[0], length[1], 0x12, 0x34, fragment[0], fragment[1], 64, protocol, 0, 0];
    [&header, &octets(from)[..], &octets(to), options, payload].concat()
}

/// An IPv6 packet; `next` may be an extension header that `payload` starts with. Its hop limit is 255.
pub(super) fn ipv6(from: IpAddr, to: IpAddr, next: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    [&[0x60, 0, 0, 0, length[0], length[1], next, 255], &octets(from)[..], &octets(to), payload].concat()
}

/// An IPv6 fragment header, with the offset in units of 8 bytes.
pub(super) fn fragment6(next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    let word = (offset << 3 | u16::from(more)).to_be_bytes();
    [&[next, 0, word[0], word[1], 0, 0, 0x12, 0x34], payload].concat()
}

/// A TCP header.
pub(super) fn tcp_header(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let mut header = ports(source, destination);
    header.extend([0; 12]);
    (header[12], header[13]) = (5 << 4, flags);
    header
}

/// The ports and 4 bytes more: the least of a transport header that an ICMP error carries.
pub(super) fn ports(source: u16, destination: u16) -> Vec<u8> {
    [&source.to_be_bytes()[..], &destination.to_be_bytes(), &[0, 8, 0, 0]].concat()
}

/// An ICMP message.
pub(super) fn icmp(kind: u8, code: u8, identifier: u16, data: &[u8]) -> Vec<u8> {
    [&[kind, code, 0, 0], &identifier.to_be_bytes()[..], &[0, 1], data].concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
