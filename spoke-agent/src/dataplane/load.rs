//! Loading the embedded programs: the sizes of their maps, and which maps are taken over from the pins.
use std::{io, sync::atomic::AtomicU64};

use axle_ebpf_common::policy::PORT_TABLES;
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData, MapError},
    programs::SchedClassifier,
};

use super::{
    Error, Settings,
    mapped::{Cell, Mapped},
    pins::{self, Pins},
};

/// The programs of the packet path, as `build.rs` built them.
static PROGRAMS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/axle-policy"));

/// Tracked flows, by family.
pub(super) const FLOWS: [&str; 2] = ["FLOWS4", "FLOWS6"];
/// What interfaces' hooks have seen, in its second layout.
pub(super) const SEEN: &str = "SEEN_2";
/// Maps that outlive the agent.
pub(super) const PINNED: [&str; 8] =
    [FLOWS[0], FLOWS[1], "FRAGMENTS", "COUNTERS", SEEN, "ADOPTIONS", "EVENTS", "BYPASS"];
/// Former layouts of them, which no program of this version reads.
const FORMER: [&str; 2] = ["FLOWS", "SEEN"];

/// Datagrams of which fragments may be under way at once.
const FRAGMENTS: u32 = 8_192;

/// Loads the programs with a set of tables of their own. The result tells whether the tracked flows are new ones too.
pub(super) fn load(settings: &Settings, pins: &Pins) -> Result<(Ebpf, bool), Error> {
    let sizes = sizes(settings);
    let mut kept = Vec::new();
    for name in PINNED {
        let path = pins.map(name);
        let wanted = sizes.iter().find(|(map, _)| *map == name).map(|(_, entries)| *entries);
        match MapData::from_pin(&path).map(|map| map.info().map(|info| info.max_entries())) {
            Ok(Ok(entries)) if wanted.is_none_or(|wanted| wanted == entries) => kept.push(name),
            Ok(_) => {
                tracing::warn!(map.name = name, "its size has changed: what it holds is left behind");
                pins::remove(&path)?;
            }
            Err(_) => {}
        }
    }
    let paths = PINNED.map(|name| (name, pins.map(name)));
    let mut loader = EbpfLoader::new();
    for (name, entries) in &sizes {
        loader.map_max_entries(name, *entries);
    }
    for (name, path) in &paths {
        loader.map_pin_path(name, path);
    }
    let object = loader.load(PROGRAMS).map_err(|error| Error::Load(chain(&error)))?;
    Ok((object, FLOWS.iter().any(|name| !kept.contains(name))))
}

/// Removes the pins of former layouts. Programs that are still at a hook keep what they use.
pub(super) fn remove_former(pins: &Pins) {
    for name in FORMER {
        if let Err(error) = pins::remove(&pins.map(name)) {
            tracing::warn!(map.name = name, %error, "a map of a former version stays pinned");
        }
    }
}

fn sizes(settings: &Settings) -> Vec<(&'static str, u32)> {
    let limits = settings.limits;
    let (second, third) = settings.levels4();
    // Also interfaces of workloads for which the tables have no room: those are denied everything.
    let interfaces = limits.locals * 2;
    vec![
        ("L2", second),
        ("L3", third),
        ("ADDRESSES6", limits.addresses6),
        ("PREFIXES4", limits.prefixes),
        ("PREFIXES6", limits.prefixes),
        ("PORTS", PORT_TABLES),
        ("SLOTS", limits.slots),
        ("BLOCKS", limits.blocks),
        ("ROWS", limits.rows),
        ("WORKLOADS", limits.locals),
        // One is nobody's; of the cells, one more is there for what changes.
        ("INTERFACES", interfaces + 2),
        ("STRAYS", interfaces),
        (FLOWS[0], settings.flows),
        (FLOWS[1], settings.flows),
        ("FRAGMENTS", FRAGMENTS),
        (SEEN, interfaces + 1),
        ("ADOPTIONS", interfaces),
        ("EVENTS", settings.event_bytes),
    ]
}

/// Puts one of the two programs into the kernel.
pub(super) fn program<'o>(object: &'o mut Ebpf, name: &str) -> Result<&'o mut SchedClassifier, Error> {
    let program = object.program_mut(name).ok_or_else(|| Error::Load(format!("the object has no program {name}")))?;
    let program: &mut SchedClassifier = program.try_into().map_err(|error| Error::Load(chain(&error)))?;
    if program.fd().is_err() {
        program.load().map_err(|error| Error::Load(chain(&error)))?;
    }
    Ok(program)
}

/// Takes a map out of the object, as the type that it is used as.
pub(super) fn map<M: TryFrom<Map, Error = MapError>>(object: &mut Ebpf, name: &'static str) -> Result<M, Error> {
    let map = object.take_map(name).ok_or_else(|| missing(name))?;
    M::try_from(map).map_err(|error| Error::Map { map: name, source: io::Error::other(error) })
}

/// Takes an array map out of the object, mapped into memory.
pub(super) fn mapped<C: Cell>(object: &mut Ebpf, name: &'static str) -> Result<Mapped<C>, Error> {
    match object.take_map(name) {
        Some(Map::Array(data)) => Mapped::new(&data).map_err(|source| Error::Map { map: name, source }),
        _ => Err(missing(name)),
    }
}

/// Opens a pinned map.
pub(super) fn pinned(path: &std::path::Path, name: &'static str) -> Result<MapData, Error> {
    MapData::from_pin(path).map_err(|error| Error::Map { map: name, source: super::error::kernel(error) })
}

/// Opens the word that says until when denied packets pass.
pub(super) fn bypass(pins: &std::path::Path) -> Result<Mapped<AtomicU64>, Error> {
    let map = pinned(&pins::map(pins, "BYPASS"), "BYPASS")?;
    Mapped::new(&map).map_err(|source| Error::Map { map: "BYPASS", source })
}

fn missing(name: &'static str) -> Error {
    Error::Map { map: name, source: io::Error::other("the object does not have it") }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
