//! Services on the node: the programs of `spoke-ebpf/src/service` at the workloads' cgroup, and their maps.
//!
//! A restart makes new maps, fills them, and puts programs bound to them in the place of the old ones, each at one instant.
//! What living sockets called is pinned.
mod hooks;

use std::{
    collections::{self, BTreeMap, hash_map::Entry},
    io::ErrorKind,
    net::IpAddr,
    path::{Path, PathBuf},
};

use axle_core::{
    model::Protocol,
    service::{self, AliasSlot, alias_table},
};
use axle_ebpf_common::{
    policy::Address,
    service::{Backend, Call, Frontend, List, Member, Peer, Range, Slot},
};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray},
};
use ipnet::IpNet;

pub use hooks::detach_services;
use hooks::{Cgroup, refused};

use super::{Capacity, Error, error::kernel, load, pins, tables::words};

/// The programs, as `build.rs` built them.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/axle-service"));

/// Maps that outlive the agent.
const PINNED: [&str; 3] = ["SERVICE_SOCKETS", "SERVICE_COUNTERS", "SERVICE_CLIENTS"];

/// Where services are translated and how many there may be.
#[derive(Debug, Clone)]
pub struct ServiceSettings {
    /// The directory of the cgroup (version 2) that the node's workloads are in; sockets made outside it are left alone.
    pub cgroup: PathBuf,
    /// The addresses that only services have, at most one range per family: a call to one without a service is refused.
    pub ranges: Vec<IpNet>,
    /// Frontends, at most.
    pub frontends: u32,
    /// Backends of all frontends, at most; a frontend that changes counts twice for a moment.
    pub backends: u32,
}

impl ServiceSettings {
    /// The defaults for a cgroup, without ranges.
    #[must_use]
    pub fn new(cgroup: impl Into<PathBuf>) -> Self {
        Self { cgroup: cgroup.into(), ranges: Vec::new(), frontends: 65_536, backends: 262_144 }
    }
}

/// Calls by what became of them, since the pins were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    /// Led to a backend.
    pub translated: u64,
    /// Refused: the service has no backend.
    pub no_backend: u64,
    /// Refused: a service address without such a port.
    pub no_service: u64,
    /// Refused: the kernel had no memory.
    pub no_memory: u64,
}

/// The programs in force and their maps.
pub struct ServicePlane {
    settings: ServiceSettings,
    frontends: HashMap<MapData, Frontend, List>,
    backends: HashMap<MapData, Slot, Backend>,
    members: HashMap<MapData, Member, u8>,
    ranges: Array<MapData, Range>,
    counters: PerCpuArray<MapData, u64>,
    /// The lists in force, and the members of those that clients come back to.
    lists: collections::HashMap<Frontend, (List, Vec<Peer>)>,
    next: u32,
}

