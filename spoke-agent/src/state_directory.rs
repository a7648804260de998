//! Where an agent keeps what must survive it.
use std::path::{Path, PathBuf};

use axle_core::model::{Name, Uid};
use serde::{Deserialize, Serialize};

use crate::{
    disk::{self, Sealed},
    lock::{DirectoryLock, LockError},
};

/// The paths in a state directory.
#[derive(Debug, Clone)]
pub struct StateDirectory {
    root: PathBuf,
}

/// Who this agent is: the outcome of `join`, kept as JSON for people to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrollment {
    /// The cluster's uid.
    pub cluster: Uid,
    /// The cluster's name.
    pub cluster_name: Name,
    /// This machine's name in the cluster.
    pub node: Name,
    /// Whom it joined at.
    pub upstream: Upstream,
}

/// The side that an agent connects to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Upstream {
    /// The hub, as `HOST:PORT`: this agent is its cluster's relay.
    Hub(String),
    /// The cluster's relay, as `HOST:PORT`: this agent is a node only.
    Relay(String),
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another agent is using it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file of it is damaged and cannot be made anew.
    #[error("{0}")]
    Damaged(String),
}

impl StateDirectory {
    /// The directory at `root`, which is made if it is missing.
    ///
    /// # Errors
    /// As the system says, with the path.
    pub fn new(root: &Path) -> Result<Self, StateError> {
        disk::private_directory(root)?;
        Ok(Self { root: root.into() })
    }

    /// Locks it for as long as the value returned lives.
    ///
    /// # Errors
    /// [`LockError::Held`] if another agent uses it.
    pub fn lock(&self) -> Result<DirectoryLock, StateError> {
        Ok(DirectoryLock::take(&self.root)?)
    }

    /// The socket at which the running agent answers `status`, `bypass` and `token`.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.root.join("agent.sock")
    }

    /// The inventory's place if nobody says otherwise.
    #[must_use]
    pub fn inventory(&self) -> PathBuf {
        self.root.join("inventory")
    }

    /// Key and certificates of the relay role.
    #[must_use]
    pub fn relay_certificates(&self) -> PathBuf {
        self.root.join("certificates/relay")
    }

    /// Key and certificate of the node role.
    #[must_use]
    pub fn node_certificates(&self) -> PathBuf {
        self.root.join("certificates/node")
    }

    /// The relay's log.
    #[must_use]
    pub fn relay_log(&self) -> PathBuf {
        self.root.join("relay")
    }

    /// Tokens that the relay gave out, hashed.
    #[must_use]
    pub fn tokens(&self) -> PathBuf {
        self.root.join("relay/tokens")
    }

    /// The node's log.
    #[must_use]
    pub fn node_log(&self) -> PathBuf {
        self.root.join("node")
    }

    /// The nodes that joined this relay.
    #[must_use]
    pub fn nodes(&self) -> PathBuf {
        self.root.join("relay/nodes")
    }

    /// Policies that this node could not put in force.
    #[must_use]
    pub fn held_back(&self) -> PathBuf {
        self.root.join("node/held-back")
    }

    /// Policies that this node enforces.
    #[must_use]
    pub fn in_force(&self) -> PathBuf {
        self.root.join("node/in-force")
    }

    /// The interfaces of this machine's workloads.
    #[must_use]
    pub fn interfaces(&self) -> PathBuf {
        self.root.join("node/interfaces")
    }

    /// Who this agent is.
    #[must_use]
    pub fn enrolled(&self) -> PathBuf {
        self.root.join("enrollment")
    }

    /// Who this agent is; `None` before it has joined.
    ///
    /// # Errors
    /// If the file cannot be read or is not what `join` wrote.
    pub fn enrollment(&self) -> Result<Option<Enrollment>, StateError> {
        let path = self.enrolled();
        match disk::unseal(&path)? {
            Sealed::Missing => Ok(None),
            Sealed::SetAside(why) => Err(StateError::Damaged(format!("{why}; join again with a new token"))),
            Sealed::Whole(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| StateError::Damaged(format!("{}: {error}; join again", path.display()))),
        }
    }

    /// Remembers who this agent is.
    ///
    /// # Errors
    /// As the system says, with the path.
    pub fn enroll(&self, enrollment: &Enrollment) -> Result<(), StateError> {
        let text = serde_json::to_vec(enrollment).map_err(std::io::Error::other)?;
        Ok(disk::seal(&self.enrolled(), &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_who_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::new(&directory.path().join("state")).unwrap();
        assert_eq!(state.enrollment().unwrap(), None);
        let enrollment = Enrollment {
            cluster: Uid([7; 16]),
            cluster_name: Name::new("alpha").unwrap(),
            node: Name::new("n1").unwrap(),
            upstream: Upstream::Hub("hub.example:7443".into()),
        };
        state.enroll(&enrollment).unwrap();
        assert_eq!(state.enrollment().unwrap(), Some(enrollment));
        std::fs::write(directory.path().join("state/enrollment"), b"{}").unwrap();
        assert!(matches!(state.enrollment(), Err(StateError::Damaged(_))));
    }

    #[test]
    fn a_second_agent_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::new(directory.path()).unwrap();
        let held = state.lock().unwrap();
        let error = StateDirectory::new(directory.path()).unwrap().lock().unwrap_err().to_string();
        assert!(error.contains("in use by another agent"), "{error}");
        drop(held);
        state.lock().unwrap();
    }
}
