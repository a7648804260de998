//! A diff as people read it: by identity, with counts by cluster.
use std::collections::BTreeMap;

use super::{
    curve::Span,
    diff::{Diff, End},
};
use crate::{
    model::{Labels, Name, Uid},
    policy::{Party, Verdict},
};

/// One end of flows, as people call it. Addresses that differ only in their family or in the networks they are in are one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom<'w> {
    /// Workloads of one identity in one cluster.
    Workloads {
        /// Where they run.
        cluster: Uid,
        /// Their namespace.
        namespace: &'w Name,
        /// The account they run as.
        service_account: &'w str,
        /// Their labels.
        labels: &'w Labels,
    },
    /// Nodes.
    Nodes {
        /// Of which cluster.
        cluster: Uid,
        /// With these labels.
        labels: &'w Labels,
        /// Whether they are meant as the workloads on them see them.
        own: bool,
    },
    /// Addresses outside the mesh, of which this is one.
    Outside(std::net::IpAddr),
}

/// Sources, destinations and ports whose flows get another verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'w> {
    /// What they get from now on.
    pub becomes: Verdict,
    /// Who sends, with the number of addresses.
    pub sources: BTreeMap<Whom<'w>, u32>,
    /// Who receives, with the number of addresses.
    pub destinations: BTreeMap<Whom<'w>, u32>,
    /// With which protocols and ports.
    pub ports: Vec<Span>,
}

/// How many pairs of a source and a destination get another verdict on some port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pairs {
    /// Become accepted.
    pub accepted: u64,
    /// Become denied.
    pub denied: u64,
}

/// A diff, grouped and counted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report<'w> {
    /// The largest first.
    pub groups: Vec<Group<'w>>,
    /// By the clusters of source and destination; `None`: outside.
    pub clusters: BTreeMap<(Option<Uid>, Option<Uid>), Pairs>,
}

impl Whom<'_> {
    /// Where it is; `None`: outside.
    #[must_use]
    pub fn cluster(&self) -> Option<Uid> {
        match self {
            Self::Workloads { cluster, .. } | Self::Nodes { cluster, .. } => Some(*cluster),
            Self::Outside(_) => None,
        }
    }
}

impl<'w> Diff<'w> {
    /// The diff by identity.
    #[must_use]
    pub fn report(&self) -> Report<'w> {
        let mut found: BTreeMap<_, [BTreeMap<Whom<'w>, u32>; 2]> = BTreeMap::new();
        for gap in &self.gaps {
            let ends = [&gap.sources, &gap.destinations].map(|ends| named(ends));
            let [sources, destinations] = [0, 1].map(|at: usize| ends[at].keys().cloned().collect::<Vec<_>>());
            let group = found.entry((gap.becomes, gap.ports.clone(), sources, destinations)).or_default();
            for (known, more) in group.iter_mut().zip(ends) {
                more.into_iter().for_each(|(whom, count)| *known.entry(whom).or_default() += count);
            }
        }
        let mut report =
            Self::counted(found.into_iter().map(|((becomes, ports, ..), [sources, destinations])| Group {
                becomes,
                sources,
                destinations,
                ports,
            }));
        report.groups.sort_by_key(|group| std::cmp::Reverse(group.sources.len() * group.destinations.len()));
        report
    }

    fn counted(groups: impl Iterator<Item = Group<'w>>) -> Report<'w> {
        let groups: Vec<_> = groups.collect();
        let mut clusters: BTreeMap<_, Pairs> = BTreeMap::new();
        for group in &groups {
            let by_cluster = |ends: &BTreeMap<Whom<'w>, u32>| {
                let mut counts: BTreeMap<Option<Uid>, u64> = BTreeMap::new();
                ends.keys().for_each(|whom| *counts.entry(whom.cluster()).or_default() += 1);
                counts
            };
            for (from, sources) in by_cluster(&group.sources) {
                for (to, destinations) in by_cluster(&group.destinations) {
                    let pairs = clusters.entry((from, to)).or_default();
                    match group.becomes {
                        Verdict::Accept => pairs.accepted += sources * destinations,
                        Verdict::Deny => pairs.denied += sources * destinations,
                    }
                }
            }
        }
        Report { groups, clusters }
    }
}

fn named<'w>(ends: &[End<'w>]) -> BTreeMap<Whom<'w>, u32> {
    let mut named = BTreeMap::new();
    for end in ends {
        let whom = match end.party {
            Party::Workload(workload) => Whom::Workloads {
                cluster: workload.cluster,
                namespace: &workload.endpoint.namespace,
                service_account: &workload.endpoint.service_account,
                labels: &workload.endpoint.labels,
            },
            Party::Node { cluster, node } => Whom::Nodes { cluster, labels: &node.labels, own: end.own_node },
            _ => Whom::Outside(end.address),
        };
        *named.entry(whom).or_default() += end.addresses;
    }
    named
}
