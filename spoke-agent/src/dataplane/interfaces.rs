//! The interfaces of workloads, as the programs find them: an index leads to a cell, and the cell says whose it is.
//!
//! A cell does not change while a program may read it: what changes gets another one. The cell of `SEEN` that counts an
//! interface's packets stays the same for as long as the interface is held, whatever agents come and go.
use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{
        AtomicU32,
        Ordering::{Relaxed, Release},
    },
};

use axle_ebpf_common::policy::{Interface, Seen};
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};

use super::{Error, error::kernel, load, mapped::Mapped, sys};

/// The maps of one set that know interfaces, and the pinned counters.
pub(super) struct Interfaces {
    cells: Array<MapData, Interface>,
    free: Vec<u32>,
    /// Cells that nothing leads to any more; programs under way may still read them.
    retired: Vec<u32>,
    /// By the low 16 bits of an index: the cell, 0 for none.
    indices: Mapped<AtomicU32>,
    /// By the whole index, for those whose low 16 bits were another's when they came.
    strays: HashMap<MapData, u32, u32>,
    placed: BTreeMap<u32, Placed>,
    seen: PerCpuArray<MapData, Seen>,
    /// By index: its cell of `seen`.
    counted: BTreeMap<u32, u32>,
    uncounted: Vec<u32>,
}

/// Where an interface is.
struct Placed {
    cell: u32,
    entry: Interface,
    is_stray: bool,
}

impl Interfaces {
    /// Takes the maps out of a freshly loaded object, and learns from the counters which interfaces are known.
    pub(super) fn new(object: &mut Ebpf) -> Result<Self, Error> {
        let cells: Array<_, Interface> = load::map(object, "INTERFACES")?;
        let seen: PerCpuArray<_, Seen> = load::map(object, load::SEEN)?;
        let mut counted = BTreeMap::new();
        let mut uncounted = Vec::new();
        // Cell 0 of both is nobody's.
        for cell in (1..seen.len()).rev() {
            let values = seen.get(&cell, 0).map_err(failed(load::SEEN))?;
            match values.iter().next().map_or(0, |first| first.interface) as u32 {
                0 => uncounted.push(cell),
                index => drop(counted.insert(index, cell)),
            }
        }
        Ok(Self {
            free: (1..cells.len()).rev().collect(),
            retired: Vec::new(),
            indices: load::mapped(object, "INDICES")?,
            strays: load::map(object, "STRAYS")?,
            placed: BTreeMap::new(),
            cells,
            seen,
            counted,
            uncounted,
        })
    }

    /// Says whose an interface is. `entry.seen` is filled in here.
    pub(super) fn put(&mut self, mut entry: Interface) -> Result<(), Error> {
        let index = entry.index;
        entry.seen = self.count(index)?;
        let is_stray = match self.placed.get(&index) {
            Some(former) if former.entry == entry => return Ok(()),
            Some(former) => former.is_stray,
            None => self.place(index).load(Relaxed) != 0,
        };
        let cell = self.take_cell()?;
        self.cells.set(cell, &entry, 0).map_err(failed("INTERFACES"))?;
        if is_stray {
            self.strays.insert(&index, &cell, 0).map_err(failed("STRAYS"))?;
        } else {
            self.place(index).store(cell, Release);
        }
        if let Some(former) = self.placed.insert(index, Placed { cell, entry, is_stray }) {
            self.retired.push(former.cell);
        }
        Ok(())
    }

    /// Forgets an interface, its counters too.
    pub(super) fn remove(&mut self, index: u32) -> Result<(), Error> {
        if let Some(Placed { cell, is_stray, .. }) = self.placed.remove(&index) {
            if is_stray {
                self.strays.remove(&index).map_err(failed("STRAYS"))?;
            } else {
                self.place(index).store(0, Release);
            }
            self.retired.push(cell);
        }
        if let Some(cell) = self.counted.remove(&index) {
            self.set_seen(cell, Seen::default())?;
            self.uncounted.push(cell);
        }
        Ok(())
    }

    /// Indices of the interfaces that are known here or were to an agent before.
    pub(super) fn known(&self) -> impl Iterator<Item = u32> {
        self.counted.keys().copied()
    }

    /// What an interface's hooks have seen.
    pub(super) fn seen(&self, index: u32) -> Result<Seen, Error> {
        let Some(cell) = self.counted.get(&index) else { return Ok(Seen::default()) };
        let cpus = self.seen.get(cell, 0).map_err(failed(load::SEEN))?;
        Ok(cpus.iter().fold(Seen::default(), |sum, cpu| Seen {
            packets: std::array::from_fn(|way| sum.packets[way] + cpu.packets[way]),
            denied: std::array::from_fn(|way| sum.denied[way] + cpu.denied[way]),
            interface: cpu.interface,
        }))
    }

    fn place(&self, index: u32) -> &AtomicU32 {
        &self.indices[usize::from(index as u16)]
    }

    /// The cell that counts an interface's packets, from zero if it is new.
    fn count(&mut self, index: u32) -> Result<u32, Error> {
        if let Some(cell) = self.counted.get(&index) {
            return Ok(*cell);
        }
        let cell = self.uncounted.pop().ok_or_else(|| full(load::SEEN))?;
        self.set_seen(cell, Seen { interface: u64::from(index), ..Seen::default() })?;
        self.counted.insert(index, cell);
        Ok(cell)
    }

    fn set_seen(&mut self, cell: u32, seen: Seen) -> Result<(), Error> {
        let cpus = nr_cpus().map_err(|(_, source)| Error::Map { map: load::SEEN, source })?;
        let values = PerCpuValues::try_from(vec![seen; cpus.get() as usize]);
        let values = values.map_err(|source| Error::Map { map: load::SEEN, source })?;
        self.seen.set(cell, values, 0).map_err(failed(load::SEEN))
    }

    fn take_cell(&mut self) -> Result<u32, Error> {
        if self.free.is_empty() && !self.retired.is_empty() {
            sys::grace_period().map_err(|source| Error::Map { map: "INTERFACES", source })?;
            self.free.append(&mut self.retired);
        }
        self.free.pop().ok_or_else(|| full("INTERFACES"))
    }
}

fn failed(map: &'static str) -> impl Fn(MapError) -> Error {
    move |error| Error::Map { map, source: kernel(error) }
}

fn full(map: &'static str) -> Error {
    Error::Map { map, source: io::Error::from_raw_os_error(libc::ENOSPC) }
}
