//! Addresses and prefixes: who claims them, which blocks they are in, and what the tables say about them.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;
use smallvec::SmallVec;

use super::atom::AtomId;
use crate::{
    address::Claim,
    model::{IpBlock, Key, Uid},
    policy::tables::Class,
};

/// An address that somebody claims or that has an entry.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// In ascending order: the last holds the address.
    claims: SmallVec<[Claim; 1]>,
    /// The nodes that have it, in the order of their keys: the first is who it is.
    nodes: BTreeSet<Key>,
    /// Its class in the tables.
    pub(super) entry: Option<Class>,
}

impl Place {
    /// The workload that holds the address.
    pub(super) fn holder(&self) -> Option<Uid> {
        self.claims.last().map(|claim| claim.endpoint)
    }

    /// The node that it belongs to.
    pub(super) fn node(&self) -> Option<&Key> {
        self.nodes.first()
    }

    fn is_bare(&self) -> bool {
        self.claims.is_empty() && self.nodes.is_empty() && self.entry.is_none()
    }
}

/// A prefix that the world or a policy in force speaks of.
#[derive(Debug, Default)]
pub(super) struct Prefix {
    /// How many speak of it.
    needs: u32,
    /// Its class in the tables.
    pub(super) entry: Option<Class>,
}

impl Prefix {
    /// Whether it only waits for its removal.
    pub(super) fn is_gone(&self) -> bool {
        self.needs == 0
    }
}

/// All of them, and which of them an update may have changed.
#[derive(Debug, Default)]
pub(super) struct Places {
    addresses: BTreeMap<IpAddr, Place>,
    prefixes: BTreeMap<IpNet, Prefix>,
    /// How many prefixes of each length there are, per family.
    lengths: [BTreeMap<u8, u32>; 2],
    /// The block atoms in force, by their block.
    blocks: HashMap<IpNet, Vec<(AtomId, Vec<IpNet>)>>,
    /// The clusters that say a prefix is theirs.
    homes: HashMap<IpNet, BTreeSet<Uid>>,
    touched: Vec<IpAddr>,
    touched_prefixes: BTreeSet<IpNet>,
}

fn family(net: &IpNet) -> usize {
    usize::from(matches!(net, IpNet::V6(_)))
}

impl Places {
    pub(super) fn touch(&mut self, address: IpAddr) {
        self.touched.push(address);
    }

    /// Touches the addresses and the prefixes inside a prefix, and the prefix.
    pub(super) fn touch_within(&mut self, net: IpNet) {
        self.touch_addresses_within(net);
        self.touch_prefixes_within(net);
    }

    /// Touches a prefix and those inside it.
    pub(super) fn touch_prefixes_within(&mut self, net: IpNet) {
        self.touched_prefixes.insert(net);
        let inside: Vec<_> = self.prefixes_within(net).collect();
        self.touched_prefixes.extend(inside);
    }

    /// Touches the addresses inside a prefix.
    pub(super) fn touch_addresses_within(&mut self, net: IpNet) {
        let inside: Vec<_> = self.addresses_within(net).collect();
        self.touched.extend(inside);
    }

    /// The addresses inside a prefix that somebody claims or that have an entry.
    pub(super) fn addresses_within(&self, net: IpNet) -> impl Iterator<Item = IpAddr> {
        self.addresses.range(net.network()..=net.broadcast()).map(|(address, _)| *address)
    }

    /// Touches the addresses of nodes.
    pub(super) fn touch_nodes(&mut self) {
        let nodes = self.addresses.iter().filter(|(_, place)| !place.nodes.is_empty());
        self.touched.extend(nodes.map(|(address, _)| *address));
    }

    /// Touches everything.
    pub(super) fn touch_all(&mut self) {
        self.touched.extend(self.addresses.keys());
        self.touched_prefixes.extend(self.prefixes.keys());
    }

    /// What was touched since the last time, each once.
    pub(super) fn take_touched(&mut self) -> (Vec<IpAddr>, BTreeSet<IpNet>) {
        let mut addresses = std::mem::take(&mut self.touched);
        addresses.sort_unstable();
        addresses.dedup();
        (addresses, std::mem::take(&mut self.touched_prefixes))
    }

    /// Gives back what was taken and not dealt with.
    pub(super) fn touch_again(&mut self, addresses: Vec<IpAddr>, prefixes: BTreeSet<IpNet>) {
        self.touched.extend(addresses);
        self.touched_prefixes.extend(prefixes);
    }

    pub(super) fn add_claim(&mut self, address: IpAddr, claim: Claim) {
        let claims = &mut self.addresses.entry(address).or_default().claims;
        if let Err(at) = claims.binary_search(&claim) {
            claims.insert(at, claim);
        }
        self.touch(address);
    }

    pub(super) fn remove_claim(&mut self, address: IpAddr, claim: &Claim) {
        if let Some(place) = self.addresses.get_mut(&address) {
            place.claims.retain(|each| each != claim);
        }
        self.touch(address);
    }

    pub(super) fn add_node(&mut self, address: IpAddr, key: &Key) {
        self.addresses.entry(address).or_default().nodes.insert(key.clone());
        self.touch(address);
    }

    pub(super) fn remove_node(&mut self, address: IpAddr, key: &Key) {
        if let Some(place) = self.addresses.get_mut(&address) {
            place.nodes.remove(key);
        }
        self.touch(address);
    }

