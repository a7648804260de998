//! Holding the two programs at a workload's interface.
use std::{io, net::IpAddr, time::Duration};

use axle_core::policy::tables::{Direction, Local};
use axle_ebpf_common::policy::{Address, Interface, OWN_ADDRESSES};
use aya::{
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttach, TcAttachType,
        links::{FdLink, LinkError, PinnedLink},
        tc::SchedClassifierLink,
    },
    sys::SyscallError,
};

use super::{Error, load, pins, pins::Pins, tables::words};

/// A workload's place on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its number in the tables.
    pub local: Local,
    /// Name of its interface's host side, in the network namespace of the thread that attaches it.
    pub interface: String,
    /// Its addresses: it sends from no others.
    pub addresses: Vec<IpAddr>,
    /// If it was not attached before: for how long TCP connections that are there already are taken over. Zero for a
    /// workload that has just started.
    pub adopt: Duration,
}

/// A workload whose packets are not judged, or not both ways.
#[derive(Debug)]
pub struct NotEnforced {
    /// Its number in the tables.
    pub local: Local,
    /// Name of its interface.
    pub interface: String,
    /// Why.
    pub reason: Error,
}

/// Both directions, with the program, and the hook at the interface's host side that sees it.
pub(super) const HOOKS: [(Direction, &str, TcAttachType); 2] = [
    (Direction::Egress, "axle_egress", TcAttachType::Ingress),
    (Direction::Ingress, "axle_ingress", TcAttachType::Egress),
];

impl Attachment {
    /// Index of the interface.
    pub(super) fn index(&self) -> Result<u32, Error> {
        nix::net::if_::if_nametoindex(self.interface.as_str())
            .map_err(|error| self.error("looking it up", error.into()))
    }

    /// What the programs have to know of it.
    pub(super) fn entry(&self, index: u32) -> Result<Interface, Error> {
        if self.addresses.len() > OWN_ADDRESSES {
            let (interface, wanted) = (self.interface.clone(), self.addresses.len());
            return Err(Error::TooManyAddresses { interface, wanted, limit: OWN_ADDRESSES });
        }
        let mut own = [Address::default(); OWN_ADDRESSES];
        for (cell, address) in own.iter_mut().zip(&self.addresses) {
            *cell = words(*address);
        }
        Ok(Interface { index, local: self.local, seen: 0, padding: 0, own })
    }

    pub(super) fn error(&self, what: &'static str, source: io::Error) -> Error {
        Error::Interface { interface: self.interface.clone(), what, source }
    }
}

/// Name under which the link of a hook is pinned. By index, because names may have dots and pins may not.
pub(super) fn link_name(index: u32, direction: Direction) -> String {
    format!("{index}-{direction}")
}

/// Index of the interface whose hook a pinned link holds.
pub(super) fn link_index(name: &str) -> Option<u32> {
    name.split_once('-')?.0.parse().ok()
}

/// Makes a hook run `program`: by the link that is pinned, at one instant and in its place among others, else by a new one
/// before all others, so that none can let a packet pass unjudged.
pub(super) fn hold(
    program: &mut SchedClassifier,
    pins: &Pins,
    index: u32,
    direction: Direction,
    hook: TcAttachType,
) -> io::Result<()> {
    let path = pins.link(&link_name(index, direction));
    if let Some(link) = pinned(&path)? {
        match program.attach_to_link(link) {
            Ok(id) => return release(program.take_link(id)),
            // Its interface is gone, and another one has the index.
            Err(error) if system(&error) == Some(libc::ENOLINK) => pins::remove(&path).map_err(io::Error::other)?,
            Err(error) => return Err(plain(error)),
        }
    }
    let attach = TcAttach::Tcx { attach_type: hook, order: LinkOrder::first() };
    let id = program.attach(index, attach).map_err(plain)?;
    let link = FdLink::try_from(program.take_link(id).map_err(plain)?).map_err(io::Error::other)?;
    link.pin(&path).map(drop).map_err(io::Error::other)
}

/// Closes our descriptor of a link; its pin keeps it.
fn release(link: Result<SchedClassifierLink, ProgramError>) -> io::Result<()> {
    link.map(drop).map_err(plain)
}

fn pinned(path: &std::path::Path) -> io::Result<Option<SchedClassifierLink>> {
    match PinnedLink::from_pin(path) {
        Ok(link) => SchedClassifierLink::try_from(FdLink::from(link)).map(Some).map_err(io::Error::other),
        Err(LinkError::SyscallError(SyscallError { io_error, .. })) if io_error.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(io::Error::other(load::chain(&error))),
    }
}

fn system(error: &ProgramError) -> Option<i32> {
    match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        ProgramError::IOError(error) => error.raw_os_error(),
        _ => None,
    }
}

fn plain(error: ProgramError) -> io::Error {
    match system(&error) {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(load::chain(&error)),
    }
}
