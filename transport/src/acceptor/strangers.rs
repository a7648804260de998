//! Connections of which nobody knows whose they are, counted by where they come from: who only connects, or has no
//! certificate, must not take every place.
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// How often a refusal is logged as a warning: whoever is refused comes again at once.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub(super) struct Strangers {
    most: usize,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    here: HashMap<IpAddr, usize>,
    refused: u64,
    warned: Option<Instant>,
}

/// One such connection. It counts until this is dropped: when it ends, or once a certificate said whose it is.
#[derive(Debug)]
pub(super) struct Stranger {
    strangers: Arc<Strangers>,
    from: IpAddr,
}

impl Strangers {
    /// At most so many from one place.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, counted: Mutex::default() })
    }

    /// One more from there; `None` if there are too many.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Stranger> {
        let from = place(from);
        let mut counted = self.counted.lock();
        let here = counted.here.entry(from).or_default();
        if *here < self.most {
            *here += 1;
            return Some(Stranger { strangers: Arc::clone(self), from });
        }
        counted.refused += 1;
        if counted.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            counted.warned = Some(Instant::now());
            let (limit, refused) = (self.most, counted.refused);
            tracing::warn!(%from, limit, refused, "too many connections without a certificate come from one address");
        }
        None
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut counted = self.strangers.counted.lock();
        if let Some(here) = counted.here.get_mut(&self.from) {
            *here -= 1;
            if *here == 0 {
                counted.here.remove(&self.from);
            }
        }
    }
}

/// What one owner has: an IPv4 address, or the /64 that an IPv6 host draws its addresses from.
fn place(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_so_many_and_gets_them_back() {
        let strangers = Strangers::new(2);
        let enter = |from: &str| strangers.enter(from.parse().unwrap());
        let (first, second) = (enter("192.0.2.1"), enter("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some() && enter("192.0.2.1").is_none());
        assert!(enter("192.0.2.2").is_some());
        drop(first);
        let third = enter("192.0.2.1");
        assert!(third.is_some() && enter("192.0.2.1").is_none());
        let held = (enter("2001:db8::1"), enter("2001:db8::2"));
        assert!(held.1.is_some() && enter("2001:db8::3").is_none() && enter("2001:db8:0:1::1").is_some());
        drop((second, third, held));
        assert!(strangers.counted.lock().here.is_empty());
    }
}
