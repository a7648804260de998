//! The ports of a rule, in the shape of ClusterNetworkPolicy.
use super::{
    Violation,
    reader::{At, Faults},
    rules::Form,
    selectors::one_of,
};
use crate::model::{PortMatch, Protocol};

/// The protocols that have ports, by name.
pub(super) fn port_protocol() -> [(&'static str, Protocol); 3] {
    [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)]
}

const TRANSPORT: [(&str, Protocol); 3] = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("sctp", Protocol::Sctp)];
const ICMP: [(&str, Protocol); 2] = [("icmp", Protocol::Icmp), ("icmpv6", Protocol::Icmpv6)];

/// One item of `protocols`. ClusterNetworkPolicy has no ICMP, a port with each protocol, and names without protocol.
pub(super) fn port(at: &At<'_>, form: Form, faults: &mut Faults) -> Option<PortMatch> {
    let map = at.map(faults)?;
    let found = match form {
        Form::Cluster => one_of(&map, &["tcp", "udp", "sctp", "destinationNamedPort"], faults),
        Form::Mesh | Form::Namespace => {
            one_of(&map, &["tcp", "udp", "sctp", "icmp", "icmpv6", "destinationNamedPort"], faults)
        }
    };
    let mut port = None;
    for (key, protocol) in TRANSPORT {
        port = port.or(map.optional(key).map(|at| numbered(&at, protocol, form, faults)));
    }
    for (key, protocol) in ICMP.into_iter().filter(|_| form != Form::Cluster) {
        port = port.or(map.optional(key).map(|at| icmp_type(&at, protocol, faults)));
    }
    port = port.or(map.optional("destinationNamedPort").map(|at| named(&at, None, faults)));
    map.finish(faults);
    found?;
    port?
}

fn named(at: &At<'_>, protocol: Option<Protocol>, faults: &mut Faults) -> Option<PortMatch> {
    Some(PortMatch::Named { protocol, name: port_name(at, faults)? })
}

/// `{}` is every port; `destinationPort` has `number` or `range`.
fn numbered(at: &At<'_>, protocol: Protocol, form: Form, faults: &mut Faults) -> Option<PortMatch> {
    let map = at.map(faults)?;
    let port = if form == Form::Cluster {
        Some(map.required("destinationPort", faults)?)
    } else {
        if !map.present(&["destinationPort", "destinationNamedPort"]).is_empty() {
            one_of(&map, &["destinationPort", "destinationNamedPort"], faults)?;
        }
        map.optional("destinationPort")
    };
    let name = (form != Form::Cluster).then(|| map.optional("destinationNamedPort")).flatten();
    map.finish(faults);
    if let Some(at) = name {
        return named(&at, Some(protocol), faults);
    }
    let Some(port) = port else { return Some(PortMatch::Protocol(protocol)) };
    let map = port.map(faults)?;
    let found = one_of(&map, &["number", "range"], faults);
    let number = map.optional("number").and_then(|at| at.integer(1..=u16::MAX, faults));
    let range = map.optional("range").and_then(|at| range(&at, form, faults));
    map.finish(faults);
    let (first, last) = if found? == "number" { (number?, number?) } else { range? };
    Some(PortMatch::Range { protocol, first, last })
}

/// In ClusterNetworkPolicy a range has more than one port.
fn range(at: &At<'_>, form: Form, faults: &mut Faults) -> Option<(u16, u16)> {
    let map = at.map(faults)?;
    let first = map.required("start", faults).and_then(|at| at.integer(1..=u16::MAX, faults));
    let last = map.required("end", faults).and_then(|at| at.integer(1..=u16::MAX, faults));
    map.finish(faults);
    let (first, last): (u16, u16) = (first?, last?);
    if first > last {
        let violation = at.violation(format!("start {first} after end {last}"), "start not greater than end");
        faults.add(Violation { fix: "exchange them".into(), ..violation });
    } else if first == last && form == Form::Cluster {
        let violation = at.violation(format!("{first} to {last}"), "start less than end");
        faults.add(Violation { fix: format!("write `number: {first}`"), ..violation });
    }
    Some((first, last))
}

/// `{}` is every type.
fn icmp_type(at: &At<'_>, protocol: Protocol, faults: &mut Faults) -> Option<PortMatch> {
    let map = at.map(faults)?;
    let code_at = map.optional("code");
    let kind_at = if code_at.is_some() { map.required("type", faults) } else { map.optional("type") };
    map.finish(faults);
    let code = code_at.map_or(Some(None), |at| at.integer(0..=u8::MAX, faults).map(Some));
    match kind_at {
        None => code?.is_none().then_some(PortMatch::Protocol(protocol)),
        Some(at) => Some(PortMatch::IcmpType { protocol, kind: at.integer(0..=u8::MAX, faults)?, code: code? }),
    }
}

/// A port's name.
pub(super) fn port_name(at: &At<'_>, faults: &mut Faults) -> Option<String> {
    let text = at.text(faults)?;
    if !is_port_name(text) {
        let want = "a port's name: 1 to 15 lower-case letters, digits and single '-' inside, with at least one letter";
        at.invalid(want, "", faults);
        return None;
    }
    Some(text.to_owned())
}

/// Whether it is a port's name as Kubernetes has it (IANA_SVC_NAME).
pub(super) fn is_port_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    (1..=15).contains(&bytes.len())
        && bytes.iter().all(inner)
        && bytes.iter().any(u8::is_ascii_lowercase)
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}
