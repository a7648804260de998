//! Addresses and prefixes: who claims them, which blocks they are in, and what the tables say about them.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Bound,
};

use hashbrown::HashMap;
use ipnet::IpNet;

use super::{
    atom::AtomId,
    spots::{Spot, Spots},
    workloads::WorkloadId,
};
use crate::{
    address::Claim,
    model::{IpBlock, Key, Uid},
    policy::tables::Class,
};

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
    spots: Spots,
    /// The claims to addresses that several workloads claim, in ascending order: the last holds the address.
    rivals: HashMap<IpAddr, Vec<(Claim, WorkloadId)>>,
    /// The nodes that have an address, in the order of their keys: the first is who it is.
    nodes: BTreeMap<IpAddr, BTreeSet<Key>>,
    /// The services of the node's cluster that have an address.
    services: BTreeMap<IpAddr, BTreeSet<Key>>,
    prefixes: BTreeMap<IpNet, Prefix>,
    /// How many prefixes of each length there are, per family.
    lengths: [BTreeMap<u8, u32>; 2],
    /// The block atoms in force, by their block.
    blocks: HashMap<IpNet, Vec<(AtomId, Vec<IpNet>)>>,
    /// The clusters that say a prefix is theirs.
    homes: HashMap<IpNet, BTreeSet<Uid>>,
    touched: Vec<IpAddr>,
    touched_prefixes: BTreeSet<IpNet>,
    /// The workloads all of whose addresses were touched, so that nobody does so twice.
    touched_workloads: Vec<WorkloadId>,
    is_touched: Vec<bool>,
}

fn remove(index: &mut BTreeMap<IpAddr, BTreeSet<Key>>, address: IpAddr, key: &Key) {
    if let Some(keys) = index.get_mut(&address)
        && keys.remove(key)
        && keys.is_empty()
    {
        index.remove(&address);
    }
}

fn family(net: &IpNet) -> usize {
    usize::from(matches!(net, IpNet::V6(_)))
}

impl Places {
    pub(super) fn touch(&mut self, address: IpAddr) {
        self.touched.push(address);
    }

