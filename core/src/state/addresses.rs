//! The addresses of services: which are in use, which rest, and which is free.
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;

/// How many addresses rest before they are given out again: clients that were told one may use it for a while after its
/// service is gone.
pub const RESTING: usize = 4_096;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Addresses {
    used: HashSet<IpAddr>,
    /// Given up lately, and the revision that did it: not given out again while there are others.
    resting: HashMap<IpAddr, u64>,
    /// `resting`, oldest first.
    order: BTreeSet<(u64, IpAddr)>,
}

/// What rested before, address by address in the order of the changes.
pub(super) type Rested = Vec<(IpAddr, Option<u64>)>;

impl Addresses {
    pub(super) fn load(used: impl Iterator<Item = IpAddr>, resting: &[(IpAddr, u64)]) -> Self {
        let mut addresses = Self { used: used.collect(), ..Self::default() };
        for (address, revision) in resting {
            addresses.set(*address, Some(*revision));
        }
        addresses.forget();
        addresses
    }

    /// These are in use no more, and those now are. Tells [`Self::undo`] what rested before, and which addresses rest
    /// from now on.
    pub(super) fn change(&mut self, before: &[IpAddr], now: &[IpAddr], revision: u64) -> (Rested, Vec<IpAddr>) {
        for address in before {
            self.used.remove(address);
        }
        self.used.extend(now);
        let given_up: Vec<IpAddr> = before.iter().filter(|address| !self.used.contains(*address)).copied().collect();
        let mut rested: Rested =
            given_up.iter().map(|address| (*address, self.set(*address, Some(revision)))).collect();
        rested.extend(self.forget());
        (rested, given_up)
    }

    /// Takes back the last [`Self::change`].
    pub(super) fn undo(&mut self, before: &[IpAddr], now: &[IpAddr], rested: Rested) {
        for address in now {
            self.used.remove(address);
        }
        self.used.extend(before);
        for (address, revision) in rested.into_iter().rev() {
            self.set(address, revision);
        }
    }

    fn set(&mut self, address: IpAddr, revision: Option<u64>) -> Option<u64> {
        let before = match revision {
            Some(revision) => self.resting.insert(address, revision),
            None => self.resting.remove(&address),
        };
        before.map(|before| self.order.remove(&(before, address)));
        revision.map(|revision| self.order.insert((revision, address)));
        before
    }

    fn forget(&mut self) -> Rested {
        let oldest: Vec<_> = self.order.iter().take(self.order.len().saturating_sub(RESTING)).copied().collect();
        oldest.into_iter().map(|(_, address)| (address, self.set(address, None))).collect()
    }

    /// A free address of the range, beside those just `given`: the first from a place that the name decides, so that which
    /// one it is does not depend on the order in which services came; one that rests only if there is no other.
    pub(super) fn free(&self, range: IpNet, given: &HashSet<IpAddr>, name: &str) -> Option<IpAddr> {
        let (base, bits) = match range {
            IpNet::V4(range) => (u128::from(u32::from(range.network())), 32 - range.prefix_len()),
            IpNet::V6(range) => (u128::from(range.network()), 128 - range.prefix_len()),
        };
        // Neither the network's own address nor the last one, which is a broadcast address in IPv4.
        let count = (1_u128 << bits.min(64)).checked_sub(2).filter(|count| *count > 0)?;
        let at = |offset: u128| {
            let number = base + 1 + offset % count;
            match range {
                IpNet::V4(_) => u32::try_from(number).ok().map(|number| IpAddr::V4(Ipv4Addr::from(number))),
                IpNet::V6(_) => Some(IpAddr::V6(Ipv6Addr::from(number))),
            }
        };
        let mut hash = [0; 8];
        blake3::Hasher::new_derive_key("axle service address v1")
            .update(name.as_bytes())
            .finalize_xof()
            .fill(&mut hash);
        let start = u128::from(u64::from_le_bytes(hash));
        let taken = |address: &IpAddr| self.used.contains(address) || given.contains(address);
        // Of one more candidate than there are taken ones, one is free.
        let tries = count.min((self.used.len() + given.len() + self.resting.len() + 1) as u128);
        let mut candidates = (0..tries).filter_map(|i| at(start + i));
        candidates.find(|address| !taken(address) && !self.resting.contains_key(address)).or_else(|| {
            let resting = self.order.iter().map(|(_, address)| address);
            resting.copied().find(|address| range.contains(address) && !taken(address))
        })
    }
}
