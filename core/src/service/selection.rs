//! Which backends a client gets, and how much of the traffic each.
//!
//! Backends stand in groups, nearest first: those of the client's cluster, of its region, the rest (or as the service's
//! affinity says). Traffic leaves a group bit by bit as it loses health, not all at once when the last backend is gone:
//! a group takes at most 1.4 times its healthy part, so it keeps everything until a good quarter of it is down, and what
//! is left goes to the next group. The factor is the one that Envoy's priority levels made common.
use std::{collections::BTreeMap, net::IpAddr};

use crate::model::{Affinity, Uid};

/// All of the traffic, in parts.
const WHOLE: u64 = 1_000_000;
/// Parts of the traffic that a group takes per part of it that is healthy, in percent.
const OVERPROVISION: u64 = 140;

/// Where a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Here {
    /// Its cluster.
    pub cluster: Uid,
    /// Its cluster's region; empty if it has none.
    pub region: String,
}

/// A workload that stands behind a service port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate<'c> {
    /// Its cluster.
    pub cluster: Uid,
    /// Its cluster's region; empty if it has none.
    pub region: &'c str,
    /// The share of its cluster among equals; 0 drains.
    pub weight: u32,
    /// Whether it may get traffic.
    pub ready: bool,
    /// How far it is, as the service's `trafficDistribution` counts: of a group that serves the nearest ones do.
    pub distance: u8,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// The share of the traffic that each candidate gets, in parts of any sum; 0 where it gets none.
///
/// Candidates that are not ready, or whose cluster drains, get nothing. Within a group, of the nearest ones, each cluster gets
/// traffic by its weight, and each of its backends the same.
#[must_use]
pub fn select(here: &Here, affinity: Affinity, candidates: &[Candidate<'_>]) -> Vec<u32> {
    let mut groups: [Group; GROUPS] = Default::default();
    for one in candidates.iter().filter(|one| one.weight > 0) {
        let group = &mut groups[group(here, affinity, one)];
        group.all += 1;
        if one.ready {
            group.ready += 1;
            if group.serving.is_empty() || one.distance < group.distance {
                (group.distance, group.serving) = (one.distance, BTreeMap::new());
            }
            if one.distance == group.distance {
                group.serving.entry(one.cluster).or_insert((u64::from(one.weight), 0)).1 += 1;
            }
        }
    }
    let mut left = WHOLE;
    for group in groups.iter_mut().filter(|group| group.all > 0) {
        group.load = (WHOLE * OVERPROVISION * group.ready / (100 * group.all)).min(left);
        left -= group.load;
    }
    let share = |one: &Candidate<'_>| {
        let group = &groups[group(here, affinity, one)];
        let serves = one.ready && one.distance == group.distance && group.load > 0;
        let Some((weight, backends)) = group.serving.get(&one.cluster).filter(|_| serves) else { return 0 };
        let weights: u64 = group.serving.values().map(|(weight, _)| weight).sum();
        // If the groups together cannot take everything, each takes more in proportion.
        let load = group.load * WHOLE / (WHOLE - left);
        u32::try_from(load * weight * 1_000 / (weights * backends)).unwrap_or(u32::MAX).max(1)
    };
    candidates.iter().map(share).collect()
}

/// Candidates that are tried together.
#[derive(Debug, Default)]
struct Group {
    /// How many there are, and how many of them are ready.
    all: u64,
    ready: u64,
    /// The distance of the nearest ready ones.
    distance: u8,
    /// Of the clusters with those: the weight and how many.
    serving: BTreeMap<Uid, (u64, u64)>,
    /// What the group takes of [`WHOLE`].
    load: u64,
}

const GROUPS: usize = 3;

