//! Fragments: the first one's ports hold for the later ones.
use axle_ebpf_common::policy::{FragmentKey, Head};

use crate::{maps::FRAGMENTS, packet::Packet};

#[inline(always)]
fn key(packet: &Packet, interface: u32, direction: u8) -> FragmentKey {
    FragmentKey {
        source: packet.source,
        destination: packet.destination,
        interface,
        identification: packet.identification,
        protocol: u32::from(packet.protocol),
        direction: u32::from(direction),
    }
}

/// Notes what a first fragment said.
#[inline(always)]
pub fn remember(packet: &Packet, interface: u32, direction: u8, head: Head) {
    // Least recently used datagrams make room; if that fails, the later fragments are judged strictly.
    let _ = FRAGMENTS.insert(&key(packet, interface, direction), &head, 0);
}

/// What the first fragment of this one's datagram said.
#[inline(always)]
pub fn recall(packet: &Packet, interface: u32, direction: u8) -> Option<Head> {
    // SAFETY: the value is one word, copied at once.
    unsafe { FRAGMENTS.get(&key(packet, interface, direction)) }.copied()
}
