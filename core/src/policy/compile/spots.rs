//! What is known of single addresses, in runs of 256: eight bytes for an address and four for where it is.
use std::{collections::BTreeSet, net::IpAddr};

use hashbrown::HashMap;
use ipnet::IpNet;

use super::workloads::WorkloadId;
use crate::policy::tables::Class;

const NONE: u32 = u32::MAX;

/// An address that a workload holds or that has an entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    holder: u32,
    entry: u32,
}

impl Default for Spot {
    fn default() -> Self {
        Self { holder: NONE, entry: NONE }
    }
}

impl Spot {
    /// The workload that holds it.
    pub(super) fn holder(self) -> Option<WorkloadId> {
        (self.holder != NONE).then_some(self.holder)
    }

    /// Its class in the tables.
    pub(super) fn entry(self) -> Option<Class> {
        (self.entry != NONE).then_some(self.entry)
    }

    pub(super) fn set_holder(&mut self, holder: Option<WorkloadId>) {
        self.holder = holder.unwrap_or(NONE);
    }

    pub(super) fn set_entry(&mut self, entry: Option<Class>) {
        self.entry = entry.unwrap_or(NONE);
    }

    fn is_bare(self) -> bool {
        self.holder == NONE && self.entry == NONE
    }
}

/// 256 addresses: whether they are IPv6, and all of their bits but the last eight.
type Run = (bool, u128);

fn split(address: IpAddr) -> (Run, u8) {
    match address {
        IpAddr::V4(address) => ((false, u128::from(address.to_bits() >> 8)), address.to_bits() as u8),
        IpAddr::V6(address) => ((true, address.to_bits() >> 8), address.to_bits() as u8),
    }
}

fn join((is_v6, run): Run, host: u8) -> IpAddr {
    let bits = run << 8 | u128::from(host);
    if is_v6 { IpAddr::V6(bits.into()) } else { IpAddr::V4((bits as u32).into()) }
}

/// Addresses with their spots, in order.
#[derive(Debug, Default)]
pub(super) struct Spots {
    runs: HashMap<Run, Vec<(u8, Spot)>>,
    order: BTreeSet<Run>,
}

impl Spots {
    pub(super) fn get(&self, address: IpAddr) -> Option<Spot> {
        let (run, host) = split(address);
        let spots = self.runs.get(&run)?;
        Some(spots[spots.binary_search_by_key(&host, |(host, _)| *host).ok()?].1)
    }

    /// Changes what is known of an address; an address of which nothing is known takes no room.
    pub(super) fn set(&mut self, address: IpAddr, change: impl FnOnce(&mut Spot)) {
        let (run, host) = split(address);
        let order = &mut self.order;
        let spots = self.runs.entry(run).or_insert_with(|| {
            order.insert(run);
            Vec::new()
        });
        match spots.binary_search_by_key(&host, |(host, _)| *host) {
            Ok(at) => {
                change(&mut spots[at].1);
                if spots[at].1.is_bare() {
                    spots.remove(at);
                }
            }
            Err(at) => {
                let mut spot = Spot::default();
                change(&mut spot);
                if !spot.is_bare() {
                    spots.insert(at, (host, spot));
                }
            }
        }
        if spots.is_empty() {
            self.runs.remove(&run);
            self.order.remove(&run);
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpAddr, Spot)> {
        self.order.iter().flat_map(|run| self.of_run(*run))
    }

    fn of_run(&self, run: Run) -> impl Iterator<Item = (IpAddr, Spot)> {
        self.runs.get(&run).into_iter().flatten().map(move |(host, spot)| (join(run, *host), *spot))
    }

    /// Those inside a prefix.
    pub(super) fn within(&self, net: IpNet) -> impl Iterator<Item = IpAddr> {
        let runs = self.order.range(split(net.network()).0..=split(net.broadcast()).0);
        let addresses = runs.flat_map(|run| self.of_run(*run)).map(|(address, _)| address);
        addresses.filter(move |address| net.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn address() -> impl Strategy<Value = IpAddr> {
        let v4 = prop_oneof![Just(0u32), 0x0a00_00f0..0x0a00_0110u32, Just(u32::MAX)]
            .prop_map(|bits| IpAddr::V4(bits.into()));
        let v6 = prop_oneof![Just(0u128), 0x0a00_00f0..0x0a00_0110u128, Just(u128::MAX)]
            .prop_map(|bits| IpAddr::V6(bits.into()));
        prop_oneof![v4, v6]
    }

    proptest! {
        /// It is a sorted map in little room.
        #[test]
        fn spots_are_a_map(steps in prop::collection::vec((address(), prop::option::of(0u32..9)), 0..60), around in address(), length in 0u8..=32) {
            let (mut spots, mut model) = (Spots::default(), BTreeMap::new());
            for (address, entry) in steps {
                spots.set(address, |spot| spot.set_entry(entry));
                match entry {
                    Some(entry) => drop(model.insert(address, entry)),
                    None => drop(model.remove(&address)),
                }
                prop_assert_eq!(spots.get(address).and_then(Spot::entry), entry);
            }
            let all: Vec<_> = spots.iter().map(|(address, spot)| (address, spot.entry().unwrap())).collect();
            prop_assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>());
            let net = IpNet::new(around, length).unwrap();
            let inside: Vec<_> = model.into_keys().filter(|address| net.contains(address)).collect();
            prop_assert_eq!(spots.within(net).collect::<Vec<_>>(), inside);
        }
    }
}
