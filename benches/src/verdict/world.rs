//! The world that packets are judged in: 131,072 endpoints of 5,000 classes, and one workload that accepts all of them
//! on one port.
use std::{net::IpAddr, time::Duration};

use anyhow::ensure;
use axle_agent::dataplane::{Attachment, DataPlane, Settings};
use axle_core::policy::tables::{Direction, Plan, PortTable, Write};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::Judge;

/// How many endpoints there are, one after the other from [`FIRST`].
pub(super) const ENDPOINTS: u32 = 131_072;
/// The first endpoint's address, 10.0.0.0.
pub(super) const FIRST: u32 = 0x0a00_0000;
/// The workload's address.
pub(super) const OWN: [u8; 4] = [10, 2, 0, 9];
/// How many flows are tracked at most.
pub(super) const FLOWS: u32 = 262_144;
/// The port that the workload accepts, and one that it does not.
pub(super) const ACCEPTED: u16 = 80;
pub(super) const DENIED: u16 = 81;
/// The workload's number, and the slot of its ingress.
pub(super) const LOCAL: u32 = 1;
pub(super) const SLOT: u32 = 2;

const CLASSES: u32 = 5_000;

/// The class of an endpoint.
pub(super) fn class(endpoint: u32) -> u32 {
    2 + endpoint % CLASSES
}

/// A TCP packet of an endpoint for the workload; `begins` its connection or belongs to it.
pub(super) fn packet(endpoint: u32, port: u16, begins: bool) -> Vec<u8> {
    let mut packet = vec![2; 12];
    packet.extend([0x08, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    packet.extend((FIRST + endpoint).to_be_bytes());
    packet.extend(OWN);
    packet.extend([40_000_u16.to_be_bytes(), port.to_be_bytes()].as_flattened());
    packet.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, if begins { 2 } else { 16 }, 0, 0, 0, 0, 0, 0]);
    packet
}

/// Namespaces and a BPF file system that go with this thread.
pub(super) struct World {
    pins: tempfile::TempDir,
}

impl World {
    pub(super) fn enter() -> anyhow::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        let pins = tempfile::tempdir()?;
        mount(Some("bpf"), pins.path(), Some("bpf"), MsFlags::empty(), none)?;
        Ok(Self { pins })
    }
}

/// The shipped programs.
pub(super) struct Ours {
    plane: DataPlane,
}

impl Ours {
    pub(super) fn new(world: &World) -> anyhow::Result<Self> {
        let settings = Settings { flows: FLOWS, flow_share: FLOWS, ..Settings::new(world.pins.path().join("axle")) };
        let mut plane = DataPlane::open(settings)?;
        let attachment = Attachment {
            local: LOCAL,
            interface: "lo".into(),
            addresses: vec![IpAddr::from(OWN)],
            adopt: Duration::ZERO,
        };
        let failed = plane.replace(&Plan { writes: writes(), settle: Vec::new() }, &[attachment])?;
        ensure!(failed.is_empty(), "not attached: {failed:?}");
        Ok(Self { plane })
    }
}

/// One row for all classes: that port's class, and no other.
fn writes() -> Vec<Write> {
    let mut writes = vec![
        Write::Row { row: 2, bits: Box::new([2, 0, 0, 0, 0, 0, 0, 0]) },
        Write::Ports { table: PortTable::Tcp, first: ACCEPTED, last: ACCEPTED, class: 1 },
    ];
    for index in 0..=(CLASSES + 2) / 256 {
        writes.push(Write::Block { block: 2 + index, rows: Box::new([2; 256]) });
        writes.push(Write::SlotBlock { slot: SLOT, index: index as u8, block: 2 + index });
    }
    writes.extend((0..ENDPOINTS).map(|endpoint| Write::Address {
        address: IpAddr::from((FIRST + endpoint).to_be_bytes()),
        class: Some(class(endpoint)),
    }));
    writes.push(Write::Workload { local: LOCAL, generation: 0, ingress: SLOT, egress: 0 });
    writes
}

impl Judge for Ours {
    fn judge(&mut self, packet: &[u8], repeat: u32, accepts: bool) -> anyhow::Result<Duration> {
        let judged = self.plane.judge(LOCAL, Direction::Ingress, packet, repeat)?;
        ensure!(judged.accepted == accepts, "the shipped program says {judged:?}");
        Ok(judged.time)
    }
}
