//! How clients of a service are led to its backends.
use axle_core::model::{Affinity, Distribution, Family, Internal, Traffic, Traits};

use crate::{
    convert::{
        Invalid,
        invalid::Within,
        scalar::{known, unspecified},
    },
    v1,
};

/// `None` where it is unspecified.
pub(crate) fn affinity(at: &str, number: i32) -> Result<Option<Affinity>, Invalid> {
    Ok(match known(at, number)? {
        v1::Affinity::Local => Some(Affinity::Local),
        v1::Affinity::Remote => Some(Affinity::Remote),
        v1::Affinity::None => Some(Affinity::None),
        v1::Affinity::Unspecified => None,
    })
}

pub(crate) fn affinity_to_wire(affinity: Affinity) -> v1::Affinity {
    match affinity {
        Affinity::Local => v1::Affinity::Local,
        Affinity::Remote => v1::Affinity::Remote,
        Affinity::None => v1::Affinity::None,
    }
}

impl TryFrom<v1::Traffic> for Traffic {
    type Error = Invalid;
    fn try_from(wire: v1::Traffic) -> Result<Self, Invalid> {
        if wire.sticky_s == Some(0) {
            return Err(Invalid::new("sticky_s", 0, "at least one second, or nothing"));
        }
        Ok(Self {
            sticky_s: wire.sticky_s,
            internal: match known("internal", wire.internal)? {
                v1::InternalTraffic::Unspecified | v1::InternalTraffic::Cluster => Internal::Cluster,
                v1::InternalTraffic::Local => Internal::Local,
            },
            distribution: match known("distribution", wire.distribution)? {
                v1::TrafficDistribution::Unspecified => None,
                v1::TrafficDistribution::PreferClose => Some(Distribution::PreferClose),
                v1::TrafficDistribution::PreferSameZone => Some(Distribution::PreferSameZone),
                v1::TrafficDistribution::PreferSameNode => Some(Distribution::PreferSameNode),
            },
        })
    }
}

/// Nothing where nothing is asked for, as writers of before have it.
pub(crate) fn traffic_to_wire(traffic: &Traffic) -> Option<v1::Traffic> {
    let distribution = match traffic.distribution {
        None => v1::TrafficDistribution::Unspecified,
        Some(Distribution::PreferClose) => v1::TrafficDistribution::PreferClose,
        Some(Distribution::PreferSameZone) => v1::TrafficDistribution::PreferSameZone,
        Some(Distribution::PreferSameNode) => v1::TrafficDistribution::PreferSameNode,
    };
    let internal = match traffic.internal {
        Internal::Cluster => v1::InternalTraffic::Unspecified,
        Internal::Local => v1::InternalTraffic::Local,
    };
    let wire = v1::Traffic { sticky_s: traffic.sticky_s, internal: internal.into(), distribution: distribution.into() };
    (*traffic != Traffic::default()).then_some(wire)
}

impl TryFrom<v1::ServiceTraits> for Traits {
    type Error = Invalid;
    fn try_from(wire: v1::ServiceTraits) -> Result<Self, Invalid> {
        let mut families = Vec::new();
        for (i, number) in wire.families.into_iter().enumerate() {
            let at = format!("families[{i}]");
            let family = match known(&at, number)? {
                v1::IpFamily::V4 => Family::V4,
                v1::IpFamily::V6 => Family::V6,
                v1::IpFamily::Unspecified => return Err(unspecified::<v1::IpFamily>(&at)),
            };
            if families.contains(&family) {
                return Err(Invalid::new(at, "a family a second time", "each only once"));
            }
            families.push(family);
        }
        Ok(Self {
            headless: wire.headless,
            traffic: wire.traffic.map(TryInto::try_into).transpose().within("traffic")?.unwrap_or_default(),
            families,
            labels: wire.labels,
            annotations: wire.annotations,
        })
    }
}

/// Nothing where there are none, as writers of before have it.
pub(crate) fn traits_to_wire(traits: &Traits) -> Option<v1::ServiceTraits> {
    let family = |family: &Family| match family {
        Family::V4 => v1::IpFamily::V4.into(),
        Family::V6 => v1::IpFamily::V6.into(),
    };
    let wire = v1::ServiceTraits {
        headless: traits.headless,
        traffic: traffic_to_wire(&traits.traffic),
        families: traits.families.iter().map(family).collect(),
        labels: traits.labels.clone(),
        annotations: traits.annotations.clone(),
    };
    (*traits != Traits::default()).then_some(wire)
}
