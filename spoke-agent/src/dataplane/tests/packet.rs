//! Packets as bytes, from the Ethernet header on.
use std::net::IpAddr;

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SCTP: u8 = 132;

pub(super) const SYN: u8 = 2;
pub(super) const ACK: u8 = 16;
pub(super) const FIN: u8 = 1;
pub(super) const RST: u8 = 4;

/// An IP packet in an Ethernet frame.
pub(super) fn packet(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    frame(from, &ip(from, to, protocol, payload))
}

/// An Ethernet frame around an IP packet of the address's family.
pub(super) fn frame(address: IpAddr, ip: &[u8]) -> Vec<u8> {
    let ethertype: u16 = if address.is_ipv4() { 0x0800 } else { 0x86dd };
    [&[2; 12], &ethertype.to_be_bytes()[..], ip].concat()
}

/// An IP packet without options.
pub(super) fn ip(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from.octets(), to.octets(), protocol, 0, &[], payload),
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = (payload.len() as u16).to_be_bytes();
            [&[0x60, 0, 0, 0, length[0], length[1], protocol, 255], &from.octets()[..], &to.octets(), payload].concat()
        }
        _ => panic!("{from} and {to} are of two families"),
    }
}

/// An IPv4 packet with a fragment word and options.
pub(super) fn ipv4(from: [u8; 4], to: [u8; 4], protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let first = 0x45 + (options.len() / 4) as u8;
    let length = ((20 + options.len() + payload.len()) as u16).to_be_bytes();
    let fragment = fragment.to_be_bytes();
    let header = [first, 0, length[0], length[1], 0x12, 0x34, fragment[0], fragment[1], 64, protocol, 0, 0];
    [&header, &from[..], &to, options, payload].concat()
}

/// A TCP header.
pub(super) fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut header = [ports(from, to), vec![0; 16]].concat();
    (header[12], header[13]) = (5 << 4, flags);
    header
}

/// A UDP header and a little data.
pub(super) fn udp(from: u16, to: u16) -> Vec<u8> {
    [ports(from, to), vec![0, 12, 0, 0, 1, 2, 3, 4]].concat()
}

/// An ICMP message.
pub(super) fn icmp(kind: u8, code: u8, identifier: u16) -> Vec<u8> {
    [&[kind, code, 0, 0], &identifier.to_be_bytes()[..], &[0; 10]].concat()
}

fn ports(from: u16, to: u16) -> Vec<u8> {
    [from.to_be_bytes(), to.to_be_bytes()].concat()
}
