//! Who may be connected, also after the handshake.
use std::{
    collections::HashMap,
    fmt,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

use crate::pki::Peer;

/// A peer whose certificate is expired: it may ask for a renewal and for nothing else. It is a type of its own in a
/// request's extensions, so that who looks for a [`Peer`] does not find it.
#[derive(Debug, Clone)]
pub struct ExpiredPeer(pub Peer);

/// How long a connection that came with an expired certificate may last.
const EXPIRED_CONNECTION: Duration = Duration::from_secs(60);

type Admit = dyn Fn(&Peer) -> Result<(), String> + Send + Sync;

/// Asks, at the handshake and regularly afterwards, whether a peer may be connected: not revoked, and its certificate
/// in force or renewed since.
pub struct Guard {
    admit: Box<Admit>,
    // By public key: renewals keep it. Bounded, since entries that are over are swept when one is added.
    renewed: Mutex<HashMap<[u8; 32], SystemTime>>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl Guard {
    /// A guard that asks `admit` whether a peer is still a member; the error says why not.
    pub fn new(admit: impl Fn(&Peer) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { admit: Box::new(admit), renewed: Mutex::default() }
    }

    /// Notes that `peer` holds a newer certificate for the same key, so that its connections may outlive the old one.
    pub fn renewed(&self, peer: &Peer, not_after: SystemTime) {
        let now = SystemTime::now();
        let mut renewed = self.renewed.lock();
        renewed.retain(|_, until| *until >= now);
        renewed.insert(peer.key, not_after);
    }

    /// Whether `peer`, connected for `age`, may stay at `now`.
    pub(super) fn admits(&self, peer: &Peer, expired: bool, age: Duration, now: SystemTime) -> Result<(), String> {
        (self.admit)(peer)?;
        if expired {
            let stays = age < EXPIRED_CONNECTION;
            return if stays { Ok(()) } else { Err("its certificate is expired".into()) };
        }
        let renewed = self.renewed.lock().get(&peer.key).copied();
        let until = renewed.map_or(peer.not_after, |renewed| renewed.max(peer.not_after));
        if now <= until { Ok(()) } else { Err("its certificate expired and was not renewed".into()) }
    }
}
