//! The domain `clusterset.local`: which records a name has.
//!
//! Source: the DNS specification of MCS-API (KEP-1645, version 1.0.0). A service has one name in the whole fleet; of a
//! headless one it leads to the backends themselves, each of which also has a name below that of its cluster. The name of
//! a cluster alone below a service must not exist.
use std::{collections::BTreeSet, net::IpAddr};

use super::{
    merge::offers,
    objects::{Objects, ServiceName},
    seat,
};
use crate::model::{Family, Name, Protocol, ServiceImport, ServicePort};

/// The domain.
pub const DOMAIN: &str = "clusterset.local";
/// The version of the specification, as `dns-version` answers it.
const VERSION: &str = "1.0.0";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Addresses of a family.
    Address(Family),
    /// SRV.
    Service,
    /// TXT.
    Text,
    /// Anything else: no name here has any.
    Other,
}

/// What a name has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is not in the domain.
    Elsewhere,
    /// There is no such name.
    NoName,
    /// There is; these records are what was asked for, if any, and the addresses of the names in them.
    Records {
        /// The answer.
        records: Vec<Record>,
        /// Addresses of the names that it leads to.
        addresses: Vec<(String, IpAddr)>,
    },
}

/// A record's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A or AAAA.
    Address(IpAddr),
    /// SRV.
    Service {
        /// The port.
        port: u16,
        /// The name, without the dot at the end.
        target: String,
    },
    /// TXT.
    Text(&'static str),
}

/// A ready backend of a headless service: the name of its own below the service's, its address and its port, which is 0
/// where none was asked for.
struct Member {
    label: String,
    cluster: Name,
    address: IpAddr,
    port: u16,
}

/// What a name has; in any case, with or without the dot at the end.
pub(super) fn resolve(objects: &Objects, name: &str, asked: Asked) -> Answer {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let Some(inside) = name.strip_suffix(DOMAIN) else { return Answer::Elsewhere };
    if !inside.is_empty() && !inside.ends_with('.') {
        return Answer::Elsewhere;
    }
    let labels: Vec<&str> = inside.trim_end_matches('.').rsplit('.').filter(|label| !label.is_empty()).collect();
    match labels.as_slice() {
        [] | ["svc"] => Answer::nothing(),
        ["dns-version"] => Answer::some(if asked == Asked::Text { vec![Record::Text(VERSION)] } else { vec![] }),
        ["svc", namespace] => match objects.has_imports(namespace) {
            true => Answer::nothing(),
            false => Answer::NoName,
        },
        ["svc", namespace, service, below @ ..] => {
            let name = Name::new(*namespace).ok().zip(Name::new(*service).ok());
            let found = name.and_then(|name| Some((objects.import(&name)?, name)));
            found.map_or(Answer::NoName, |(import, name)| of_service(objects, import, &name, below, asked))
        }
        _ => Answer::NoName,
    }
}

fn of_service(objects: &Objects, import: &ServiceImport, name: &ServiceName, below: &[&str], asked: Asked) -> Answer {
    let full = format!("{}.{}.svc.{DOMAIN}", name.1, name.0);
    let members = |port| if import.traits.headless { members(objects, name, port) } else { Vec::new() };
    match below {
        [] => {
            let all: Vec<IpAddr> = match import.traits.headless {
                true => members(None).into_iter().map(|member| member.address).collect(),
                false => import.vips.clone(),
            };
            match asked {
                _ if all.is_empty() => Answer::NoName,
                Asked::Service => of_all_ports(objects, import, name, &full),
                _ => Answer::some(addresses(all, asked)),
            }
        }
        [protocol] if is_protocol(import, protocol) => Answer::nothing(),
        [protocol, port] => {
            let port_name = port.strip_prefix('_');
            let is_it = |own: &&ServicePort| {
                protocol_label(own.protocol) == *protocol && Some(&*own.name) == port_name && !own.name.is_empty()
            };
            match import.ports.iter().find(is_it) {
                Some(port) if asked != Asked::Service => {
                    let is_there = !import.traits.headless || !members(Some(port)).is_empty();
                    if is_there { Answer::nothing() } else { Answer::NoName }
                }
                Some(port) => of_port(import, port, &full, members(Some(port))),
                None => {
                    // Not a port: a cluster, and one of its backends.
                    let (cluster, label) = (*protocol, *port);
                    let its = |member: &Member| member.cluster.as_str() == cluster && member.label == label;
                    let all: Vec<IpAddr> = members(None).into_iter().filter(its).map(|member| member.address).collect();
                    if all.is_empty() { Answer::NoName } else { Answer::some(addresses(all, asked)) }
                }
            }
        }
        _ => Answer::NoName,
    }
}

