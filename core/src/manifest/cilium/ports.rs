//! Ports, ICMP, and what is above them.
use std::str::FromStr;

use super::{
    super::{
        Violation,
        ports::is_port_name,
        reader::{At, Map},
    },
    Importer,
};
use crate::model::{PortMatch, Ports, Protocol};

const TRANSPORTS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// Names of ICMP types, for IPv4 and IPv6.
const TYPES: [(&str, Option<u8>, Option<u8>); 6] = [
    ("EchoReply", Some(0), Some(129)),
    ("DestinationUnreachable", Some(3), Some(1)),
    ("Redirect", Some(5), Some(137)),
    ("EchoRequest", Some(8), Some(128)),
    ("TimeExceeded", Some(11), Some(3)),
    ("ParameterProblem", Some(12), Some(4)),
];

impl Importer<'_> {
    /// The ports of a rule; `None` if none of them can be said here. An empty list is as none: every port.
    pub(super) fn ports(&mut self, map: &Map<'_>, side: &str) -> Option<Ports> {
        let (to_ports, icmps) = (map.optional("toPorts"), map.optional("icmps"));
        if to_ports.is_some() && icmps.is_some() {
            let violation = map.at.violation("toPorts and icmps", "one of them");
            self.faults.add(Violation { fix: "write two rules, as Cilium wants it".into(), ..violation });
        }
        let [to_ports, icmps] = [to_ports, icmps].map(|at| at.map_or(Some(Vec::new()), |at| at.list(self.faults)));
        let (to_ports, icmps) = (to_ports?, icmps?);
        if to_ports.is_empty() && icmps.is_empty() {
            return Some(Ports::Any);
        }
        let mut ports = Vec::new();
        to_ports.iter().for_each(|item| ports.extend(self.port_rule(item, side).unwrap_or_default()));
        icmps.iter().for_each(|item| ports.extend(self.icmp_rule(item).unwrap_or_default()));
        (!ports.is_empty()).then_some(Ports::Of(ports))
    }

    /// One item of `toPorts`.
    fn port_rule(&mut self, at: &At<'_>, side: &str) -> Option<Vec<PortMatch>> {
        let map = at.map(self.faults)?;
        let items = map.optional("ports").map_or(Some(Vec::new()), |at| at.list(self.faults));
        let rules = map.optional("rules").filter(|at| !is_every_name(at));
        let above = ["terminatingTLS", "originatingTLS", "serverNames", "listener"].map(|key| map.optional(key));
        map.finish(self.faults);
        let items = self.some(at, items?);
        let whole = rules.is_none() && above.iter().all(Option::is_none);
        if let Some(at) = rules {
            self.lose_restriction(&at, "rules of the application layer: the ports that they are about are left out");
        }
        for at in above.into_iter().flatten() {
            self.lose_restriction(&at, "it needs a proxy: the ports that it is about are left out");
        }
        let ports = items.iter().flat_map(|item| self.port(item, side).unwrap_or_default()).collect();
        whole.then_some(ports)
    }

    /// The items of a list; of none, nothing can be said.
    fn some<'n>(&mut self, at: &At<'_>, items: Vec<At<'n>>) -> Vec<At<'n>> {
        if items.is_empty() {
            self.lose(at, "it names none: leave it out if every port is meant");
        }
        items
    }

    fn port(&mut self, at: &At<'_>, side: &str) -> Option<Vec<PortMatch>> {
        let map = at.map(self.faults)?;
        let port_at = map.required("port", self.faults);
        let last_at = map.optional("endPort");
        let protocol = map.optional("protocol").map_or(Some("ANY"), |at| at.text(self.faults));
        map.finish(self.faults);
        let (port_at, protocol) = (port_at?, protocol?);
        let text = port_at.scalar(self.faults)?.to_ascii_lowercase();
        let last = last_at.as_ref().map_or(Some(0), |at| at.integer(0..=u16::MAX, self.faults))?;
        let (number, is_name) = (number::<u16>(&text), is_port_name(&text));
        if number.is_none() && !is_name {
            let fix = "write a number without zeros before it, or a name of letters, digits and single '-' inside";
            port_at.invalid("a port from 0 to 65535, or a port's name", fix, self.faults);
            return None;
        }
        if last > 0 && number.is_none_or(|first| first == 0 || first > last) {
            at.invalid(
                "an endPort not before the port, which is a number from 1",
                "mend or remove endPort",
                self.faults,
            );
            return None;
        }
        let protocols = match protocol.to_ascii_uppercase().as_str() {
            "" | "ANY" => TRANSPORTS.to_vec(),
            "TCP" => vec![Protocol::Tcp],
            "UDP" => vec![Protocol::Udp],
            "SCTP" => vec![Protocol::Sctp],
            _ => {
                self.lose(at, format!("the protocol {protocol:?} is none of TCP, UDP and SCTP"));
                return None;
            }
        };
        if self.denies && number == Some(0) && protocols.len() > 1 {
            self.lose(at, "every port of every protocol: leave toPorts out to say it");
        }
        if self.denies && is_name && side == "to" {
            self.lose(at, "there a name stands for every number that any workload gives it: write the numbers");
        }
        let port = |protocol| match number {
            Some(0) => PortMatch::Protocol(protocol),
            Some(first) => PortMatch::Range { protocol, first, last: last.max(first) },
            None => PortMatch::Named { protocol: Some(protocol), name: text.clone() },
        };
        Some(protocols.into_iter().map(port).collect())
    }

    fn icmp_rule(&mut self, at: &At<'_>) -> Option<Vec<PortMatch>> {
        let map = at.map(self.faults)?;
        let items = map.required("fields", self.faults).and_then(|at| at.list(self.faults));
        map.finish(self.faults);
        let items = self.some(at, items?);
        Some(items.iter().filter_map(|item| self.icmp(item)).collect())
    }

    fn icmp(&mut self, at: &At<'_>) -> Option<PortMatch> {
        let map = at.map(self.faults)?;
        let families = [("IPv4", Protocol::Icmp), ("IPv6", Protocol::Icmpv6)];
        let family = map.optional("family").map_or(Some(Protocol::Icmp), |at| at.choice(&families, self.faults));
        let kind = map.required("type", self.faults).and_then(|at| at.scalar(self.faults));
        map.finish(self.faults);
        let (protocol, kind) = (family?, kind?);
        let named = TYPES.iter().find(|(name, ..)| *name == kind);
        let named = named.and_then(|(_, v4, v6)| if protocol == Protocol::Icmp { *v4 } else { *v6 });
        match number(&kind).or(named) {
            Some(kind) => Some(PortMatch::IcmpType { protocol, kind, code: None }),
            None => {
                self.lose(at, format!("the ICMP type {kind:?} is not known here by this name: give its number"));
                None
            }
        }
    }
}

/// A number as everybody reads it: digits, without zeros before them (with which Cilium reads an octal one).
fn number<T: FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// Whether rules of the application layer only say that DNS may ask for every name, which is no restriction.
fn is_every_name(at: &At<'_>) -> bool {
    let faults = &mut super::super::reader::Faults::default();
    let Some(map) = at.map(faults) else { return false };
    let names = map.optional("dns").and_then(|at| at.list(faults)).unwrap_or_default();
    let mut every = names.iter().map(|item| {
        let pattern = item.map(&mut Default::default())?.optional("matchPattern")?;
        Some(pattern.text(&mut Default::default())? == "*")
    });
    let only = map.entries().all(|(key, _)| key == "dns");
    only && (map.entries().next().is_none() || every.any(|every| every == Some(true)))
}
