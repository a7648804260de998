use proptest::prelude::*;

use super::*;
use crate::model::{Affinity, Distribution, Family, Internal, PortTarget, Protocol, Traffic};

fn port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: name.into(),
        protocol: Protocol::Tcp,
        port: number,
        target: PortTarget::Number(number),
        app_protocol: String::new(),
    }
}

fn export(created_ms: u64, ports: Vec<ServicePort>) -> ServiceExport {
    ServiceExport {
        namespace: Name::new("shop").unwrap(),
        name: Name::new("web").unwrap(),
        created_ms,
        selector: [("app".to_owned(), "web".to_owned())].into(),
        ports,
        affinity: Affinity::Local,
        weight: 100,
        traits: Traits::default(),
        backends: vec![],
    }
}

fn merge_of(exports: &[ServiceExport]) -> Merged {
    let names: Vec<Name> = (0..exports.len()).map(|n| Name::new(format!("c{n}")).unwrap()).collect();
    let all: Vec<_> = (1..)
        .zip(exports)
        .zip(&names)
        .map(|((n, export), cluster_name)| Exported { cluster: Uid([n; 16]), cluster_name, export })
        .collect();
    merge(&all)
}

/// Who has which conflicts.
fn reasons(merged: &Merged) -> Vec<(u8, &str)> {
    merged.conflicts.iter().map(|conflict| (conflict.cluster.0[0], &*conflict.reason)).collect()
}

/// One line of the conformance suite's table for each thing that exports share: the oldest's counts, both say so with the
/// reason that MCS-API gives, and nobody does once they agree.
#[test]
fn the_oldest_decides_what_exports_share() {
    let labels = |value: &str| [("team".to_owned(), value.to_owned())].into();
    let traffic = |traffic| Traits { traffic, ..Traits::default() };
    let sticky = |sticky_s| traffic(Traffic { sticky_s, ..Traffic::default() });
    let cases = [
        (conflict::TYPE, Traits { headless: true, ..Traits::default() }, Traits::default()),
        (conflict::SESSION_AFFINITY, sticky(Some(10)), sticky(None)),
        (conflict::SESSION_AFFINITY_CONFIG, sticky(Some(10)), sticky(Some(20))),
        (
            conflict::INTERNAL_TRAFFIC_POLICY,
            traffic(Traffic { internal: Internal::Local, ..Traffic::default() }),
            Traits::default(),
        ),
        (
            conflict::TRAFFIC_DISTRIBUTION,
            traffic(Traffic { distribution: Some(Distribution::PreferClose), ..Traffic::default() }),
            Traits::default(),
        ),
        (
            conflict::LABELS,
            Traits { labels: labels("red"), ..Traits::default() },
            Traits { labels: labels("blue"), ..Traits::default() },
        ),
        (conflict::ANNOTATIONS, Traits { annotations: labels("red"), ..Traits::default() }, Traits::default()),
        (
            conflict::IP_FAMILY,
            Traits { families: vec![Family::V4, Family::V6], ..Traits::default() },
            Traits { families: vec![Family::V6], ..Traits::default() },
        ),
    ];
    for (reason, one, other) in cases {
        let with = |created_ms, traits: &Traits| ServiceExport {
            traits: traits.clone(),
            ..export(created_ms, vec![port("http", 80)])
        };
        for (oldest, younger) in [(&one, &other), (&other, &one)] {
            let merged = merge_of(&[with(2, younger), with(1, oldest), with(3, oldest)]);
            assert_eq!(merged.traits, *oldest, "{reason}");
            assert_eq!(reasons(&merged), [(2, reason), (1, reason)], "the oldest and the one that differs");
            assert!(merged.conflicts[0].message.contains("c0: "), "{:?}", merged.conflicts[0]);
        }
        assert_eq!(merge_of(&[with(2, &one), with(1, &one)]).conflicts, [], "it clears: {reason}");
    }
}

#[test]
fn a_port_that_speaks_something_else_conflicts() {
    let spoken = |app_protocol: &str| ServicePort { app_protocol: app_protocol.into(), ..port("http", 80) };
    let merged = merge_of(&[export(1, vec![spoken("h2c")]), export(2, vec![spoken("")])]);
    assert_eq!(reasons(&merged), [(1, conflict::PORT), (2, conflict::PORT)]);
    assert_eq!(merged.ports, [spoken("h2c")]);
}

#[test]
fn alike_exports_do_not_conflict() {
    let merged = merge_of(&[export(2, vec![port("http", 80)]), export(1, vec![port("http", 80)])]);
    assert_eq!(merged.conflicts, []);
    assert_eq!(merged.clusters, [Uid([2; 16]), Uid([1; 16])], "oldest first");
    assert_eq!(merged.ports, [port("http", 80)]);
}

#[test]
fn the_oldest_wins_a_name_and_a_number() {
    let merged = merge_of(&[
        export(1, vec![port("http", 80)]),
        export(2, vec![port("http", 8080), port("web", 80), port("metrics", 9090)]),
    ]);
    assert_eq!(merged.ports, [port("http", 80), port("metrics", 9090)], "a union but for what is taken");
    assert_eq!(reasons(&merged), [(1, conflict::PORT), (2, conflict::PORT)], "at both");
}

#[test]
fn a_missing_port_is_a_conflict_too() {
    let merged = merge_of(&[export(1, vec![port("a", 1), port("b", 2)]), export(2, vec![port("a", 1)])]);
    assert_eq!(reasons(&merged), [(1, conflict::PORT), (2, conflict::PORT)]);
    assert_eq!(merged.ports.len(), 2);
}

#[test]
fn equal_age_goes_by_the_clusters_name() {
    let merged = merge_of(&[export(1, vec![port("http", 80)]), export(1, vec![port("http", 81)])]);
    assert_eq!(merged.ports, [port("http", 80)]);
}

proptest! {
    /// The order in which exports arrive decides nothing; names and numbers stay unique.
    #[test]
    fn order_does_not_matter(
        ages in prop::collection::vec((0u64..3, prop::collection::vec((0u8..3, 1u16..4), 1..3)), 1..5),
    ) {
        let exports: Vec<_> = ages.iter().map(|(age, ports)| {
            export(*age, ports.iter().map(|(name, number)| port(&format!("p{name}"), *number)).collect())
        }).collect();
        let names: Vec<Name> = (0..exports.len()).map(|n| Name::new(format!("c{n}")).unwrap()).collect();
        let mut all: Vec<_> = (1..).zip(&exports).zip(&names)
            .map(|((n, export), cluster_name)| Exported { cluster: Uid([n; 16]), cluster_name, export }).collect();
        let merged = merge(&all);
        all.reverse();
        prop_assert_eq!(&merged, &merge(&all));
        for (n, one) in merged.ports.iter().enumerate() {
            for other in &merged.ports[n + 1..] {
                prop_assert!(one.name != other.name && one.port != other.port, "{one:?} {other:?}");
            }
        }
    }
}