impl ServicePlane {
    /// Puts these frontends in force, in the place of whatever the pins hold. `pins` is the locked directory of the data
    /// plane's [`pins::Pins`].
    ///
    /// # Errors
    /// [`Error::Cgroup`] if the cgroup cannot be used, [`Error::Load`], [`Error::Map`] or [`Error::Pins`] if the kernel
    /// refused something, [`Error::Capacity`] if there are too many. What was in force stays, hook by hook.
    pub fn start<'t>(
        pins: &Path,
        settings: ServiceSettings,
        table: impl IntoIterator<Item = (&'t service::Frontend, &'t service::Route)>,
    ) -> Result<Self, Error> {
        let path = settings.cgroup.clone();
        let cgroup = Cgroup::open(&path)?;
        let mut object = load(pins, &settings)?;
        let mut plane = Self {
            frontends: load::map(&mut object, "FRONTENDS")?,
            backends: load::map(&mut object, "BACKENDS")?,
            members: load::map(&mut object, "MEMBERS")?,
            ranges: load::map(&mut object, "RANGES")?,
            counters: load::map(&mut object, "SERVICE_COUNTERS")?,
            lists: collections::HashMap::new(),
            next: 0,
            settings,
        };
        plane.write_ranges()?;
        let whole = table.into_iter().map(|(frontend, route)| (*frontend, Some(route.clone()))).collect();
        plane.apply(&whole)?;
        cgroup.attach_all(&mut object, pins)?;
        Ok(plane)
    }

    /// Takes changes over, as [`service::Services::apply`] gives them. Each frontend changes at one instant.
    ///
    /// # Errors
    /// [`Error::Capacity`] before anything is written, [`Error::Map`] with the frontends before the failed one changed.
    pub fn apply(&mut self, changes: &BTreeMap<service::Frontend, Option<service::Route>>) -> Result<(), Error> {
        self.check(changes)?;
        for (frontend, route) in changes {
            let key = key(frontend);
            let before = match route {
                Some(route) => self.put(key, route)?,
                None => match self.lists.entry(key) {
                    Entry::Occupied(entry) => {
                        self.frontends.remove(&key).map_err(map_error("FRONTENDS"))?;
                        Some(entry.remove())
                    }
                    Entry::Vacant(_) => None,
                },
            };
            if let Some((list, members)) = before {
                self.free(list, &members)?;
            }
        }
        Ok(())
    }

    /// Sets the addresses that only services have.
    ///
    /// # Errors
    /// [`Error::Map`] if the kernel refused it.
    pub fn set_ranges(&mut self, ranges: Vec<IpNet>) -> Result<(), Error> {
        self.settings.ranges = ranges;
        self.write_ranges()
    }

    /// Calls by what became of them.
    ///
    /// # Errors
    /// [`Error::Map`] if the counters cannot be read.
    pub fn calls(&self) -> Result<Calls, Error> {
        let read = |call: Call| {
            let values = self.counters.get(&(call as u32), 0).map_err(map_error("SERVICE_COUNTERS"))?;
            Ok::<u64, Error>(values.iter().sum())
        };
        Ok(Calls {
            translated: read(Call::Translated)?,
            no_backend: read(Call::NoBackend)?,
            no_service: read(Call::NoService)?,
            no_memory: read(Call::NoMemory)?,
        })
    }

    /// Writes a list and leads its frontend to it; gives the list that it led to before.
    fn put(&mut self, key: Frontend, route: &service::Route) -> Result<Option<(List, Vec<Peer>)>, Error> {
        let slots = alias_table(&route.backends.iter().map(|backend| backend.share).collect::<Vec<_>>());
        let list = List { number: self.next, slots: slots.len() as u32, sticky_s: route.sticky_s, padding: 0 };
        self.next = self.next.wrapping_add(1);
        let peers = route.backends.iter().map(|backend| peer(backend.address, backend.port));
        let members: Vec<Peer> = peers.filter(|_| route.sticky_s > 0).collect();
        let written = self
            .write(list, route, &slots, &members)
            .and_then(|()| self.frontends.insert(&key, &list, 0).map_err(map_error("FRONTENDS")));
        if let Err(error) = written {
            self.free(list, &members)?;
            return Err(error);
        }
        Ok(self.lists.insert(key, (list, members)))
    }

    fn write(
        &mut self,
        list: List,
        route: &service::Route,
        slots: &[AliasSlot],
        members: &[Peer],
    ) -> Result<(), Error> {
        for (index, (backend, slot)) in (0..).zip(route.backends.iter().zip(slots)) {
            let slot = value(backend, *slot);
            self.backends.insert(&Slot { list: list.number, index }, &slot, 0).map_err(map_error("BACKENDS"))?;
        }
        for member in members.iter().map(|peer| member(list, *peer)) {
            self.members.insert(&member, &0, 0).map_err(map_error("MEMBERS"))?;
        }
        Ok(())
    }

    /// Removes a list that no frontend leads to, as far as it was written.
    fn free(&mut self, list: List, members: &[Peer]) -> Result<(), Error> {
        let is_gone = |removed: Result<(), MapError>, map| match removed {
            Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(map_error(map)),
        };
        for index in 0..list.slots {
            is_gone(self.backends.remove(&Slot { list: list.number, index }), "BACKENDS")?;
        }
        members.iter().try_for_each(|peer| is_gone(self.members.remove(&member(list, *peer)), "MEMBERS"))
    }

    /// Counts as if every new list were written before any old one goes.
    fn check(&self, changes: &BTreeMap<service::Frontend, Option<service::Route>>) -> Result<(), Error> {
        let new = changes.iter().filter(|(frontend, to)| to.is_some() && !self.lists.contains_key(&key(frontend)));
        let frontends = self.lists.len() + new.count();
        Capacity::check("service frontends", frontends, self.settings.frontends as usize)?;
        let held: usize = self.lists.values().map(|(list, _)| list.slots as usize).sum();
        let written: usize = changes.values().flatten().map(|route| route.backends.len()).sum();
        Capacity::check("service backends", held + written, self.settings.backends as usize)?;
        Ok(())
    }

    fn write_ranges(&mut self) -> Result<(), Error> {
        let of_family = |ipv4: bool| self.settings.ranges.iter().find(|range| range.addr().is_ipv4() == ipv4);
        let cells = [range(of_family(true)), range(of_family(false))];
        for (cell, range) in (0..).zip(cells) {
            self.ranges.set(cell, &range, 0).map_err(map_error("RANGES"))?;
        }
        Ok(())
    }
}

fn load(pins: &Path, settings: &ServiceSettings) -> Result<Ebpf, Error> {
    let paths = PINNED.map(|name| (name, pins::map(pins, name)));
    let mut loader = EbpfLoader::new();
    loader.map_max_entries("FRONTENDS", settings.frontends);
    loader.map_max_entries("BACKENDS", settings.backends).map_max_entries("MEMBERS", settings.backends);
    for (name, path) in &paths {
        loader.map_pin_path(name, path);
    }
    loader.load(PROGRAMS).map_err(refused)
}

fn key(frontend: &service::Frontend) -> Frontend {
    let protocol = match frontend.protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
        Protocol::Icmp => 1,
        Protocol::Icmpv6 => 58,
    };
    let Peer { address, port, .. } = peer(frontend.address, frontend.port);
    Frontend { address, port, protocol, padding: [0; 5] }
}

fn peer(address: IpAddr, port: u16) -> Peer {
    Peer { address: words(address), port: port.to_be(), padding: [0; 6] }
}

fn member(list: List, peer: Peer) -> Member {
    Member { peer, list: list.number, padding: 0 }
}

fn value(backend: &service::Backend, slot: AliasSlot) -> Backend {
    Backend { peer: peer(backend.address, backend.port), keep: slot.keep, alias: slot.alias }
}

fn range(net: Option<&IpNet>) -> Range {
    let Some(net) = net else { return Range { network: Address::default(), mask: Address::default() } };
    // An IPv4 network stands in the last 32 bits of the mapped form.
    let length = if net.addr().is_ipv4() { 96 + net.prefix_len() } else { net.prefix_len() };
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    Range { network: words(net.network()), mask: words(IpAddr::V6(mask.into())) }
}

fn map_error(map: &'static str) -> impl Fn(MapError) -> Error {
    move |error| Error::Map { map, source: kernel(error) }
}

#[cfg(test)]
mod tests;
