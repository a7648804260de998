//! The addresses of a cluster.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The networks of the cluster of this number: clusters of other numbers have others, and none has those of hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Networks(pub u8);

impl Networks {
    /// Of pods, one per family: what `axle cluster add --prefix` takes.
    #[must_use]
    pub fn pods(self) -> [String; 2] {
        [format!("10.{}.0.0/16", self.0), format!("fd00:{:x}::/48", self.0)]
    }

    /// Of services, one per family.
    #[must_use]
    pub fn services(self) -> [String; 2] {
        [format!("{}/16", self.service(0)[0]), format!("{}/112", self.service(0)[1])]
    }

    /// The cluster's DNS server.
    #[must_use]
    pub fn dns(self) -> [IpAddr; 2] {
        self.service(10)
    }

    /// The service of this number; the first is the API's.
    pub(super) fn service(self, number: u8) -> [IpAddr; 2] {
        let v4 = Ipv4Addr::new(10, 100 + self.0, 0, number);
        let v6 = Ipv6Addr::new(0xfd01, self.0.into(), 0, 0, 0, 0, 0, number.into());
        [v4.into(), v6.into()]
    }
}
