//! Who an address belongs to, where several workloads claim it.
//!
//! A workload that moves keeps its address while its old and its new incarnation are both known, in either order of
//! arrival: so an address is a merge of claims, and a removal takes away its own claim only.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::model::Uid;

/// One endpoint's claim to an address. The greatest claim holds the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// Whether the claimant runs on this node: what is here is known best.
    pub local: bool,
    /// When it started, in milliseconds since 1970: of two the newer holds the address.
    pub started_ms: u64,
    /// Which endpoint; decides between equal starts.
    pub endpoint: Uid,
}

/// The claims to every address, seen from one node.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    by_address: BTreeMap<IpAddr, BTreeSet<Claim>>,
}

impl Claims {
    /// Adds a claim. Tells whether the holder changed.
    pub fn add(&mut self, address: IpAddr, claim: Claim) -> bool {
        let claims = self.by_address.entry(address).or_default();
        let before = claims.last().copied();
        claims.insert(claim);
        claims.last().copied() != before
    }

    /// Takes a claim away, and no other. Tells whether the holder changed.
    pub fn remove(&mut self, address: IpAddr, claim: &Claim) -> bool {
        let Some(claims) = self.by_address.get_mut(&address) else { return false };
        let before = claims.last().copied();
        claims.remove(claim);
        let after = claims.last().copied();
        if after.is_none() {
            self.by_address.remove(&address);
        }
        after != before
    }

    /// The claim that holds the address.
    #[must_use]
    pub fn holder(&self, address: IpAddr) -> Option<Claim> {
        self.by_address.get(&address).and_then(|claims| claims.last().copied())
    }

    /// The addresses that more than one endpoint claims, with all their claims, the holder last.
    pub fn contested(&self) -> impl Iterator<Item = (IpAddr, &BTreeSet<Claim>)> {
        self.by_address.iter().filter(|(_, claims)| claims.len() > 1).map(|(address, claims)| (*address, claims))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 7));

    fn claim(local: bool, started_ms: u64, endpoint: u8) -> Claim {
        Claim { local, started_ms, endpoint: Uid([endpoint; 16]) }
    }

    #[test]
    fn local_then_newest_then_uid() {
        let order = [claim(false, 5, 1), claim(false, 5, 2), claim(false, 6, 1), claim(true, 1, 1)];
        let mut claims = Claims::default();
        for (n, one) in order.iter().enumerate() {
            assert!(claims.add(ADDRESS, *one), "claim {n} takes over");
            assert_eq!(claims.holder(ADDRESS), Some(*one));
        }
        assert_eq!(claims.contested().count(), 1);
    }

    #[test]
    fn a_removal_takes_only_its_own_claim() {
        let (old, new) = (claim(false, 1, 1), claim(false, 2, 2));
        let mut claims = Claims::default();
        claims.add(ADDRESS, new);
        assert!(!claims.add(ADDRESS, old), "the older one arrives late and does not take over");
        assert!(!claims.remove(ADDRESS, &old), "the holder stays");
        assert_eq!(claims.holder(ADDRESS), Some(new));
        assert!(claims.remove(ADDRESS, &new));
        assert_eq!(claims.holder(ADDRESS), None);
        assert!(!claims.remove(ADDRESS, &new), "nothing left to remove");
    }

    proptest! {
        /// Whatever the order of arrival, the same set of claims has the same holder.
        #[test]
        fn order_does_not_matter(
            mut adds in prop::collection::vec((any::<bool>(), 0u64..4, 0u8..4), 1..8),
            gone in prop::collection::vec((any::<bool>(), 0u64..4, 0u8..4), 0..4),
        ) {
            let run = |adds: &[(bool, u64, u8)]| {
                let mut claims = Claims::default();
                for (local, started, endpoint) in adds {
                    claims.add(ADDRESS, claim(*local, *started, *endpoint));
                }
                for (local, started, endpoint) in &gone {
                    claims.remove(ADDRESS, &claim(*local, *started, *endpoint));
                }
                claims.holder(ADDRESS)
            };
            let forward = run(&adds);
            adds.reverse();
            prop_assert_eq!(forward, run(&adds));
        }
    }
}
