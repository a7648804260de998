//! The tokens with which nodes join this relay: kept hashed, good once, for one name, for a while.
use std::{
    io,
    path::{Path, PathBuf},
};

use axle_core::model::{Name, Uid};
use axle_transport::pki::{JoinToken, PkiError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::disk::{self, Sealed};

/// The most tokens that wait to be used.
const MOST: usize = 1000;

/// The tokens given out and not yet used.
#[derive(Debug)]
pub struct Tokens {
    path: PathBuf,
    waiting: Mutex<Vec<Waiting>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Waiting {
    /// SHA-256 of the secret.
    digest: [u8; 32],
    node: Name,
    expires_ms: u64,
}

/// Why a token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Too many wait.
    #[error("{MOST} tokens wait to be used; wait until some expire")]
    TooMany,
    /// No randomness.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// It cannot be kept.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Tokens {
    /// The tokens kept at `path`. If the file is damaged there are none: nodes ask for new ones.
    ///
    /// # Errors
    /// As the system says, with the path.
    pub fn open(path: &Path) -> io::Result<Self> {
        let waiting = match disk::unseal(path)? {
            Sealed::Missing => Vec::new(),
            Sealed::SetAside(why) => {
                tracing::warn!(%why, "the node tokens given out are void");
                Vec::new()
            }
            Sealed::Whole(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        };
        Ok(Self { path: path.into(), waiting: Mutex::new(waiting) })
    }

    /// A new token for `node`, good until `expires_ms`.
    ///
    /// # Errors
    /// When there are too many, or it cannot be kept.
    pub fn create(
        &self,
        root: [u8; 32],
        cluster: Uid,
        node: Name,
        now_ms: u64,
        expires_ms: u64,
    ) -> Result<JoinToken, TokenError> {
        let token = JoinToken::generate(root, Some(cluster))?;
        let mut waiting = self.waiting.lock();
        let mut next: Vec<Waiting> = waiting.iter().filter(|token| token.expires_ms > now_ms).cloned().collect();
        if next.len() >= MOST {
            return Err(TokenError::TooMany);
        }
        next.push(Waiting { digest: token.digest(), node, expires_ms });
        self.store(&next)?;
        *waiting = next;
        Ok(token)
    }

    /// Uses a token up. Once it is used, on disk too, nobody can use it again; of two at once one succeeds.
    ///
    /// # Errors
    /// The reason, for the log only: whoever tries learns nothing from it.
    pub fn redeem(&self, token: &JoinToken, node: &Name, now_ms: u64) -> Result<(), String> {
        let digest = token.digest();
        let mut waiting = self.waiting.lock();
        let Some(at) = waiting.iter().position(|waiting| waiting.digest == digest) else {
            return Err("unknown or already used".into());
        };
        let found = &waiting[at];
        if found.expires_ms <= now_ms {
            return Err("expired".into());
        }
        if found.node != *node {
            return Err(format!("it is for node {}, not for {node}", found.node));
        }
        let mut next = waiting.clone();
        next.remove(at);
        self.store(&next).map_err(|error| format!("its use cannot be recorded: {error}"))?;
        *waiting = next;
        Ok(())
    }

    fn store(&self, waiting: &[Waiting]) -> io::Result<()> {
        disk::seal(&self.path, &serde_json::to_vec(waiting).map_err(io::Error::other)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_once_for_one_name_for_a_while() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokens");
        let node = |name: &str| Name::new(name).unwrap();
        let tokens = Tokens::open(&path).unwrap();
        let make = |expires| tokens.create([1; 32], Uid([2; 16]), node("n2"), 0, expires).unwrap();
        let (token, late) = (make(100), make(100));
        assert!(tokens.redeem(&token, &node("n3"), 50).is_err_and(|why| why.contains("for node n2")));
        assert!(tokens.redeem(&late, &node("n2"), 100).is_err_and(|why| why == "expired"));
        let stranger = JoinToken::generate([1; 32], None).unwrap();
        assert!(tokens.redeem(&stranger, &node("n2"), 50).is_err());
        // A restart in between changes nothing.
        let tokens = Tokens::open(&path).unwrap();
        tokens.redeem(&token, &node("n2"), 50).unwrap();
        assert!(tokens.redeem(&token, &node("n2"), 50).is_err());
        assert!(Tokens::open(&path).unwrap().redeem(&token, &node("n2"), 50).is_err());
    }
}
