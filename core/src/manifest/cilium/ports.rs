//! Ports, ICMP, and what is above them.
use super::{
    super::{
        Violation,
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
    pub(super) fn ports(&mut self, map: &Map<'_>) -> Option<Ports> {
        let (to_ports, icmps) = (map.optional("toPorts"), map.optional("icmps"));
        if to_ports.is_some() && icmps.is_some() {
            let violation = map.at.violation("toPorts and icmps", "one of them");
            self.faults.add(Violation { fix: "write two rules, as Cilium wants it".into(), ..violation });
        }
        let [to_ports, icmps] = [to_ports, icmps].map(|at| at.map_or(Some(Vec::new()), |at| at.list(self.faults)));
        let (to_ports, icmps) = (to_ports?, icmps?);
        let mut ports = Vec::new();
        let mut any = to_ports.is_empty() && icmps.is_empty();
        for item in to_ports {
            match self.port_rule(&item) {
                Some(each) if each.is_empty() => any = true,
                each => ports.extend(each.unwrap_or_default()),
            }
        }
        for item in icmps {
            ports.extend(self.icmp_rule(&item).unwrap_or_default());
        }
        if any { Some(Ports::Any) } else { (!ports.is_empty()).then_some(Ports::Of(ports)) }
    }

    /// One item of `toPorts`; empty: every port.
    fn port_rule(&mut self, at: &At<'_>) -> Option<Vec<PortMatch>> {
        let map = at.map(self.faults)?;
        let items = map.optional("ports").map_or(Some(Vec::new()), |at| at.list(self.faults));
        let rules = map.optional("rules");
        let above = ["terminatingTLS", "originatingTLS", "serverNames", "listener"].map(|key| map.optional(key));
        map.finish(self.faults);
        let mut lost = false;
        if let Some(at) = rules.filter(|at| !is_every_name(at)) {
            self.lose(&at, "rules of the application layer: the ports that they are about are left out");
            lost = true;
        }
        for at in above.into_iter().flatten() {
            self.lose(&at, "it needs a proxy: the ports that it is about are left out");
            lost = true;
        }
        let items = items?;
        let ports = items.iter().flat_map(|item| self.port(item).unwrap_or_default()).collect::<Vec<_>>();
        (!lost && (items.is_empty() || !ports.is_empty())).then_some(ports)
    }

    fn port(&mut self, at: &At<'_>) -> Option<Vec<PortMatch>> {
        let map = at.map(self.faults)?;
        let number = map.required("port", self.faults).and_then(|at| at.scalar(self.faults));
        let last = map.optional("endPort").map_or(Some(None), |at| at.integer(0..=u16::MAX, self.faults).map(Some));
        let protocol = map.optional("protocol").map_or(Some("ANY"), |at| at.text(self.faults));
        map.finish(self.faults);
        let (number, last, protocol) = (number?, last?.filter(|last| *last > 0), protocol?);
        let protocols = match protocol.to_ascii_uppercase().as_str() {
            "ANY" => TRANSPORTS.to_vec(),
            "TCP" => vec![Protocol::Tcp],
            "UDP" => vec![Protocol::Udp],
            "SCTP" => vec![Protocol::Sctp],
            _ => {
                self.lose(at, format!("the protocol {protocol:?} is none of TCP, UDP and SCTP"));
                return None;
            }
        };
        let port = |protocol| match number.parse::<u16>() {
            Ok(0) => PortMatch::Protocol(protocol),
            Ok(first) => PortMatch::Range { protocol, first, last: last.unwrap_or(first) },
            Err(_) => PortMatch::Named { protocol: Some(protocol), name: number.clone() },
        };
        let ports: Vec<_> = protocols.into_iter().map(port).collect();
        let reversed = |port: &PortMatch| matches!(port, PortMatch::Range { first, last, .. } if first > last);
        if ports.iter().any(reversed) {
            at.invalid("an endPort not before the port", "exchange them", self.faults);
            return None;
        }
        Some(ports)
    }

    fn icmp_rule(&mut self, at: &At<'_>) -> Option<Vec<PortMatch>> {
        let map = at.map(self.faults)?;
        let items = map.required("fields", self.faults).and_then(|at| at.list(self.faults));
        map.finish(self.faults);
        Some(items?.iter().filter_map(|item| self.icmp(item)).collect())
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
        match kind.parse().ok().or(named) {
            Some(kind) => Some(PortMatch::IcmpType { protocol, kind, code: None }),
            None => {
                self.lose(at, format!("the ICMP type {kind:?} is not known here by this name: give its number"));
                None
            }
        }
    }
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