    pub(super) fn place(&self, address: IpAddr) -> Option<&Place> {
        self.addresses.get(&address)
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = (IpAddr, &Place)> {
        self.addresses.iter().map(|(address, place)| (*address, place))
    }

    pub(super) fn prefixes(&self) -> impl Iterator<Item = (IpNet, &Prefix)> {
        self.prefixes.iter().map(|(net, prefix)| (*net, prefix))
    }

    pub(super) fn prefix(&self, net: IpNet) -> Option<&Prefix> {
        self.prefixes.get(&net)
    }

    /// Notes what the tables say about an address from now on.
    pub(super) fn set_entry(&mut self, address: IpAddr, entry: Option<Class>) {
        let place = self.addresses.entry(address).or_default();
        place.entry = entry;
        if place.is_bare() {
            self.addresses.remove(&address);
        }
    }

    /// Notes what the tables say about a prefix from now on.
    pub(super) fn set_prefix_entry(&mut self, net: IpNet, entry: Option<Class>) {
        let Some(prefix) = self.prefixes.get_mut(&net) else { return };
        prefix.entry = entry;
        self.forget_gone(net);
    }

    /// Forgets a prefix that nobody speaks of any more, if it has no entry.
    pub(super) fn forget_gone(&mut self, net: IpNet) {
        if !self.prefixes.get(&net).is_some_and(|prefix| prefix.is_gone() && prefix.entry.is_none()) {
            return;
        }
        self.prefixes.remove(&net);
        let lengths = &mut self.lengths[family(&net)];
        if let Some(count) = lengths.get_mut(&net.prefix_len()) {
            *count -= 1;
            if *count == 0 {
                lengths.remove(&net.prefix_len());
            }
        }
    }

    /// Forgets an address that nobody claims any more, if it has no entry.
    pub(super) fn forget_bare(&mut self, address: IpAddr) {
        if self.addresses.get(&address).is_some_and(Place::is_bare) {
            self.addresses.remove(&address);
        }
    }

    /// Speaks of a prefix.
    pub(super) fn add_prefix(&mut self, net: IpNet) {
        if !self.prefixes.contains_key(&net) {
            *self.lengths[family(&net)].entry(net.prefix_len()).or_default() += 1;
        }
        self.prefixes.entry(net).or_default().needs += 1;
        self.touched_prefixes.insert(net);
    }

    /// Speaks of it no more.
    pub(super) fn remove_prefix(&mut self, net: IpNet) {
        if let Some(prefix) = self.prefixes.get_mut(&net) {
            prefix.needs = prefix.needs.saturating_sub(1);
        }
        self.touched_prefixes.insert(net);
    }

    /// Notes that a cluster says a prefix is its own, or says so no more.
    pub(super) fn set_home(&mut self, net: IpNet, cluster: Uid, is_home: bool) {
        let homes = self.homes.entry(net).or_default();
        if is_home {
            homes.insert(cluster);
            self.add_prefix(net);
        } else {
            homes.remove(&cluster);
            self.remove_prefix(net);
        }
        self.touch_within(net);
    }

    /// The cluster whose prefix this lies in.
    pub(super) fn home(&self, net: IpNet) -> Option<Uid> {
        self.covering(net).find_map(|(net, _)| self.homes.get(&net)?.first().copied())
    }

    /// The prefixes that cover this one, itself included, longest first.
    pub(super) fn covering(&self, net: IpNet) -> impl Iterator<Item = (IpNet, &Prefix)> {
        let lengths = self.lengths[family(&net)].range(..=net.prefix_len()).rev();
        lengths.filter_map(move |(length, _)| {
            let (net, prefix) = self.prefixes.get_key_value(&IpNet::new(net.addr(), *length).ok()?.trunc())?;
            Some((*net, prefix))
        })
    }

    fn prefixes_within(&self, net: IpNet) -> impl Iterator<Item = IpNet> {
        self.prefixes.keys().filter(move |each| net.contains(*each)).copied()
    }

    /// Puts a block in force.
    pub(super) fn add_block(&mut self, atom: AtomId, block: &IpBlock) {
        self.blocks.entry(block.cidr).or_default().push((atom, block.except.clone()));
        std::iter::once(&block.cidr).chain(&block.except).for_each(|net| self.add_prefix(*net));
        self.touch_within(block.cidr);
    }

    /// Takes it out of force.
    pub(super) fn remove_block(&mut self, atom: AtomId, block: &IpBlock) {
        if let Some(atoms) = self.blocks.get_mut(&block.cidr) {
            atoms.retain(|(each, _)| *each != atom);
            if atoms.is_empty() {
                self.blocks.remove(&block.cidr);
            }
        }
        std::iter::once(&block.cidr).chain(&block.except).for_each(|net| self.remove_prefix(*net));
        self.touch_within(block.cidr);
    }

    /// The blocks in force that hold all of a prefix (which none of them divides).
    pub(super) fn blocks(&self, net: IpNet) -> impl Iterator<Item = AtomId> {
        let around = self.covering(net).filter_map(|(around, _)| self.blocks.get(&around));
        around.flatten().filter(move |(_, holes)| !holes.iter().any(|hole| hole.contains(&net))).map(|(atom, _)| *atom)
    }
}
