//! A place of its own for each test: network and mount namespace of its thread, a BPF file system, small tables.
use std::{net::IpAddr, path::PathBuf, time::Duration};

use axle_core::policy::tables::{Limits, Plan, Write};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::dataplane::{Attachment, DataPlane, Settings};

/// The workload that tests judge packets for.
pub(super) const LOCAL: u32 = 1;

/// The place; it goes with the test's thread.
pub(super) struct Sandbox {
    folder: tempfile::TempDir,
}

impl Sandbox {
    pub(super) fn enter() -> Self {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("namespaces of its own (needs root)");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("mounts of its own");
        let folder = tempfile::tempdir().expect("a folder");
        mount(Some("bpf"), folder.path(), Some("bpf"), MsFlags::empty(), none).expect("a BPF file system");
        Self { folder }
    }

    pub(super) fn pins(&self) -> PathBuf {
        self.folder.path().join("axle")
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            limits: limits(),
            blocks4: 64,
            flows: 1_024,
            flow_share: 512,
            event_bytes: 1 << 16,
            denied_events: 1_000_000,
            flow_events: 1_000_000,
            ..Settings::new(self.pins())
        }
    }

    /// A data plane with one workload, [`LOCAL`], at the loopback interface.
    pub(super) fn plane(&self, writes: Vec<Write>, own: &[IpAddr]) -> DataPlane {
        let mut plane = DataPlane::open(self.settings()).expect("a data plane");
        let plan = Plan { writes, settle: Vec::new() };
        let failed = plane.replace(&plan, &[attachment(own)]).expect("tables");
        assert!(failed.is_empty(), "{failed:?}");
        plane
    }
}

pub(super) fn attachment(own: &[IpAddr]) -> Attachment {
    Attachment { local: LOCAL, interface: "lo".to_owned(), addresses: own.to_vec(), adopt: Duration::ZERO }
}

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
