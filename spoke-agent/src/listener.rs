//! Where others come to, in whichever family they have.
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use axle_transport::acceptor::bind;
use tokio::net::TcpListener;

/// Listens there, on both families if it is the wildcard of IPv6; on a machine without that, at the other one's.
///
/// # Errors
/// If the address cannot be had; the error names it.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address).or_else(|error| match address.ip() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) if error.kind() != io::ErrorKind::AddrInUse => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        _ => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn the_wildcard_is_for_both_families() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "::1"] {
            assert!(TcpStream::connect((host, port)).await.is_ok(), "{host}");
        }
        let taken = listen(listener.local_addr().unwrap()).unwrap_err().to_string();
        assert!(taken.contains(&format!("[::]:{port}")), "{taken}");
        assert!(listen("192.0.2.1:1".parse().unwrap()).unwrap_err().to_string().contains("192.0.2.1:1"));
    }
}
