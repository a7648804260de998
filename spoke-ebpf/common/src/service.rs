//! Types of the service programs: `spoke-ebpf/src/service` reads and writes them, the agent's `dataplane::service` is the
//! other side. Ports are in network order.

use crate::policy::Address;

/// What a client connects to: the key of `FRONTENDS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Frontend {
    /// The service's address.
    pub address: Address,
    /// The service's port.
    pub port: u16,
    /// The protocol's number: 6, 17 or 132.
    pub protocol: u8,
    /// Always 0.
    pub padding: [u8; 5],
}

/// Where a frontend leads: the value of `FRONTENDS`. Replaced whole, so that a reader sees one list or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct List {
    /// The number of the list in `BACKENDS`; never used again.
    pub number: u32,
    /// How many slots it has; 0 refuses connections.
    pub slots: u32,
    /// A client that comes again within so many seconds gets the same backend; 0: it is drawn each time.
    pub sticky_s: u32,
    /// Always 0.
    pub padding: u32,
}

/// A backend of a list that clients come back to: the key of `MEMBERS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Member {
    /// The backend.
    pub peer: Peer,
    /// The list.
    pub list: u32,
    /// Always 0.
    pub padding: u32,
}

/// A client of a service: the key of `SERVICE_CLIENTS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Client {
    /// The cookie of its network namespace: a workload is one client, whichever of its addresses it calls from.
    pub namespace: u64,
    /// What it calls.
    pub frontend: Frontend,
}

/// Where a client was led: the value of `SERVICE_CLIENTS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Led {
    /// The backend.
    pub peer: Peer,
    /// When it called last, on the monotonic clock.
    pub at_ns: u64,
}

/// One slot of a list: the key of `BACKENDS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Slot {
    /// The list.
    pub list: u32,
    /// From 0.
    pub index: u32,
}

/// A backend and its part in the choice (Walker's alias method): the value of `BACKENDS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Backend {
    /// The workload.
    pub peer: Peer,
    /// A draw of 32 bits up to this stays with this backend.
    pub keep: u32,
    /// The index of the slot that gets the others.
    pub alias: u32,
}

/// An address and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Peer {
    /// The address.
    pub address: Address,
    /// The port.
    pub port: u16,
    /// Always 0.
    pub padding: [u8; 6],
}

/// What was rewritten for a socket, so that it sees the service where it speaks with a backend.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Translation {
    /// With whom it speaks.
    pub backend: Peer,
    /// Whom it called.
    pub service: Peer,
}

/// How many backends a socket can remember at once; of more the oldest is forgotten.
pub const REMEMBERED: usize = 8;

/// A socket's memory: the value of `SERVICE_SOCKETS`, gone with the socket.
#[derive(Debug)]
#[repr(C)]
pub struct Socket {
    /// How many were written; the next goes to this modulo [`REMEMBERED`].
    pub written: u32,
    /// Always 0.
    pub padding: u32,
    /// The translations; a backend's port of 0 is an empty place.
    pub translations: [Translation; REMEMBERED],
}

/// The addresses that only services have, one range per family, in `RANGES`: a call to one without a frontend is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Range {
    /// The network.
    pub network: Address,
    /// Its mask; all zero is no range.
    pub mask: Address,
}

/// What became of a call: the index in `SERVICE_COUNTERS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Call {
    /// It was led to a backend.
    Translated = 0,
    /// The service has no backend.
    NoBackend = 1,
    /// A service address without this port.
    NoService = 2,
    /// The kernel had no memory for the socket's translation.
    NoMemory = 3,
}

impl Call {
    /// How many there are.
    pub const CELLS: u32 = 4;
}

#[cfg(feature = "user")]
mod pod {
    use super::{Backend, Client, Frontend, Led, List, Member, Range, Slot};

    macro_rules! pod {
        ($($of:ty),*) => { $(
            // SAFETY: `repr(C)` of integers without implicit padding: every bit pattern is a value.
            unsafe impl aya::Pod for $of {}
        )* };
    }
    pod!(Backend, Client, Frontend, Led, List, Member, Range, Slot);
}
