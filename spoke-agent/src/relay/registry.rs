//! The nodes of this cluster and the key that each of them joined with. A node that joined anew has another key, and a node
//! that was removed has none: certificates for other keys are not let in, however long they still hold.
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use axle_core::model::Name;
use axle_transport::pki::{Peer, Principal};
use parking_lot::Mutex;

use crate::disk::{self, Sealed};

type Keys = BTreeMap<Name, [u8; 32]>;

/// See the module.
#[derive(Debug)]
pub struct Registry {
    path: PathBuf,
    keys: Mutex<Keys>,
}

impl Registry {
    /// The registry kept at `path`. If the file is damaged it is empty, and the nodes must join again.
    ///
    /// # Errors
    /// As the system says, with the path.
    pub fn open(path: &Path) -> io::Result<Self> {
        let keys = match disk::unseal(path)? {
            Sealed::Missing => Keys::new(),
            Sealed::SetAside(why) => {
                tracing::error!(%why, "the nodes of this cluster must join again");
                Keys::new()
            }
            Sealed::Whole(bytes) => serde_json::from_slice(&bytes).map_err(|error| disk::at(path, &error.into()))?,
        };
        Ok(Self { path: path.into(), keys: Mutex::new(keys) })
    }

    /// This key is the node's from now on.
    ///
    /// # Errors
    /// As the system says; nothing has changed then.
    pub fn enter(&self, node: Name, key: [u8; 32]) -> io::Result<()> {
        self.change(|keys| {
            keys.insert(node, key);
        })
    }

    /// Who is let in.
    #[must_use]
    pub fn names(&self) -> Vec<Name> {
        self.keys.lock().keys().cloned().collect()
    }

    /// The node is let in no more.
    ///
    /// # Errors
    /// As the system says; nothing has changed then.
    pub fn remove(&self, node: &Name) -> io::Result<()> {
        self.change(|keys| {
            keys.remove(node);
        })
    }

    fn change(&self, change: impl FnOnce(&mut Keys)) -> io::Result<()> {
        let mut keys = self.keys.lock();
        let mut next = keys.clone();
        change(&mut next);
        if next != *keys {
            disk::seal(&self.path, &serde_json::to_vec(&next).map_err(io::Error::other)?)?;
            *keys = next;
        }
        Ok(())
    }

    /// Whether that peer is a node of this cluster as it stands.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, peer: &Peer) -> Result<(), String> {
        let Principal::Node(_, node) = &peer.principal else {
            return Err(format!("{} is not a node; a relay lets in its cluster's nodes only", peer.principal));
        };
        match self.keys.lock().get(node) {
            Some(key) if *key == peer.key => Ok(()),
            Some(_) => Err(format!("node {node} has joined anew since, with another key")),
            None => Err(format!("node {node} has not joined here, or was removed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use axle_core::model::Uid;

    use super::*;

    #[test]
    fn the_newest_key_alone_is_let_in_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("nodes");
        let node = Name::new("n1").unwrap();
        let peer = |key| Peer {
            principal: Principal::Node(Uid([1; 16]), node.clone()),
            key: [key; 32],
            not_after: SystemTime::now(),
        };
        let registry = Registry::open(&path).unwrap();
        assert!(registry.admits(&peer(1)).is_err());
        registry.enter(node.clone(), [1; 32]).unwrap();
        registry.admits(&peer(1)).unwrap();
        registry.enter(node.clone(), [2; 32]).unwrap();
        let registry = Registry::open(&path).unwrap();
        assert!(registry.admits(&peer(1)).is_err());
        registry.admits(&peer(2)).unwrap();
        assert!(registry.admits(&Peer { principal: Principal::Relay(Uid([1; 16])), ..peer(2) }).is_err());
        registry.remove(&node).unwrap();
        assert!(Registry::open(&path).unwrap().admits(&peer(2)).is_err());
    }
}
