//! Addresses that policy cannot tell apart.
//!
//! Everything that a selector or a block can ask of an address is in its [`Likeness`]; addresses of one likeness are one
//! class, and what policy says to one of a class it says to all.
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Survey;
use crate::{
    model::{Labels, Name, NamedPort, Peer, Peers, Policy, Uid},
    policy::world::{Party, Workload},
};

/// A class of addresses.
#[derive(Debug, Clone)]
pub(super) struct Class<'w> {
    /// One of them.
    pub(super) address: IpAddr,
    /// Who is there.
    pub(super) party: Party<'w>,
    /// Whether this is how the workloads of a node see it, or how everybody else does. `false` but for nodes.
    pub(super) own_node: bool,
    /// How many addresses of workloads and nodes there are.
    pub(super) count: u32,
    /// The nets among [`Nets`] that they are in.
    pub(super) nets: Vec<IpNet>,
    /// Of workloads: the workloads, as far as they are few.
    pub(super) workloads: Few<Uid>,
    /// Of workloads: where they run; of nodes: their names.
    pub(super) nodes: BTreeSet<(Uid, &'w Name)>,
}

/// The only one, or more than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Few<T> {
    One(T),
    Many,
}

impl Class<'_> {
    /// The workload that policy judges here.
    pub(super) fn subject(&self) -> Option<Workload<'_>> {
        match self.party {
            Party::Workload(workload) => Some(workload),
            _ => None,
        }
    }

    pub(super) fn is_v4(&self) -> bool {
        self.address.is_ipv4()
    }
}

/// All that policy can ask of an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Likeness<'w> {
    who: Who<'w>,
    is_v4: bool,
    nets: Vec<IpNet>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Who<'w> {
    Workload { cluster: Uid, namespace: &'w Name, account: &'w str, labels: &'w Labels, ports: &'w [NamedPort] },
    Node { cluster: Uid, labels: &'w Labels, own: bool },
    Outside { names: Vec<&'w str> },
}

/// The networks that rules speak of.
#[derive(Debug, Default)]
pub(super) struct Nets {
    all: HashSet<IpNet>,
    lengths: BTreeSet<(bool, u8)>,
}

impl Nets {
    /// Every network of the policies' rules, holes included.
    pub(super) fn of<'p>(policies: impl Iterator<Item = &'p Policy>) -> Self {
        let mut nets = Self::default();
        for rule in policies.flat_map(|policy| policy.ingress.iter().chain(&policy.egress).flatten()) {
            let Peers::Of(peers) = &rule.peers else { continue };
            for peer in peers {
                let Peer::Networks(blocks) = peer else { continue };
                for net in blocks.iter().flat_map(|block| std::iter::once(&block.cidr).chain(&block.except)) {
                    nets.all.insert(*net);
                    nets.lengths.insert((net.addr().is_ipv4(), net.prefix_len()));
                }
            }
        }
        nets
    }

    /// Those that the address is in, the widest first.
    pub(super) fn around(&self, address: IpAddr) -> Vec<IpNet> {
        let of_family = self.lengths.iter().filter(|(is_v4, _)| *is_v4 == address.is_ipv4());
        let cut = |(_, length): &(bool, u8)| IpNet::new(address, *length).ok().map(|net| net.trunc());
        of_family.filter_map(cut).filter(|net| self.all.contains(net)).collect()
    }

    /// An address of every region that the nets and `others` cut the addresses into, and more.
    fn probes(&self, others: impl Iterator<Item = IpNet>) -> BTreeSet<IpAddr> {
        let everything = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        let all = self.all.iter().copied().chain(others).chain(everything);
        // A region begins where a net does, or where one within it has just ended.
        all.flat_map(|net| [Some(net.network()), after(net.broadcast())]).flatten().collect()
    }
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|bits| IpAddr::V6(bits.into())),
    }
}

/// The classes of every workload, node and region outside, in an order that does not depend on anything but them.
/// Workloads whose namespace is not known are in none: nothing is known of them that policy could judge.
pub(super) fn classes<'w>(survey: &Survey<'w>, nets: &Nets) -> Vec<Class<'w>> {
    let mut found: BTreeMap<Likeness<'w>, Class<'w>> = BTreeMap::new();
    let fleet = survey.world.fleet();
    let ranges = fleet.map(|fleet| [IpNet::V4(fleet.vip4), IpNet::V6(fleet.vip6)]);
    let prefixes = survey.world.clusters().flat_map(|(_, cluster)| cluster.prefixes.iter().copied());
    let known = survey.nodes.keys().chain(survey.claims.keys());
    let hosts = survey.nodes.keys().map(|address| IpNet::from(*address));
    let probes = nets.probes(ranges.into_iter().flatten().chain(prefixes).chain(hosts));
    let named = survey.world.named_addresses();
    // Once each: a probe can be a workload's address too, and that is counted.
    let addresses: BTreeSet<IpAddr> = known.copied().chain(named).chain(probes).collect();
    for address in addresses {
        let party = survey.party(address, None);
        let nets = nets.around(address);
        let mut add = |who, own_node| {
            let likeness = Likeness { who, is_v4: address.is_ipv4(), nets: nets.clone() };
            found.entry(likeness).or_insert_with(|| Class::new(address, party, own_node, nets.clone())).take(party);
        };
        match party {
            Party::Workload(workload) => add(Who::workload(workload), false),
            Party::Node { cluster, node } => {
                for own in [false, true] {
                    add(Who::Node { cluster, labels: &node.labels, own }, own);
                }
            }
            Party::Outside => add(Who::Outside { names: survey.world.domain_names(address).collect() }, false),
            Party::Unresolved { .. } | Party::ServiceAddress | Party::ClusterService | Party::UnknownCluster => {}
        }
    }
    found.into_values().collect()
}

impl<'w> Who<'w> {
    fn workload(workload: Workload<'w>) -> Self {
        let endpoint = workload.endpoint;
        Self::Workload {
            cluster: workload.cluster,
            namespace: &endpoint.namespace,
            account: &endpoint.service_account,
            labels: &endpoint.labels,
            ports: &endpoint.named_ports,
        }
    }
}

impl<'w> Class<'w> {
    fn new(address: IpAddr, party: Party<'w>, own_node: bool, nets: Vec<IpNet>) -> Self {
        let workloads = match party {
            Party::Workload(workload) => Few::One(workload.uid),
            _ => Few::Many,
        };
        Self { address, party, own_node, count: 0, nets, workloads, nodes: BTreeSet::new() }
    }

    /// One more address with this party.
    fn take(&mut self, party: Party<'w>) {
        self.count += 1;
        match party {
            Party::Workload(workload) => {
                self.nodes.insert((workload.cluster, &workload.endpoint.node));
                if self.workloads != Few::One(workload.uid) {
                    self.workloads = Few::Many;
                }
            }
            Party::Node { cluster, node } => {
                self.nodes.insert((cluster, &node.name));
            }
            _ => {}
        }
    }
}
