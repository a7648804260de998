//! What can be done to a pin directory without its agent.
use std::{fs, path::Path, sync::atomic::Ordering::Release, time::Duration};

use super::{Error, Tally, attach::link_index, load, pins, pins::Pins, status, sys};

/// What a pin directory holds in force, whoever runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Indices of the interfaces whose hooks are held.
    pub interfaces: Vec<u32>,
    /// Packets by outcome and direction.
    pub tallies: Vec<Tally>,
    /// For how long denied packets still pass.
    pub bypass: Option<Duration>,
}

/// What [`cleanup`] took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleaned {
    /// Links, each of which held a program at a hook.
    pub links: usize,
    /// Pinned maps.
    pub maps: usize,
}

/// Reads what is pinned; needs no running agent and disturbs none.
///
/// # Errors
/// [`Error::Pins`] or [`Error::Map`] if nothing is pinned there.
pub fn pinned(pins: &Path) -> Result<Pinned, Error> {
    let names = pins::names(&pins.join("links"))?;
    let mut interfaces: Vec<u32> = names.iter().filter_map(|name| link_index(name)).collect();
    interfaces.dedup();
    let (tallies, ..) = status::tallies(pins)?;
    Ok(Pinned { interfaces, tallies, bypass: status::bypass_left(pins)? })
}

/// Lets denied packets pass for a while, or (`None`) ends that. It ends by itself.
///
/// # Errors
/// [`Error::Map`] if nothing is pinned there.
pub fn bypass(pins: &Path, lasting: Option<Duration>) -> Result<(), Error> {
    let until = lasting.map_or(0, |lasting| sys::now().saturating_add(lasting.as_nanos() as u64));
    load::bypass(pins)?[0].store(until, Release);
    Ok(())
}

/// That no agent runs here, so that what it would do again can be undone.
///
/// # Errors
/// [`Error::Locked`] while one runs.
pub fn idle(path: &Path) -> Result<(), Error> {
    if path.exists() { Pins::open(path).map(drop) } else { Ok(()) }
}

/// Takes everything away that is pinned: links first, so that no hook judges with half of what it needs. Nothing is
/// enforced there afterwards.
///
/// # Errors
/// [`Error::Locked`] while an agent runs, [`Error::Pins`] if a pin cannot be removed.
pub fn cleanup(path: &Path) -> Result<Cleaned, Error> {
    if !path.exists() {
        return Ok(Cleaned { links: 0, maps: 0 });
    }
    let pins = Pins::open(path)?;
    let count = |folder: &str, remove: fn(&Path) -> Result<(), Error>| -> Result<usize, Error> {
        let folder = path.join(folder);
        let names = pins::names(&folder)?;
        names.iter().try_for_each(|name| remove(&folder.join(name)))?;
        Ok(names.len())
    };
    let cleaned = Cleaned { links: count("links", pins::remove_link)?, maps: count("maps", pins::remove)? };
    for folder in [pins.path().join("links"), pins.path().join("maps"), path.to_owned()] {
        fs::remove_dir(&folder).map_err(|source| Error::Pins { path: folder, source, fix: "remove it by hand" })?;
    }
    Ok(cleaned)
}
