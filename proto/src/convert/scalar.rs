//! Small values: uids, names, addresses, ports, enumerations.
use std::{fmt, net::IpAddr, str::FromStr};

use axle_core::model::{Action, Name, NamedPort, Protocol, Uid};
use bytes::Bytes;

use crate::{convert::Invalid, v1};

/// A uid of 16 bytes.
///
/// # Errors
/// If there are not 16 bytes.
pub fn uid_from_wire(at: &str, bytes: &[u8]) -> Result<Uid, Invalid> {
    let wrong = |_| Invalid::new(at, format_args!("{} bytes", bytes.len()), "16 bytes");
    Ok(Uid(bytes.try_into().map_err(wrong)?))
}

pub(crate) fn uid_to_wire(uid: Uid) -> Bytes {
    Bytes::copy_from_slice(&uid.0)
}

pub(crate) fn name(at: &str, text: String) -> Result<Name, Invalid> {
    parse(at, &text, "a name as RFC 1123 has it")
}

pub(crate) fn parse<T: FromStr>(at: &str, text: &str, want: &str) -> Result<T, Invalid> {
    text.parse().map_err(|_| Invalid::new(at, format_args!("{text:?}"), want))
}

pub(crate) fn address(at: &str, bytes: &[u8]) -> Result<IpAddr, Invalid> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .map_err(|_| Invalid::new(at, format_args!("{} bytes", bytes.len()), "an address of 4 or 16 bytes"))
}

pub(crate) fn addresses(at: &str, all: &[Bytes]) -> Result<Vec<IpAddr>, Invalid> {
    all.iter().enumerate().map(|(i, bytes)| address(&format!("{at}[{i}]"), bytes)).collect()
}

pub(crate) fn addresses_to_wire(all: &[IpAddr]) -> Vec<Bytes> {
    let bytes = |address: &IpAddr| match address {
        IpAddr::V4(address) => Bytes::copy_from_slice(&address.octets()),
        IpAddr::V6(address) => Bytes::copy_from_slice(&address.octets()),
    };
    all.iter().map(bytes).collect()
}

/// A network without host bits.
pub(crate) fn network(at: &str, text: &str) -> Result<ipnet::IpNet, Invalid> {
    let network: ipnet::IpNet = parse(at, text, "an address block such as 10.1.0.0/16")?;
    if network.trunc() != network {
        return Err(Invalid::new(at, text, format_args!("no host bits: {}", network.trunc())));
    }
    Ok(network)
}

pub(crate) fn port(at: &str, number: u32) -> Result<u16, Invalid> {
    let good = u16::try_from(number).ok().filter(|port| *port > 0);
    good.ok_or_else(|| Invalid::new(at, number, "a port from 1 to 65535"))
}

pub(crate) fn narrow<T: TryFrom<u32>>(at: &str, number: u32) -> Result<T, Invalid> {
    T::try_from(number)
        .map_err(|_| Invalid::new(at, number, format_args!("a number that fits {}", std::any::type_name::<T>())))
}

/// A value of an enumeration of the wire, by its number.
pub(crate) fn known<E: TryFrom<i32> + fmt::Debug>(at: &str, number: i32) -> Result<E, Invalid> {
    E::try_from(number).map_err(|_| Invalid::new(at, number, format_args!("a known {}", short::<E>())))
}

pub(crate) fn unspecified<E>(at: &str) -> Invalid {
    Invalid::new(at, "unspecified", format_args!("a known {}", short::<E>()))
}

fn short<E>() -> &'static str {
    std::any::type_name::<E>().rsplit("::").next().unwrap_or("value")
}

pub(crate) fn protocol(at: &str, number: i32) -> Result<Protocol, Invalid> {
    Ok(match known(at, number)? {
        v1::Protocol::Tcp => Protocol::Tcp,
        v1::Protocol::Udp => Protocol::Udp,
        v1::Protocol::Sctp => Protocol::Sctp,
        v1::Protocol::Icmp => Protocol::Icmp,
        v1::Protocol::Icmpv6 => Protocol::Icmpv6,
        v1::Protocol::Unspecified => return Err(unspecified::<v1::Protocol>(at)),
    })
}

pub(crate) fn protocol_to_wire(protocol: Protocol) -> v1::Protocol {
    match protocol {
        Protocol::Tcp => v1::Protocol::Tcp,
        Protocol::Udp => v1::Protocol::Udp,
        Protocol::Sctp => v1::Protocol::Sctp,
        Protocol::Icmp => v1::Protocol::Icmp,
        Protocol::Icmpv6 => v1::Protocol::Icmpv6,
    }
}

/// A protocol that has ports.
pub(crate) fn port_protocol(at: &str, number: i32) -> Result<Protocol, Invalid> {
    match protocol(at, number)? {
        Protocol::Icmp | Protocol::Icmpv6 => Err(Invalid::new(at, "ICMP", "TCP, UDP or SCTP, which have ports")),
        protocol => Ok(protocol),
    }
}

pub(crate) fn action(at: &str, number: i32) -> Result<Action, Invalid> {
    Ok(match known(at, number)? {
        v1::Action::Accept => Action::Accept,
        v1::Action::Deny => Action::Deny,
        v1::Action::Pass => Action::Pass,
        v1::Action::Unspecified => return Err(unspecified::<v1::Action>(at)),
    })
}

pub(crate) fn action_to_wire(action: Action) -> v1::Action {
    match action {
        Action::Accept => v1::Action::Accept,
        Action::Deny => v1::Action::Deny,
        Action::Pass => v1::Action::Pass,
    }
}

impl TryFrom<v1::NamedPort> for NamedPort {
    type Error = Invalid;
    fn try_from(wire: v1::NamedPort) -> Result<Self, Invalid> {
        let protocol = port_protocol("protocol", wire.protocol)?;
        Ok(Self { name: wire.name, protocol, port: port("port", wire.port)? })
    }
}

impl From<&NamedPort> for v1::NamedPort {
    fn from(port: &NamedPort) -> Self {
        let protocol = protocol_to_wire(port.protocol).into();
        Self { name: port.name.clone(), protocol, port: port.port.into() }
    }
}
