//! Services on the node: the programs of `spoke-ebpf/src/service` at the workloads' cgroup, and their maps.
//!
//! A restart makes new maps, fills them, and puts programs bound to them in the place of the old ones, each at one instant.
//! What living sockets called is pinned.
mod hooks;

use std::{
    collections::{self, BTreeMap, hash_map::Entry},
    net::IpAddr,
    path::{Path, PathBuf},
};

use axle_core::{
    model::Protocol,
    service::{self, AliasSlot, alias_table},
};
use axle_ebpf_common::{
    policy::Address,
    service::{Backend, Call, Frontend, List, Peer, Range, Slot},
};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, PerCpuArray},
};
use ipnet::IpNet;

pub use hooks::detach_services;
use hooks::{Cgroup, refused};

use super::{Capacity, Error, error::kernel, load, pins, tables::words};

/// The programs, as `build.rs` built them.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/axle-service"));

/// Maps that outlive the agent.
const PINNED: [&str; 2] = ["SERVICE_SOCKETS", "SERVICE_COUNTERS"];

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
    ranges: Array<MapData, Range>,
    counters: PerCpuArray<MapData, u64>,
    lists: collections::HashMap<Frontend, List>,
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
        table: impl IntoIterator<Item = (&'t service::Frontend, &'t Vec<service::Backend>)>,
    ) -> Result<Self, Error> {
        let path = settings.cgroup.clone();
        let cgroup = Cgroup::open(&path)?;
        let mut object = load(pins, &settings)?;
        let mut plane = Self {
            frontends: load::map(&mut object, "FRONTENDS")?,
            backends: load::map(&mut object, "BACKENDS")?,
            ranges: load::map(&mut object, "RANGES")?,
            counters: load::map(&mut object, "SERVICE_COUNTERS")?,
            lists: collections::HashMap::new(),
            next: 0,
            settings,
        };
        plane.write_ranges()?;
        let whole = table.into_iter().map(|(frontend, backends)| (*frontend, Some(backends.clone()))).collect();
        plane.apply(&whole)?;
        cgroup.attach_all(&mut object, pins)?;
        Ok(plane)
    }

    /// Takes changes over, as [`service::Services::apply`] gives them. Each frontend changes at one instant.
    ///
    /// # Errors
    /// [`Error::Capacity`] before anything is written, [`Error::Map`] with the frontends before the failed one changed.
    pub fn apply(&mut self, changes: &BTreeMap<service::Frontend, Option<Vec<service::Backend>>>) -> Result<(), Error> {
        self.check(changes)?;
        for (frontend, backends) in changes {
            let key = key(frontend);
            let before = match backends {
                Some(backends) => self.put(key, backends)?,
                None => match self.lists.entry(key) {
                    Entry::Occupied(entry) => {
                        self.frontends.remove(&key).map_err(map_error("FRONTENDS"))?;
                        Some(entry.remove())
                    }
                    Entry::Vacant(_) => None,
                },
            };
            if let Some(list) = before {
                self.free(list, list.slots)?;
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
    fn put(&mut self, key: Frontend, backends: &[service::Backend]) -> Result<Option<List>, Error> {
        let slots = alias_table(&backends.iter().map(|backend| backend.share).collect::<Vec<_>>());
        let list = List { number: self.next, slots: slots.len() as u32 };
        self.next = self.next.wrapping_add(1);
        for (index, (backend, slot)) in (0..).zip(backends.iter().zip(&slots)) {
            let written = self.backends.insert(&Slot { list: list.number, index }, &value(backend, *slot), 0);
            if let Err(error) = written {
                self.free(list, index)?;
                return Err(map_error("BACKENDS")(error));
            }
        }
        if let Err(error) = self.frontends.insert(&key, &list, 0) {
            self.free(list, list.slots)?;
            return Err(map_error("FRONTENDS")(error));
        }
        Ok(self.lists.insert(key, list))
    }

    /// Removes the first slots of a list that no frontend leads to.
    fn free(&mut self, list: List, slots: u32) -> Result<(), Error> {
        for index in 0..slots {
            self.backends.remove(&Slot { list: list.number, index }).map_err(map_error("BACKENDS"))?;
        }
        Ok(())
    }

    /// Counts as if every new list were written before any old one goes.
    fn check(&self, changes: &BTreeMap<service::Frontend, Option<Vec<service::Backend>>>) -> Result<(), Error> {
        let new = changes.iter().filter(|(frontend, to)| to.is_some() && !self.lists.contains_key(&key(frontend)));
        let frontends = self.lists.len() + new.count();
        Capacity::check("service frontends", frontends, self.settings.frontends as usize)?;
        let held: usize = self.lists.values().map(|list| list.slots as usize).sum();
        let written: usize = changes.values().flatten().map(Vec::len).sum();
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
    loader.map_max_entries("FRONTENDS", settings.frontends).map_max_entries("BACKENDS", settings.backends);
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

fn map_error(map: &'static str) -> impl Fn(aya::maps::MapError) -> Error {
    move |error| Error::Map { map, source: kernel(error) }
}

#[cfg(test)]
mod tests;
