//! What travels on a session, as the machines see it.
use crate::{
    log::{Delta, Hash, Position},
    model::{Envelope, Key, Scope},
    refusal::Refusal,
};

/// One message about the sender's log.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// What leads on.
    Delta(Delta<Envelope>),
    /// A part of a snapshot.
    Page(Page),
    /// The end of a snapshot.
    Marker(Marker),
    /// Where the log stands, said at rest.
    Head(Position),
}

/// A part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Of which position.
    pub at: Position,
    /// From 0, without gaps.
    pub index: u32,
    /// Objects, in the order of their keys over all pages.
    pub objects: Vec<Envelope>,
}

/// The end of a snapshot, by which it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Of which position.
    pub at: Position,
    /// Objects in all pages.
    pub count: u64,
    /// See [`Digest`].
    pub digest: Hash,
    /// As in [`Delta::origin`].
    pub origin: Option<Position>,
}

/// The receiver's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// How far its copy is.
    pub received: Position,
    /// What it could not take on the way there.
    pub refused: Vec<Refusal>,
}

/// A digest over keys, uids and payloads of a snapshot's objects, in the order of their keys.
#[derive(Debug, Clone)]
pub struct Digest(blake3::Hasher);

impl Default for Digest {
    fn default() -> Self {
        Self(blake3::Hasher::new_derive_key("axle snapshot v1"))
    }
}

impl Digest {
    /// Adds the next object.
    pub fn add(&mut self, key: &Key, uid: &crate::model::Uid, payload: &[u8]) {
        self.0.update(&[key.kind as u8]);
        match key.scope {
            Scope::Fleet => self.0.update(&[0]),
            Scope::Cluster(cluster) => self.0.update(&[1]).update(&cluster.0),
        };
        for part in [key.namespace.as_bytes(), key.name.as_str().as_bytes(), &uid.0, payload] {
            self.0.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }

    /// The digest of all that was added.
    #[must_use]
    pub fn finish(&self) -> Hash {
        Hash(*self.0.finalize().as_bytes())
    }
}
