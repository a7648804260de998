//! Policies that are in force in an older version than the log has, because this node cannot hold the newer one. They must
//! survive a restart: else a node that refused a stricter version would forget the one it enforces.
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use axle_core::{
    model::{Envelope, Key, Object},
    refusal::Refusal,
};
use axle_proto::{
    convert::{Wire, envelope_from_wire, envelope_to_wire, refusal_from_wire, refusal_to_wire},
    v1,
};
use prost::Message;

use crate::disk::{self, Sealed};

/// What was refused, and which version is in force instead (if any).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Held {
    pub(super) refusal: Refusal,
    pub(super) in_force: Option<Object>,
    /// What was refused together has one number, and what was refused later a higher one.
    pub(super) group: u64,
}

/// The refused objects of a node.
#[derive(Debug)]
pub(super) struct HeldBack {
    path: PathBuf,
    pub(super) by_key: BTreeMap<Key, Held>,
    stored: BTreeMap<Key, Held>,
}

#[derive(Clone, PartialEq, Message)]
struct Kept {
    #[prost(message, repeated, tag = "1")]
    held: Vec<KeptOne>,
}

#[derive(Clone, PartialEq, Message)]
struct KeptOne {
    #[prost(message, optional, tag = "1")]
    refusal: Option<v1::Refusal>,
    #[prost(message, optional, tag = "2")]
    in_force: Option<v1::Envelope>,
    #[prost(uint64, tag = "3")]
    group: u64,
}

impl HeldBack {
    /// What was kept at `path`, and what is wrong with it if it cannot be used.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<String>)> {
        let mut held = Self { path: path.into(), by_key: BTreeMap::new(), stored: BTreeMap::new() };
        let damage = match disk::unseal(path)? {
            Sealed::Missing => None,
            Sealed::SetAside(why) => Some(why),
            Sealed::Whole(bytes) => match read(&bytes) {
                Ok(by_key) => {
                    (held.stored, held.by_key) = (by_key.clone(), by_key);
                    None
                }
                Err(why) => Some(format!("{}: {why}", path.display())),
            },
        };
        Ok((held, damage))
    }

    /// Writes it down if it changed, after what must be on disk `before` it.
    pub(super) fn store(&mut self, before: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.stored == self.by_key {
            return Ok(());
        }
        before()?;
        let one = |held: &Held| KeptOne {
            refusal: Some(refusal_to_wire(&held.refusal)),
            in_force: held.in_force.as_ref().map(envelope_to_wire),
            group: held.group,
        };
        let kept = Kept { held: self.by_key.values().map(one).collect() };
        disk::seal(&self.path, &kept.encode_to_vec())?;
        self.stored = self.by_key.clone();
        Ok(())
    }

    /// A number for what is refused now.
    pub(super) fn next_group(&self) -> u64 {
        self.by_key.values().map(|held| held.group + 1).max().unwrap_or_default()
    }

    pub(super) fn refusals(&self) -> Vec<Refusal> {
        self.by_key.values().map(|held| held.refusal.clone()).collect()
    }
}

fn read(bytes: &[u8]) -> Result<BTreeMap<Key, Held>, String> {
    let kept = Kept::decode(bytes).map_err(|error| error.to_string())?;
    let mut by_key = BTreeMap::new();
    for one in kept.held {
        let refusal = one.refusal.ok_or("an entry without its refusal")?;
        let refusal = refusal_from_wire(refusal).map_err(|error| error.to_string())?;
        let envelope = one.in_force.map(envelope_from_wire).transpose().map_err(|error| error.to_string())?;
        let in_force = envelope.map(|envelope| Envelope::open(envelope, &Wire)).transpose()?;
        by_key.insert(refusal.key.clone(), Held { refusal, in_force, group: one.group });
    }
    Ok(by_key)
}
