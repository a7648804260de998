//! Asking the programs about a packet that is not sent.
use std::time::Duration;

use axle_core::policy::tables::{Direction, Local};
use aya::programs::{ProgramFd, SchedClassifier, TestRun as _, TestRunOptions};

use super::{DataPlane, Error, attach::HOOKS, load};

/// Where `struct __sk_buff` has the interface's index, and how long it is.
const SK_BUFF_IFINDEX: usize = 40;
const SK_BUFF_BYTES: usize = 192;
/// What a program returns for a packet that is dropped.
const TCX_DROP: u32 = 2;

/// The programs' answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Whether the packet would pass.
    pub accepted: bool,
    /// How long the program took, on average.
    pub time: Duration,
}

impl DataPlane {
    /// Lets the program of a workload's hook judge `packet` (from its Ethernet header on) `repeat` times, without
    /// sending it. It leaves the traces of a packet: counters, events, a tracked flow.
    ///
    /// # Errors
    /// [`Error::UnknownWorkload`] if the workload is not attached, [`Error::Load`] if the kernel cannot run it.
    pub fn judge(&mut self, local: Local, direction: Direction, packet: &[u8], repeat: u32) -> Result<Judged, Error> {
        let set = self.set.as_mut().ok_or(Error::NotReady)?;
        let index = self.attached.get(&local).ok_or(Error::UnknownWorkload(local))?.index;
        let mut context = [0; SK_BUFF_BYTES];
        context[SK_BUFF_IFINDEX..SK_BUFF_IFINDEX + 4].copy_from_slice(&index.to_ne_bytes());
        let options =
            TestRunOptions { data_in: Some(packet), ctx_in: Some(&context), repeat, ..TestRunOptions::default() };
        let run = load::program(&mut set.object, name(direction))?.test_run(options);
        let run = run.map_err(|error| Error::Load(load::chain(&error)))?;
        Ok(Judged { accepted: run.return_value != TCX_DROP, time: run.duration })
    }

    /// The program in force at the hooks of a direction, for another one to call.
    ///
    /// # Errors
    /// [`Error::NotReady`] without tables.
    pub fn program(&self, direction: Direction) -> Result<&ProgramFd, Error> {
        let object = &self.set.as_ref().ok_or(Error::NotReady)?.object;
        let program: Option<&SchedClassifier> =
            object.program(name(direction)).and_then(|program| program.try_into().ok());
        program.and_then(|program| program.fd().ok()).ok_or(Error::NotReady)
    }
}

fn name(direction: Direction) -> &'static str {
    HOOKS.iter().find(|(way, ..)| *way == direction).map_or("", |(_, name, _)| name)
}
