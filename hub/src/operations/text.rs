//! How the model's values are spelt in every door.
use std::net::IpAddr;

use axle_core::model::{Action, Affinity, Enforcement, PortTarget, Tier};
pub(super) use axle_proto::view::text::protocol;

pub(super) fn action(action: Action) -> &'static str {
    match action {
        Action::Accept => "accept",
        Action::Deny => "deny",
        Action::Pass => "pass",
    }
}

pub(super) fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Admin => "admin",
        Tier::Namespace => "namespace",
        Tier::Baseline => "baseline",
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
