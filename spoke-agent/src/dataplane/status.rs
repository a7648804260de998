//! What the data plane has done, from the kernel's counters.
use std::{path::Path, sync::atomic::Ordering::Relaxed, time::Duration};

use axle_core::policy::tables::{Direction, Local};
use axle_ebpf_common::policy::{Counter, EGRESS, INGRESS, Outcome};
use aya::maps::{Map, PerCpuArray};

use super::{DataPlane, Error, error::kernel, load, pins, sys};

/// The data plane as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The workloads that are attached.
    pub workloads: Vec<WorkloadStatus>,
    /// Packets by outcome and direction, since the pin directory was made.
    pub tallies: Vec<Tally>,
    /// Events that were held back because there were too many.
    pub events_suppressed: u64,
    /// Events that were lost because nobody read them.
    pub events_lost: u64,
    /// For how long denied packets still pass.
    pub bypass: Option<Duration>,
}

/// What one interface's hooks have seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadStatus {
    /// The workload's number.
    pub local: Local,
    /// Name of its interface.
    pub interface: String,
    /// Index of its interface.
    pub index: u32,
    /// Packets that it sent.
    pub sent: u64,
    /// Packets for it.
    pub received: u64,
    /// Of those it sent, denied.
    pub sent_denied: u64,
    /// Of those for it, denied.
    pub received_denied: u64,
    /// Its tracked flows.
    pub flows: u64,
}

impl WorkloadStatus {
    /// Whether both hooks have been seen to see packets.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.sent > 0 && self.received > 0
    }
}

/// Packets with one outcome in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// What became of them.
    pub outcome: Outcome,
    /// Which way they went.
    pub direction: Direction,
    /// How many.
    pub packets: u64,
    /// How long together, with Ethernet headers.
    pub bytes: u64,
}

impl DataPlane {
    /// Reads the counters.
    ///
    /// # Errors
    /// [`Error::NotReady`] without tables, [`Error::Map`] if a map cannot be read.
    pub fn status(&self) -> Result<Status, Error> {
        let set = self.set.as_ref().ok_or(Error::NotReady)?;
        let mut workloads = Vec::with_capacity(self.attached.len());
        for (local, workload) in &self.attached {
            let seen = set.interfaces.seen(workload.index)?;
            let (sent, received) = (usize::from(EGRESS), usize::from(INGRESS));
            workloads.push(WorkloadStatus {
                local: *local,
                interface: workload.attachment.interface.clone(),
                index: workload.index,
                sent: seen.packets[sent],
                received: seen.packets[received],
                sent_denied: seen.denied[sent],
                received_denied: seen.denied[received],
                flows: set.tables.flows(*local).map_or(0, |flows| flows.load(Relaxed)),
            });
        }
        let (tallies, events_suppressed, events_lost) = tallies(self.pins.path())?;
        let bypass = bypass_left(self.pins.path())?;
        Ok(Status { workloads, tallies, events_suppressed, events_lost, bypass })
    }
}

/// Packets by outcome; events suppressed; events lost.
pub(super) fn tallies(pins: &Path) -> Result<(Vec<Tally>, u64, u64), Error> {
    let map = Map::PerCpuArray(load::pinned(&pins::map(pins, "COUNTERS"), "COUNTERS")?);
    let error = |error| Error::Map { map: "COUNTERS", source: kernel(error) };
    let counters: PerCpuArray<_, Counter> = map.try_into().map_err(error)?;
    let read = |cell| -> Result<Counter, Error> {
        let cpus = counters.get(&cell, 0).map_err(error)?;
        Ok(cpus.iter().fold(Counter::default(), |sum, cpu| Counter {
            packets: sum.packets + cpu.packets,
            bytes: sum.bytes + cpu.bytes,
        }))
    };
    let mut tallies = Vec::new();
    for outcome in Outcome::ALL {
        for (direction, number) in [(Direction::Ingress, INGRESS), (Direction::Egress, EGRESS)] {
            let Counter { packets, bytes } = read(outcome.cell(number))?;
            tallies.push(Tally { outcome, direction, packets, bytes });
        }
    }
    Ok((tallies, read(Outcome::SUPPRESSED)?.packets, read(Outcome::LOST)?.packets))
}

/// For how long denied packets still pass.
pub(super) fn bypass_left(pins: &Path) -> Result<Option<Duration>, Error> {
    let until = load::bypass(pins)?[0].load(Relaxed);
    Ok(until.checked_sub(sys::now()).filter(|left| *left > 0).map(Duration::from_nanos))
}
