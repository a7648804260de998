//! How the model's values are spelt in every door.
use axle_core::{
    model::Protocol,
    policy::{
        PROTOCOLS, Step, Verdict,
        survey::Span,
        tables::{Direction, PortTable},
    },
};

/// `accept` or `deny`.
#[must_use]
pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Deny => "deny",
    }
}

/// `ingress` or `egress`.
#[must_use]
pub fn direction(direction: Direction) -> &'static str {
    direction.as_str()
}

/// `fleet admin`, `cluster admin`, ...
#[must_use]
pub fn step(step: Step) -> &'static str {
    match step {
        Step::FleetAdmin => "fleet admin",
        Step::ClusterAdmin => "cluster admin",
        Step::Namespace => "namespace",
        Step::ClusterBaseline => "cluster baseline",
        Step::FleetBaseline => "fleet baseline",
    }
}

/// `tcp`, `udp`, ...
#[must_use]
pub fn protocol(protocol: Protocol) -> &'static str {
    PROTOCOLS.iter().find(|(_, known)| *known == protocol).map_or("", |(name, _)| *name)
}

/// Ports as people write them: `tcp`, `tcp 80`, `udp 1-1023`, `icmp type 8`.
#[must_use]
pub fn ports(span: &Span) -> String {
    let known = PROTOCOLS.iter().find(|(_, protocol)| PortTable::from(*protocol) == span.table);
    let Some((name, _)) = known else { return "other protocols".into() };
    let ([first, first_code], [last, last_code]) = (span.first.to_be_bytes(), span.last.to_be_bytes());
    let is_icmp = matches!(span.table, PortTable::Icmp | PortTable::Icmpv6);
    match (span.first, span.last) {
        (0, u16::MAX) => (*name).to_owned(),
        (one, other) if one == other && is_icmp => format!("{name} type {first} code {first_code}"),
        _ if is_icmp && (first_code, last_code) == (0, u8::MAX) && first == last => format!("{name} type {first}"),
        _ if is_icmp => format!("{name} type {first} code {first_code} to type {last} code {last_code}"),
        (one, other) if one == other => format!("{name} {one}"),
        (first, last) => format!("{name} {first}-{last}"),
    }
}