    /// Touches a workload's addresses, asked for only if that is news.
    pub(super) fn touch_workload<'a>(&mut self, id: WorkloadId, addresses: impl FnOnce() -> Option<&'a [IpAddr]>) {
        let at = id as usize;
        if self.is_touched.len() <= at {
            self.is_touched.resize(at + 1, false);
        }
        if !std::mem::replace(&mut self.is_touched[at], true) {
            self.touched_workloads.push(id);
            self.touched.extend(addresses().into_iter().flatten());
        }
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
        let nodes = self.nodes.range(net.network()..=net.broadcast()).map(|(address, _)| *address);
        let services = self.services.range(net.network()..=net.broadcast()).map(|(address, _)| *address);
        self.spots.within(net).chain(nodes).chain(services)
    }

    /// Touches the addresses of nodes.
    pub(super) fn touch_nodes(&mut self) {
        self.touched.extend(self.nodes.keys());
    }

    /// Touches everything.
    pub(super) fn touch_all(&mut self) {
        self.touched.extend(self.spots.iter().map(|(address, _)| address));
        self.touched.extend(self.nodes.keys().chain(self.services.keys()));
        self.touched_prefixes.extend(self.prefixes.keys());
    }

    /// What was touched since the last time, each once.
    pub(super) fn take_touched(&mut self) -> (Vec<IpAddr>, BTreeSet<IpNet>) {
        let mut addresses = std::mem::take(&mut self.touched);
        addresses.sort_unstable();
        addresses.dedup();
        for id in self.touched_workloads.drain(..) {
            self.is_touched[id as usize] = false;
        }
        (addresses, std::mem::take(&mut self.touched_prefixes))
    }

    /// Gives back what was taken and not dealt with.
    pub(super) fn touch_again(&mut self, addresses: Vec<IpAddr>, prefixes: BTreeSet<IpNet>) {
        self.touched.extend(addresses);
        self.touched_prefixes.extend(prefixes);
    }

    /// Notes a claim; `other` knows those of other workloads.
    pub(super) fn add_claim(
        &mut self,
        address: IpAddr,
        (id, claim): (WorkloadId, Claim),
        other: impl FnOnce(WorkloadId) -> Option<Claim>,
    ) {
        self.touch(address);
        let mut holder = None;
        self.spots.set(address, |spot| {
            holder = spot.holder();
            spot.set_holder(holder.or(Some(id)));
        });
        let Some(holder) = holder else { return };
        let claims = self.rivals.entry(address).or_default();
        if claims.is_empty() {
            claims.extend(other(holder).map(|claim| (claim, holder)));
        }
        if claims.iter().all(|(_, each)| *each != id) {
            claims.push((claim, id));
            claims.sort_unstable();
        }
        let holder = claims.last().map_or(id, |(_, holder)| *holder);
        self.settle_claims(address, Some(holder));
    }

    /// Takes a workload's claim back.
    pub(super) fn remove_claim(&mut self, address: IpAddr, id: WorkloadId) {
        self.touch(address);
        let Some(holder) = self.spot(address).holder() else { return };
        let holder = match self.rivals.get_mut(&address) {
            None => Some(holder).filter(|holder| *holder != id),
            Some(claims) => {
                claims.retain(|(_, each)| *each != id);
                claims.last().map(|(_, holder)| *holder)
            }
        };
        self.settle_claims(address, holder);
    }

    fn settle_claims(&mut self, address: IpAddr, holder: Option<WorkloadId>) {
        self.spots.set(address, |spot| spot.set_holder(holder));
        if self.rivals.get(&address).is_some_and(|claims| claims.len() < 2) {
            self.rivals.remove(&address);
        }
    }

    pub(super) fn add_node(&mut self, address: IpAddr, key: &Key) {
        self.nodes.entry(address).or_default().insert(key.clone());
        self.touch(address);
    }

    pub(super) fn remove_node(&mut self, address: IpAddr, key: &Key) {
        remove(&mut self.nodes, address, key);
        self.touch(address);
    }

    pub(super) fn add_service(&mut self, address: IpAddr, key: &Key) {
        self.services.entry(address).or_default().insert(key.clone());
        self.touch(address);
    }

    pub(super) fn remove_service(&mut self, address: IpAddr, key: &Key) {
        remove(&mut self.services, address, key);
        self.touch(address);
    }

    /// Whether a service of the node's cluster has this address.
    pub(super) fn is_of_service(&self, address: IpAddr) -> bool {
        self.services.contains_key(&address)
    }

    /// What is known of an address.
    pub(super) fn spot(&self, address: IpAddr) -> Spot {
        self.spots.get(address).unwrap_or_default()
    }

    /// The node that an address belongs to.
    pub(super) fn node(&self, address: IpAddr) -> Option<&Key> {
        self.nodes.get(&address)?.first()
    }

    /// The addresses that have an entry.
    pub(super) fn entries(&self) -> impl Iterator<Item = (IpAddr, Class)> {
        self.spots.iter().filter_map(|(address, spot)| Some((address, spot.entry()?)))
    }

    pub(super) fn prefixes(&self) -> impl Iterator<Item = (IpNet, &Prefix)> {
        self.prefixes.iter().map(|(net, prefix)| (*net, prefix))
    }

    pub(super) fn prefix(&self, net: IpNet) -> Option<&Prefix> {
        self.prefixes.get(&net)
    }

    /// Notes what the tables say about an address from now on.
    pub(super) fn set_entry(&mut self, address: IpAddr, entry: Option<Class>) {
        self.spots.set(address, |spot| spot.set_entry(entry));
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

    /// The last address from this on that no prefix divides from it, where `innermost` is the longest prefix around it.
    pub(super) fn end_of_run(&self, address: IpAddr, innermost: Option<IpNet>) -> IpAddr {
        let beyond = (Bound::Excluded(IpNet::from(address)), Bound::Unbounded);
        let next = self.prefixes.range(beyond).map(|(net, _)| net.network()).next();
        let before = next.and_then(|next| match (address, next) {
            (IpAddr::V4(_), IpAddr::V4(next)) => Some(IpAddr::V4((next.to_bits() - 1).into())),
            (IpAddr::V6(_), IpAddr::V6(next)) => Some(IpAddr::V6((next.to_bits() - 1).into())),
            _ => None,
        });
        let end = innermost.map_or(address, |net| net.broadcast());
        before.map_or(end, |before| before.min(end))
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