/// SRV: the service itself, or each of its backends.
fn of_port(import: &ServiceImport, port: &ServicePort, full: &str, members: Vec<Member>) -> Answer {
    if !import.traits.headless {
        let records = vec![Record::Service { port: port.port, target: full.to_owned() }];
        let addresses = import.vips.iter().map(|vip| (full.to_owned(), *vip)).collect();
        return Answer::Records { records, addresses };
    }
    let mut records = Vec::new();
    let mut addresses = Vec::new();
    for Member { label, cluster, address, port } in members {
        let target = format!("{label}.{cluster}.{full}");
        let record = Record::Service { port, target: target.clone() };
        if !records.contains(&record) {
            records.push(record);
        }
        addresses.push((target, address));
    }
    if records.is_empty() { Answer::NoName } else { Answer::Records { records, addresses } }
}

/// SRV of the service's own name: those of every port that has one, as Kubernetes' DNS answers it.
fn of_all_ports(objects: &Objects, import: &ServiceImport, name: &ServiceName, full: &str) -> Answer {
    let (mut records, mut addresses) = (Vec::new(), Vec::new());
    for port in import.ports.iter().filter(|port| !port.name.is_empty()) {
        let members = if import.traits.headless { members(objects, name, Some(port)) } else { Vec::new() };
        let Answer::Records { records: more, addresses: at } = of_port(import, port, full, members) else { continue };
        records.extend(more.into_iter().filter(|record| !records.contains(record)).collect::<Vec<_>>());
        addresses.extend(at.into_iter().filter(|one| !addresses.contains(one)).collect::<Vec<_>>());
    }
    Answer::Records { records, addresses }
}

/// Every ready backend of a headless service, at a port or at any.
fn members(objects: &Objects, name: &ServiceName, port: Option<&ServicePort>) -> Vec<Member> {
    let mut all = Vec::new();
    for one in objects.exports(name).filter(|(_, export)| port.is_none_or(|port| offers(export, port))) {
        let Some(cluster) = objects.cluster(one.0) else { continue };
        for family in [Family::V4, Family::V6] {
            let seats = seat::of_export(objects, one, port, family).into_values().filter(|seat| seat.ready);
            all.extend(seats.map(|seat| Member {
                label: if seat.hostname.is_empty() { dashed(seat.address) } else { seat.hostname.to_ascii_lowercase() },
                cluster: cluster.name.clone(),
                address: seat.address,
                port: seat.port,
            }));
        }
    }
    all
}

/// An address as a label, for who has no name.
fn dashed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string().replace('.', "-"),
        IpAddr::V6(address) => {
            let short = address.to_string().replace(':', "-");
            // A label may not begin or end with a dash: then every group in full.
            match short.starts_with('-') || short.ends_with('-') || short.contains('.') {
                true => address.segments().map(|group| format!("{group:04x}")).join("-"),
                false => short,
            }
        }
    }
}

fn addresses(all: Vec<IpAddr>, asked: Asked) -> Vec<Record> {
    let of_family = |address: &IpAddr| asked == Asked::Address(Family::of(*address));
    let unique: BTreeSet<IpAddr> = all.into_iter().filter(of_family).collect();
    unique.into_iter().map(Record::Address).collect()
}

/// Whether a label is a protocol below which a port has a name.
fn is_protocol(import: &ServiceImport, label: &str) -> bool {
    import.ports.iter().any(|port| !port.name.is_empty() && protocol_label(port.protocol) == label)
}

fn protocol_label(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "_tcp",
        Protocol::Udp => "_udp",
        Protocol::Sctp => "_sctp",
        Protocol::Icmp | Protocol::Icmpv6 => "",
    }
}

impl Answer {
    fn some(records: Vec<Record>) -> Self {
        Self::Records { records, addresses: Vec::new() }
    }

    /// The name is there, and has no such record.
    fn nothing() -> Self {
        Self::some(Vec::new())
    }
}
