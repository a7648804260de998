//! Exports of one namespaced name merge into one import.
//!
//! Source: MCS-API (KEP-1645): the oldest export wins, ports are a union by name and by (protocol, number), and traffic
//! for a port goes only to clusters that offer it.
use crate::model::{Name, ServiceConflict, ServiceExport, ServicePort, Uid};

/// The reason of a conflict of ports, as MCS-API names it.
pub const PORT_CONFLICT: &str = "PortConflict";

/// One cluster's export.
#[derive(Debug, Clone, Copy)]
pub struct Exported<'e> {
    /// The cluster's uid.
    pub cluster: Uid,
    /// The cluster's name: decides between exports of equal age.
    pub cluster_name: &'e Name,
    /// The export.
    pub export: &'e ServiceExport,
}

/// What an import takes from its exports.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Merged {
    /// The union of the ports, the oldest export's first.
    pub ports: Vec<ServicePort>,
    /// The exporting clusters, oldest export first.
    pub clusters: Vec<Uid>,
    /// Where an export differs from the older ones, in the same order.
    pub conflicts: Vec<ServiceConflict>,
}

/// Merges the exports of one service, given in any order.
#[must_use]
pub fn merge(exports: &[Exported<'_>]) -> Merged {
    let mut exports = exports.to_vec();
    exports.sort_by_key(|one| (one.export.created_ms, one.cluster_name, one.cluster));
    let mut merged = Merged::default();
    for one in &exports {
        let first = merged.clusters.is_empty();
        let mut differences = Vec::new();
        let missing = merged.ports.iter().filter(|port| !offers(one.export, port)).count();
        for port in &one.export.ports {
            let taken = merged.ports.iter().find(|other| other.name == port.name || number(other) == number(port));
            match taken {
                Some(same) if same.name == port.name && number(same) == number(port) => {}
                Some(other) => {
                    differences.push(format!("port {} is {} in an older export", show(port), show(other)));
                }
                None if first => merged.ports.push(port.clone()),
                None => {
                    differences.push(format!("port {} is in no older export", show(port)));
                    merged.ports.push(port.clone());
                }
            }
        }
        if differences.is_empty() && missing > 0 {
            differences.push(format!("{missing} of the older exports' ports are not offered here"));
        }
        if !differences.is_empty() {
            let reason = PORT_CONFLICT.to_owned();
            let message = differences.join("; ");
            merged.conflicts.push(ServiceConflict { cluster: one.cluster, reason, message });
        }
        merged.clusters.push(one.cluster);
    }
    merged
}

/// Whether an export offers this port of the import: same name, same protocol, same number.
pub(super) fn offers(export: &ServiceExport, port: &ServicePort) -> bool {
    export.ports.iter().any(|own| own.name == port.name && number(own) == number(port))
}

fn number(port: &ServicePort) -> (crate::model::Protocol, u16) {
    (port.protocol, port.port)
}

fn show(port: &ServicePort) -> String {
    format!("{:?} ({:?} {})", port.name, port.protocol, port.port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Affinity, PortTarget, Protocol};

    fn port(name: &str, number: u16) -> ServicePort {
        ServicePort { name: name.into(), protocol: Protocol::Tcp, port: number, target: PortTarget::Number(number) }
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
        assert_eq!(merged.conflicts.len(), 1);
        assert_eq!((merged.conflicts[0].cluster, &*merged.conflicts[0].reason), (Uid([2; 16]), PORT_CONFLICT));
    }

    #[test]
    fn a_missing_port_is_a_conflict_too() {
        let merged = merge_of(&[export(1, vec![port("a", 1), port("b", 2)]), export(2, vec![port("a", 1)])]);
        assert_eq!(merged.conflicts.len(), 1);
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
}
