use std::path::PathBuf;

use axle_core::policy::tables::Limits;

use super::Timeouts;

/// Where a data plane keeps its pins and how much it holds. Memory is taken when tables are made: with the defaults
/// about 130 MiB, and half of that once more for a moment at a restart.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The pin directory, on a BPF file system. It is made if its parent is there.
    pub pins: PathBuf,
    /// How much the tables hold; the compiler needs the same.
    pub limits: Limits,
    /// Blocks of 256 IPv4 addresses (/24) that have entries, at most.
    pub blocks4: u32,
    /// Tracked flows, of each family.
    pub flows: u32,
    /// Of these, how many one workload may have.
    pub flow_share: u32,
    /// When idle flows go.
    pub timeouts: Timeouts,
    /// Events of denied packets per second and CPU, at most.
    pub denied_events: u32,
    /// Events of new flows per second and CPU, at most.
    pub flow_events: u32,
    /// Bytes of events that wait for a reader: a power of two, in pages.
    pub event_bytes: u32,
}

impl Settings {
    /// The defaults, with the pins in `pins`.
    #[must_use]
    pub fn new(pins: impl Into<PathBuf>) -> Self {
        Self {
            pins: pins.into(),
            limits: Limits::default(),
            blocks4: 16_384,
            flows: 262_144,
            flow_share: 65_536,
            timeouts: Timeouts::default(),
            denied_events: 1_000,
            flow_events: 1_000,
            event_bytes: 1 << 20,
        }
    }

    /// Blocks of the two lower levels, with the block 0 that stands for none. /24s of one /16 share one of the upper.
    pub(super) fn levels4(&self) -> (u32, u32) {
        (self.blocks4.min(2_048) + 1, self.blocks4 + 1)
    }
}
