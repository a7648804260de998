//! The canonical form under a log's hashes: every field with its length, in one fixed order. On disk for ever.
use crate::{
    log::{Change, Hash, Position},
    model::{Key, Scope, Uid},
};

/// One link of a hash chain being fed. `context` separates the uses of the hash (BLAKE3 key derivation).
pub(super) struct Chain(blake3::Hasher);

impl Chain {
    pub(super) fn new(context: &str, before: Hash) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&before.0);
        Self(hasher)
    }

    pub(super) fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(&number.to_le_bytes());
        self
    }

    pub(super) fn flag(&mut self, flag: bool) -> &mut Self {
        self.0.update(&[u8::from(flag)]);
        self
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64).0.update(bytes);
        self
    }

    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    pub(super) fn uid(&mut self, uid: Uid) -> &mut Self {
        self.0.update(&uid.0);
        self
    }

    pub(super) fn position(&mut self, position: &Position) -> &mut Self {
        self.uid(position.epoch).number(position.revision).0.update(&position.hash.0);
        self
    }

    pub(super) fn key(&mut self, key: &Key) -> &mut Self {
        self.0.update(&[key.kind as u8]);
        match key.scope {
            Scope::Fleet => self.flag(false),
            Scope::Cluster(uid) => self.flag(true).uid(uid),
        };
        self.text(&key.namespace).text(key.name.as_str())
    }

    pub(super) fn changes(&mut self, changes: &[Change]) -> &mut Self {
        self.number(changes.len() as u64);
        for change in changes {
            match change {
                Change::Put(object) => {
                    self.flag(true).key(&object.key).uid(object.uid).number(object.features.len() as u64);
                    for feature in &object.features {
                        self.text(feature);
                    }
                    self.bytes(&object.payload);
                }
                Change::Delete { key, uid } => {
                    self.flag(false).key(key).uid(*uid);
                }
            }
        }
        self
    }

    pub(super) fn finish(&self) -> Hash {
        Hash(*self.0.finalize().as_bytes())
    }
}
