//! This machine's own addresses.
use std::net::IpAddr;

/// Those of its interfaces that others can reach it by, in order. None if the system does not say.
#[must_use]
pub fn own_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address.filter(|_| !is_inner(&interface.interface_name))?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    let mut addresses: Vec<IpAddr> = interfaces.filter_map(address).filter(is_reachable).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Bridges and holders of addresses that container engines, hypervisors and kube-proxy make alike on every machine: what is
/// there is no address of this one. Their names are what these programs give by default.
fn is_inner(interface: &str) -> bool {
    let numbered = |prefix: &str, is_number: fn(char) -> bool| {
        interface.strip_prefix(prefix).is_some_and(|number| !number.is_empty() && number.chars().all(is_number))
    };
    let named = ["docker0", "docker_gwbridge", "kube-ipvs0", "nodelocaldns", "lxcbr0", "lxdbr0"].contains(&interface);
    named
        || numbered("virbr", |digit| digit.is_ascii_digit())
        || numbered("podman", |digit| digit.is_ascii_digit())
        || interface.len() == 15 && numbered("br-", |digit| digit.is_ascii_hexdigit())
}

fn is_reachable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_reach() {
        for (text, reachable) in [
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("::1", false),
            ("fe80::1", false),
            ("10.0.0.1", true),
            ("fd00::1", true),
        ] {
            assert_eq!(is_reachable(&text.parse().unwrap()), reachable, "{text}");
        }
        for inner in ["docker0", "br-0a1b2c3d4e5f", "virbr0", "podman1", "kube-ipvs0"] {
            assert!(is_inner(inner), "{inner}");
        }
        for own in ["eth0", "br0", "br-lan", "cni0", "virbr", "bond0"] {
            assert!(!is_inner(own), "{own}");
        }
        assert!(own_addresses().iter().all(is_reachable));
    }
}
