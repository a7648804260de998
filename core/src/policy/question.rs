//! Flows as people name them: by workload or address, protocol and port.
use std::{fmt, net::IpAddr};

use super::{Flow, Target, World, tables::PortTable};
use crate::{
    manifest::suggest,
    model::{Name, Protocol, Uid},
};

/// A part of a question that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: got {got}; wanted {want}; {fix}")]
pub struct Misunderstood {
    /// Stable, for programs: `unknown_workload`, `invalid_value`, ...
    pub code: &'static str,
    /// Which part.
    pub field: String,
    /// What it was.
    pub got: String,
    /// What is wanted.
    pub want: String,
    /// How to mend it; may be empty.
    pub fix: String,
}

impl Misunderstood {
    /// A part that cannot be understood.
    #[must_use]
    pub fn new(code: &'static str, field: &str, got: &str, want: &str, fix: impl Into<String>) -> Self {
        Self { code, field: field.into(), got: got.into(), want: want.into(), fix: fix.into() }
    }
}

/// The protocols by their names in questions and answers.
pub const PROTOCOLS: [(&str, Protocol); 5] = [
    ("tcp", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("sctp", Protocol::Sctp),
    ("icmp", Protocol::Icmp),
    ("icmpv6", Protocol::Icmpv6),
];

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, number } = *self;
        let [kind, code] = number.to_be_bytes();
        match PROTOCOLS.iter().find(|(_, protocol)| PortTable::from(*protocol) == table) {
            None => write!(f, "protocol {number}"),
            Some((name, Protocol::Icmp | Protocol::Icmpv6)) => write!(f, "{name} type {kind} code {code}"),
            Some((name, _)) => write!(f, "{name} {number}"),
        }
    }
}

impl World {
    /// The flow between two ends, each `CLUSTER/NAMESPACE/WORKLOAD` or an address, with a protocol (`tcp` if empty) and
    /// port.
    ///
    /// # Errors
    /// Everything that cannot be understood: an end that is no address and no workload, ends of different families, an
    /// unknown protocol, a port out of range.
    pub fn flow(&self, from: &str, to: &str, protocol: &str, port: u32) -> Result<Flow, Vec<Misunderstood>> {
        let mut faults = Vec::new();
        let mut keep = |fault| faults.push(fault);
        let sender = self.addresses_of("from", from).map_err(&mut keep).ok();
        let receiver = self.addresses_of("to", to).map_err(&mut keep).ok();
        let protocol = protocol_named(protocol).map_err(&mut keep).ok();
        let number = u16::try_from(port).ok();
        if number.is_none() {
            let want = "0 to 65535 (for ICMP type * 256 + code)";
            keep(Misunderstood::new("out_of_range", "port", &port.to_string(), want, ""));
        }
        let pair = sender.zip(receiver).and_then(|(from, to)| same_family(&from, &to));
        if pair.is_none() && faults.is_empty() {
            let want = "two ends with an address of the same family";
            let got = format!("{from} and {to}");
            faults.push(Misunderstood::new("family", "to", &got, want, "give addresses of one family"));
        }
        match (pair, protocol, number) {
            (Some((from, to)), Some(protocol), Some(number)) if faults.is_empty() => {
                Ok(Flow { from, to, target: Target { table: protocol.into(), number } })
            }
            _ => Err(faults),
        }
    }

    /// The addresses of an end: those of the workload named, or the one given.
    ///
    /// # Errors
    /// It is neither; a similar name is suggested.
    pub fn addresses_of(&self, field: &str, text: &str) -> Result<Vec<IpAddr>, Misunderstood> {
        if let Ok(address) = text.parse() {
            return Ok(vec![address]);
        }
        let parts: Vec<_> = text.split('/').map(Name::new).collect();
        let [Ok(cluster), Ok(namespace), Ok(name)] = parts.as_slice() else {
            let want = "CLUSTER/NAMESPACE/WORKLOAD or an address";
            return Err(Misunderstood::new("invalid_value", field, text, want, "name both cluster and namespace"));
        };
        if let Some(workload) = self.workload_named(cluster, namespace, name) {
            return Ok(workload.endpoint.addresses.clone());
        }
        let names: Vec<_> = self.workloads().map(|workload| self.path(workload.uid)).collect();
        let fix = suggest(text, names.iter().map(String::as_str)).unwrap_or_else(|| "see axle endpoint list".into());
        Err(Misunderstood::new("unknown_workload", field, text, "a workload that runs", fix))
    }

    /// `cluster/namespace/workload`, by the workload's uid.
    #[must_use]
    pub fn path(&self, workload: Uid) -> String {
        let Some(workload) = self.workload(workload) else { return workload.to_string() };
        let cluster =
            self.cluster(workload.cluster).map_or_else(|| workload.cluster.to_string(), |it| it.name.to_string());
        format!("{cluster}/{}/{}", workload.endpoint.namespace, workload.endpoint.name)
    }
}

/// The protocol of that name; `tcp` if it is empty.
///
/// # Errors
/// There is none.
pub fn protocol_named(text: &str) -> Result<Protocol, Misunderstood> {
    let text = if text.is_empty() { "tcp" } else { text };
    let found = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, protocol)| *protocol);
    found.ok_or_else(|| {
        let fix = suggest(text, PROTOCOLS.iter().map(|(name, _)| *name)).unwrap_or_default();
        Misunderstood::new("invalid_value", "protocol", text, "tcp, udp, sctp, icmp or icmpv6", fix)
    })
}

/// The first pair of addresses of one family, IPv4 preferred by the order in which workloads list them.
pub(super) fn same_family(from: &[IpAddr], to: &[IpAddr]) -> Option<(IpAddr, IpAddr)> {
    from.iter().find_map(|from| to.iter().find(|to| to.is_ipv4() == from.is_ipv4()).map(|to| (*from, *to)))
}
