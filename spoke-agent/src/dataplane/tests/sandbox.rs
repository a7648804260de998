//! A place of its own for each test: network and mount namespace of its thread, a BPF file system, small tables.
use std::{net::IpAddr, path::PathBuf, time::Duration};

use axle_core::policy::tables::{Direction, Limits, Plan, PortTable, SLOT_ACCEPT, SLOT_DENY, Slot, Write};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::dataplane::{Attachment, DataPlane, Settings};

/// The workload that tests judge packets for.
pub(super) const LOCAL: u32 = 1;
/// Its addresses.
pub(super) const OWN4: &str = "10.0.0.1";
pub(super) const OWN6: &str = "fd00::1";
/// Addresses whose class is [`PEER`].
pub(super) const PEER4: &str = "10.0.0.2";
pub(super) const PEER6: &str = "fd00::2";
/// The class of the peers; every other address leads to [`REST`].
pub(super) const PEER: u32 = 5;
const REST: u32 = 6;
/// A slot that accepts TCP, UDP and SCTP port 80 and ICMP queries from peers, and nothing else.
pub(super) const WEB: Slot = 2;

/// The place; it goes with the test's thread.
pub(crate) struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    pub(crate) fn enter() -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces of its own (needs root)");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("mounts of its own");
        let folder = tempfile::tempdir().expect("a folder");
        mount(Some("bpf"), folder.path(), Some("bpf"), MsFlags::empty(), none).expect("a BPF file system");
        Self { folder }
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.folder.path().join("axle")
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            limits: limits(),
            blocks4: 64,
            flows: 4_096,
            flow_share: 4_096,
            event_bytes: 1 << 16,
            denied_events: 1_000_000,
            flow_events: 1_000_000,
            ..Settings::new(self.pins())
        }
    }

    /// A data plane with [`LOCAL`] at the loopback interface, and these tables.
    pub(super) fn plane(&self, writes: Vec<Write>) -> DataPlane {
        plane(self.settings(), writes)
    }

    /// The same with the tables of [`web`].
    pub(super) fn web(&self, ingress: Slot, egress: Slot) -> DataPlane {
        self.plane(web(ingress, egress))
    }
}

pub(super) fn plane(settings: Settings, writes: Vec<Write>) -> DataPlane {
    let mut plane = DataPlane::open(settings).expect("a data plane");
    let plan = Plan { writes, settle: Vec::new() };
    let failed = plane.replace(&plan, &[attachment(Duration::ZERO)]).expect("tables");
    assert!(failed.is_empty(), "{failed:?}");
    plane
}

pub(super) fn attachment(adopt: Duration) -> Attachment {
    let addresses = vec![address(OWN4), address(OWN6)];
    Attachment { local: LOCAL, interface: "lo".to_owned(), addresses, adopt }
}

/// Tables in which [`WEB`] means something, with the workload's slots.
pub(super) fn web(ingress: Slot, egress: Slot) -> Vec<Write> {
    let port = |table, number| Write::Ports { table, first: number, last: number, class: 1 };
    let mut blocks = [0; 256];
    blocks[PEER as usize] = 2;
    let mut writes = vec![
        Write::Row { row: 2, bits: Box::new([2, 0, 0, 0, 0, 0, 0, 0]) },
        Write::Block { block: 2, rows: Box::new(blocks) },
        Write::SlotBlock { slot: WEB, index: 0, block: 2 },
        Write::Address { address: address(PEER4), class: Some(PEER) },
        Write::Address { address: address(PEER6), class: Some(PEER) },
        Write::Prefix { prefix: "0.0.0.0/0".parse().expect("a prefix"), class: Some(REST) },
        Write::Prefix { prefix: "::/0".parse().expect("a prefix"), class: Some(REST) },
        port(PortTable::Tcp, 80),
        port(PortTable::Udp, 80),
        port(PortTable::Sctp, 80),
        port(PortTable::Icmp, 8 << 8),
        port(PortTable::Icmpv6, 128 << 8),
    ];
    writes.extend(slots(ingress, egress));
    writes
}

/// The workload's slots, in both generations.
pub(super) fn slots(ingress: Slot, egress: Slot) -> [Write; 2] {
    [0, 1].map(|generation| Write::Workload { local: LOCAL, generation, ingress, egress })
}

/// Changes the workload's slots.
pub(super) fn set_slots(plane: &mut DataPlane, ingress: Slot, egress: Slot) {
    let plan = Plan { writes: slots(ingress, egress).to_vec(), settle: Vec::new() };
    plane.apply(&plan).expect("slots");
}

/// Whether a packet for the workload passes.
pub(super) fn receives(plane: &mut DataPlane, packet: &[u8]) -> bool {
    plane.judge(LOCAL, Direction::Ingress, packet, 1).expect("a verdict").accepted
}

/// Whether a packet of the workload's passes.
pub(super) fn sends(plane: &mut DataPlane, packet: &[u8]) -> bool {
    plane.judge(LOCAL, Direction::Egress, packet, 1).expect("a verdict").accepted
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Both families: the workload's address and the peer's.
pub(super) fn families() -> [(IpAddr, IpAddr); 2] {
    [(address(OWN4), address(PEER4)), (address(OWN6), address(PEER6))]
}

pub(super) const ACCEPT: Slot = SLOT_ACCEPT;
pub(super) const DENY: Slot = SLOT_DENY;

pub(super) fn limits() -> Limits {
    Limits {
        classes: 1_024,
        port_classes: 64,
        rows: 64,
        blocks: 32,
        slots: 16,
        locals: 8,
        addresses4: 1_024,
        addresses6: 64,
        prefixes: 64,
    }
}
