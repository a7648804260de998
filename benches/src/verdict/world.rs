//! The world that packets are judged in: 131,072 endpoints and one workload. Each of its rules lets the endpoints of one
//! class in, on [`ACCEPTED`] and on one of 400 other ports.
use std::{net::IpAddr, time::Duration};

use anyhow::ensure;
use axle_agent::dataplane::{Attachment, DataPlane, Settings};
use axle_core::policy::tables::{BLOCK_CLASSES, Direction, Plan, PortTable, Row, RowBits, Write};
use aya::programs::ProgramFd;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::side::Judge;

/// How many endpoints there are, one after the other from [`FIRST`].
pub(super) const ENDPOINTS: u32 = 131_072;
/// The first endpoint's address, 10.0.0.0; `spoke-ebpf/src/bench/vary.rs` knows it too.
pub(super) const FIRST: u32 = 0x0a00_0000;
/// The workload's address.
pub(super) const OWN: [u8; 4] = [10, 2, 0, 9];
/// How many flows are tracked at most.
pub(super) const FLOWS: u32 = 262_144;
/// The port that every rule accepts, and one that none does.
pub(super) const ACCEPTED: u16 = 80;
pub(super) const DENIED: u16 = 81;
/// The workload's number, and the slot of its ingress.
pub(super) const LOCAL: u32 = 1;
pub(super) const SLOT: u32 = 2;

/// The class of the first rule, and the first row that is no constant.
pub(super) const CLASS: u32 = 2;
const ROW: Row = 2;
/// Other ports that rules accept.
const OTHERS: u16 = 400;

/// The class of an endpoint; all rules have endpoints, as there are at least as many.
pub(super) fn class(endpoint: u32, rules: u32) -> u32 {
    CLASS + endpoint % rules
}

/// The two ports that the rule of a class accepts.
pub(super) fn ports(class: u32) -> [u16; 2] {
    [ACCEPTED, 8_000 + other(class)]
}

fn other(class: u32) -> u16 {
    ((class - CLASS) % u32::from(OTHERS)) as u16
}

/// A TCP packet of the first endpoint for the workload; it `begins` its connection or belongs to it.
pub(super) fn packet(port: u16, begins: bool) -> Vec<u8> {
    let mut packet = vec![2; 12];
    packet.extend([0x08, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    packet.extend(FIRST.to_be_bytes());
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
    pub(super) fn new(world: &World, rules: u32) -> anyhow::Result<Self> {
        let settings = Settings { flows: FLOWS, flow_share: FLOWS, ..Settings::new(world.pins.path().join("axle")) };
        let mut ours = Self { plane: DataPlane::open(settings)? };
        ours.set_rules(rules)?;
        Ok(ours)
    }
}

impl Judge for Ours {
    fn set_rules(&mut self, rules: u32) -> anyhow::Result<()> {
        let attachment = Attachment {
            local: LOCAL,
            interface: "lo".into(),
            addresses: vec![IpAddr::from(OWN)],
            adopt: Duration::ZERO,
        };
        let failed = self.plane.replace(&Plan { writes: writes(rules), settle: Vec::new() }, &[attachment])?;
        ensure!(failed.is_empty(), "not attached: {failed:?}");
        Ok(())
    }

    fn program(&self) -> anyhow::Result<&ProgramFd> {
        Ok(self.plane.program(Direction::Ingress)?)
    }

    fn judges(&self) -> bool {
        true
    }
}

/// The rules as the compiler would write them: equal rows are one.
fn writes(rules: u32) -> Vec<Write> {
    let port = |number, class| Write::Ports { table: PortTable::Tcp, first: number, last: number, class };
    let mut writes = vec![port(ACCEPTED, 1)];
    let classes = CLASS..CLASS + rules;
    for class in classes.clone().take(usize::from(OTHERS)) {
        let other = other(class);
        let [_, number] = ports(class);
        writes.push(port(number, 2 + other));
        writes.push(Write::Row { row: ROW + u32::from(other), bits: Box::new(bits(&[1, 2 + other])) });
    }
    for index in 0..=(CLASS + rules - 1) / BLOCK_CLASSES {
        let row = |class: u32| {
            if classes.contains(&class) { ROW + u32::from(other(class)) } else { 0 }
        };
        let rows = std::array::from_fn(|cell| row(index * BLOCK_CLASSES + cell as u32));
        writes.push(Write::Block { block: 2 + index, rows: Box::new(rows) });
        writes.push(Write::SlotBlock { slot: SLOT, index: index as u8, block: 2 + index });
    }
    writes.extend((0..ENDPOINTS).map(|endpoint| Write::Address {
        address: IpAddr::from((FIRST + endpoint).to_be_bytes()),
        class: Some(class(endpoint, rules)),
    }));
    writes.push(Write::Workload { local: LOCAL, generation: 0, ingress: SLOT, egress: 0 });
    writes
}

fn bits(classes: &[u16]) -> RowBits {
    let mut bits = RowBits::default();
    for class in classes {
        bits[usize::from(class / 64)] |= 1 << (class % 64);
    }
    bits
}