/// The group that a candidate stands in, 0 is tried first.
fn group(here: &Here, affinity: Affinity, candidate: &Candidate<'_>) -> usize {
    let own = candidate.cluster == here.cluster;
    let near = !here.region.is_empty() && candidate.region == here.region;
    match affinity {
        Affinity::Local if own => 0,
        Affinity::Local if near => 1,
        Affinity::Local => 2,
        Affinity::Remote if own => 2,
        Affinity::Remote if near => 0,
        Affinity::Remote => 1,
        Affinity::None => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: u8 = 1;

    fn here() -> Here {
        Here { cluster: Uid([HERE; 16]), region: "north".into() }
    }

    fn candidate(cluster: u8, region: &'static str, ready: bool, n: u8) -> Candidate<'static> {
        let address = IpAddr::from([10, cluster, 0, n]);
        Candidate { cluster: Uid([cluster; 16]), region, weight: 100, ready, distance: 0, address, port: 80 }
    }

    /// Shares by cluster, in percent.
    fn percent(affinity: Affinity, candidates: &[Candidate<'_>]) -> [u64; 4] {
        let shares = select(&here(), affinity, candidates);
        let total: u64 = shares.iter().map(|share| u64::from(*share)).sum();
        let mut clusters = [0; 4];
        for (candidate, share) in candidates.iter().zip(&shares) {
            clusters[usize::from(candidate.cluster.0[0])] += u64::from(*share);
        }
        clusters.map(|share| (share * 100 + total / 2).checked_div(total).unwrap_or(0))
    }

    /// Cluster 1 is here, cluster 2 in the same region, cluster 3 far away; `ready` of four each.
    fn world(ready: [u8; 3]) -> Vec<Candidate<'static>> {
        let places = [(1, "north", ready[0]), (2, "north", ready[1]), (3, "south", ready[2])];
        places
            .into_iter()
            .flat_map(|(cluster, region, ready)| (0..4).map(move |n| candidate(cluster, region, n < ready, n)))
            .collect()
    }

    #[test]
    fn local_first_then_the_region_then_the_rest() {
        assert_eq!(percent(Affinity::Local, &world([4, 4, 4])), [0, 100, 0, 0]);
        assert_eq!(percent(Affinity::Local, &world([0, 4, 4])), [0, 0, 100, 0]);
        assert_eq!(percent(Affinity::Local, &world([0, 0, 4])), [0, 0, 0, 100]);
        assert_eq!(percent(Affinity::Local, &world([0, 0, 0])), [0; 4], "nobody to send to");
    }

    #[test]
    fn no_cliff_on_the_way_down() {
        assert_eq!(percent(Affinity::Local, &world([3, 4, 4])), [0, 100, 0, 0], "a quarter down is carried");
        assert_eq!(percent(Affinity::Local, &world([2, 4, 4])), [0, 70, 30, 0]);
        assert_eq!(percent(Affinity::Local, &world([1, 4, 4])), [0, 35, 65, 0]);
        assert_eq!(percent(Affinity::Local, &world([1, 1, 1])), [0, 35, 35, 30]);
        assert_eq!(percent(Affinity::Local, &world([1, 0, 0])), [0, 100, 0, 0], "who is left takes all");
    }

    #[test]
    fn other_affinities() {
        assert_eq!(percent(Affinity::Remote, &world([4, 4, 4])), [0, 0, 100, 0]);
        assert_eq!(percent(Affinity::Remote, &world([4, 0, 4])), [0, 0, 0, 100]);
        assert_eq!(percent(Affinity::Remote, &world([4, 0, 0])), [0, 100, 0, 0]);
        assert_eq!(percent(Affinity::None, &world([4, 4, 4])), [0, 33, 33, 33]);
    }

    #[test]
    fn weights_are_of_clusters_and_zero_drains() {
        let mut candidates = world([1, 4, 4]);
        for one in &mut candidates {
            one.weight = [0, 300, 100, 0][usize::from(one.cluster.0[0])];
        }
        assert_eq!(percent(Affinity::None, &candidates), [0, 75, 25, 0]);
        for one in candidates.iter_mut().filter(|one| one.cluster.0[0] == HERE) {
            one.weight = 0;
        }
        assert_eq!(percent(Affinity::Local, &candidates), [0, 0, 100, 0], "drained at home: the region serves");
    }

    #[test]
    fn the_nearest_of_a_group_serve() {
        let mut candidates = world([4, 4, 4]);
        for (number, one) in candidates.iter_mut().enumerate() {
            one.distance = u8::from(number % 4 > 0);
        }
        let shares = select(&here(), Affinity::Local, &candidates);
        assert!(shares[0] > 0 && shares[1..].iter().all(|share| *share == 0), "the near one at home: {shares:?}");
        candidates[0].ready = false;
        let shares = select(&here(), Affinity::Local, &candidates);
        assert!(
            shares[1..4].iter().all(|share| *share > 0) && shares[4..].iter().all(|share| *share == 0),
            "{shares:?}"
        );
        candidates[1..4].iter_mut().for_each(|one| one.ready = false);
        let shares = select(&here(), Affinity::Local, &candidates);
        assert!(shares[4] > 0 && shares[5..].iter().all(|share| *share == 0), "the region's near one: {shares:?}");
    }

    proptest! {
        /// Somebody who can serve gets traffic, nobody else does, and the order of the candidates decides nothing.
        #[test]
        fn only_who_can_serve(
            ones in prop::collection::vec((1u8..4, any::<bool>()), 0..12),
            weights in prop::array::uniform4(0u32..3),
            regions in prop::array::uniform4(prop::sample::select(vec!["north", "south", ""])),
            affinity in prop::sample::select(vec![Affinity::Local, Affinity::Remote, Affinity::None]),
        ) {
            let one = |n, cluster: u8, ready| {
                let place = usize::from(cluster);
                Candidate { weight: weights[place], ..candidate(cluster, regions[place], ready, n) }
            };
            let mut candidates: Vec<_> = (0..).zip(&ones).map(|(n, (cluster, ready))| one(n, *cluster, *ready)).collect();
            let mut shares = select(&here(), affinity, &candidates);
            let serves = |one: &Candidate<'_>| one.ready && one.weight > 0;
            for (one, share) in candidates.iter().zip(&shares) {
                prop_assert!(serves(one) || *share == 0, "{one:?} gets {share}");
            }
            prop_assert_eq!(candidates.iter().any(serves), shares.iter().any(|share| *share > 0));
            candidates.reverse();
            shares.reverse();
            prop_assert_eq!(shares, select(&here(), affinity, &candidates));
        }
    }
}
