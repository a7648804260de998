//! Verdicts as they happen.
use std::{
    net::IpAddr,
    os::fd::{AsRawFd, RawFd},
    path::Path,
};

use axle_core::policy::tables::{Class, Direction, Local, PortClass, PortTable, Slot};
use axle_ebpf_common::policy::{EGRESS, Event as Raw, Outcome};
use aya::maps::{Map, MapData, RingBuf};

use super::{Error, addresses::known, load, pins, tables::address};

/// A packet that was denied, or the first of a flow that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, in ns of the monotonic clock.
    pub time: u64,
    /// What became of the packet.
    pub outcome: Outcome,
    /// Which way it went, seen from the workload.
    pub direction: Direction,
    /// Which direction's policy decided: of a reply, that in which its flow began.
    pub decided: Direction,
    /// The workload's number at the time. Numbers change when tables are replaced.
    pub local: Local,
    /// Index of its interface.
    pub interface: u32,
    /// The workload's address.
    pub own: IpAddr,
    /// The other end's address.
    pub peer: IpAddr,
    /// The workload's port; of an ICMP query, its identifier.
    pub own_port: u16,
    /// The other end's.
    pub peer_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Class of the peer; 0 also if the tables were not asked.
    pub class: Class,
    /// Which port table was asked.
    pub table: PortTable,
    /// For which number.
    pub number: u16,
    /// The port class that it led to.
    pub port_class: PortClass,
    /// Slot that was asked.
    pub slot: Slot,
    /// Length of the packet in bytes, with the Ethernet header.
    pub length: u32,
    /// Whether it passed although it was denied.
    pub bypassed: bool,
}

impl Event {
    fn from_raw(raw: &Raw) -> Option<Self> {
        let direction = |raw| if raw == EGRESS { Direction::Egress } else { Direction::Ingress };
        Some(Self {
            time: raw.time,
            outcome: Outcome::from_number(raw.outcome)?,
            direction: direction(raw.direction),
            decided: direction(raw.decided),
            local: raw.local,
            interface: raw.interface,
            own: address(raw.own, raw.family),
            peer: address(raw.peer, raw.family),
            own_port: raw.own_port,
            peer_port: raw.peer_port,
            protocol: raw.protocol,
            class: known(raw.class),
            table: PortTable::ALL.into_iter().find(|table| *table as u8 == raw.table)?,
            number: raw.number,
            port_class: raw.port_class,
            slot: raw.slot,
            length: raw.length,
            bypassed: raw.bypassed != 0,
        })
    }
}

/// Reads events. One reader at a time; it goes on over a replacement of the tables.
pub struct Events {
    ring: RingBuf<MapData>,
}

impl Events {
    pub(super) fn open(pins: &Path) -> Result<Self, Error> {
        let map = load::pinned(&pins::map(pins, "EVENTS"), "EVENTS")?;
        let ring = RingBuf::try_from(Map::RingBuf(map));
        let ring = ring.map_err(|error| Error::Map { map: "EVENTS", source: std::io::Error::other(error) })?;
        Ok(Self { ring })
    }

    /// The next event that is there; `None` when there is none at present. Poll the descriptor to wait for one.
    #[expect(clippy::should_implement_trait, reason = "it is not over when there is none at present")]
    pub fn next(&mut self) -> Option<Event> {
        loop {
            let item = self.ring.next()?;
            if item.len() == size_of::<Raw>() {
                // SAFETY: it is that long, and every bit pattern is a value of this type.
                let raw = unsafe { item.as_ptr().cast::<Raw>().read_unaligned() };
                if let Some(event) = Event::from_raw(&raw) {
                    return Some(event);
                }
            }
        }
    }
}

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
