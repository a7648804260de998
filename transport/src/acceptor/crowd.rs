//! Connections counted by whose they are, so that nobody takes every place: by address, of those that have shown no
//! certificate, and by key, of those that have.
use std::{
    collections::HashMap,
    fmt::Display,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How often a refusal is logged as a warning: whoever is refused comes again at once.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Crowd<K> {
    most: usize,
    counted: Mutex<Counted<K>>,
}

#[derive(Debug)]
struct Counted<K> {
    here: HashMap<K, usize>,
    refused: u64,
    warned: Option<Instant>,
}

/// The place of one connection; it counts until this is dropped.
#[derive(Debug)]
pub(super) struct Place<K: Eq + Hash> {
    crowd: Arc<Crowd<K>>,
    owner: K,
}

impl<K: Eq + Hash + Clone> Crowd<K> {
    /// At most so many of one owner.
    pub(super) fn new(most: usize) -> Arc<Self> {
        let counted = Counted { here: HashMap::new(), refused: 0, warned: None };
        Arc::new(Self { most, counted: Mutex::new(counted) })
    }

    /// One more of that owner, who is called `shown`; `None` if there are too many.
    pub(super) fn enter(self: &Arc<Self>, owner: K, shown: impl Display) -> Option<Place<K>> {
        let mut counted = self.counted.lock();
        let here = counted.here.entry(owner.clone()).or_default();
        if *here < self.most {
            *here += 1;
            return Some(Place { crowd: Arc::clone(self), owner });
        }
        counted.refused += 1;
        if counted.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            counted.warned = Some(Instant::now());
            let (limit, refused) = (self.most, counted.refused);
            tracing::warn!(from = %shown, limit, refused, "too many connections come from one place; more are refused");
        }
        None
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut counted = self.crowd.counted.lock();
        if let Some(here) = counted.here.get_mut(&self.owner) {
            *here -= 1;
            if *here == 0 {
                counted.here.remove(&self.owner);
            }
        }
    }
}

/// What one owner has: an IPv4 address, or the /64 that an IPv6 host draws its addresses from.
pub(super) fn home(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_owner_has_so_many_places_and_gets_them_back() {
        let crowd = Crowd::new(2);
        let enter = |from: &str| crowd.enter(home(from.parse().unwrap()), from);
        let (first, second) = (enter("192.0.2.1"), enter("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some() && enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        let third = enter("192.0.2.1");
        assert!(third.is_some() && enter("192.0.2.1").is_none());
        let held = (enter("2001:db8::1"), enter("2001:db8::2"));
        assert!(held.1.is_some() && enter("2001:db8::3").is_none() && enter("2001:db8:0:1::1").is_some());
        drop((second, third, held));
        assert!(crowd.counted.lock().here.is_empty());
    }
}
