//! How the model's values are spelt in every door.
use std::net::IpAddr;

use axle_core::{
    model::{Action, Affinity, Enforcement, PortTarget, Protocol, Tier},
    policy::{Step, Verdict, tables::Direction},
};

pub(super) fn action(action: Action) -> &'static str {
    match action {
        Action::Accept => "accept",
        Action::Deny => "deny",
        Action::Pass => "pass",
    }
}

pub(super) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Deny => "deny",
    }
}

pub(super) fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

pub(super) fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Admin => "admin",
        Tier::Namespace => "namespace",
        Tier::Baseline => "baseline",
    }
}

pub(super) fn step(step: Step) -> &'static str {
    match step {
        Step::FleetAdmin => "fleet admin",
        Step::ClusterAdmin => "cluster admin",
        Step::Namespace => "namespace",
        Step::ClusterBaseline => "cluster baseline",
        Step::FleetBaseline => "fleet baseline",
    }
}

pub(super) fn enforcement(enforcement: Enforcement) -> &'static str {
    match enforcement {
        Enforcement::Enforce => "enforce",
        Enforcement::Audit => "audit",
    }
}

pub(super) fn affinity(affinity: Affinity) -> &'static str {
    match affinity {
        Affinity::Local => "local",
        Affinity::Remote => "remote",
        Affinity::None => "none",
    }
}

pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
        Protocol::Icmp => "icmp",
        Protocol::Icmpv6 => "icmpv6",
    }
}

pub(super) fn target(target: &PortTarget) -> String {
    match target {
        PortTarget::Number(number) => number.to_string(),
        PortTarget::Name(name) => name.clone(),
    }
}

/// Bytes of the wire as an address; empty where they are none.
pub(super) fn address(bytes: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let any = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    any.map(|address| address.to_string()).unwrap_or_default()
}

/// Bytes as lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn all<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}
