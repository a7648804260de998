//! Where both roles run in one process: the node joins at its own relay, by the same door as every other node.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use anyhow::Context;

use crate::{
    credentials::RoleCredentials,
    enroll::{Joining, Proof, join},
    relay::Relay,
    state_directory::{Enrollment, StateDirectory, Upstream},
};

/// How long the token lives that the process gives to itself.
const LIFETIME: Duration = Duration::from_secs(60);

/// Where the own relay is, and the node's credentials there. Expired ones do as long as they can be renewed, within `grace`:
/// after a long time away the relay's own are expired too, and nobody can join at it before the hub is back.
pub(super) async fn enrolled(
    relay: &Relay,
    enrollment: &Enrollment,
    state: &StateDirectory,
    grace: Duration,
) -> anyhow::Result<(String, RoleCredentials)> {
    let address = reachable(relay.address).to_string();
    let path = state.node_certificates();
    match RoleCredentials::load(&path) {
        Ok(Some(held)) if over_for(&held) <= grace && relay.knows(&held) => {
            return Ok((address, held));
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the node joins its own relay anew"),
    }
    let node = &enrollment.node;
    let (token, _) = relay.create_token(node.clone(), LIFETIME)?;
    let token = token.parse()?;
    let upstream = Upstream::Relay(address.clone());
    let joined = join(&Joining { upstream: &upstream, proof: Proof::Token(&token), name: node }, &path).await;
    let joined = joined.with_context(|| format!("node {node} cannot join its own relay"))?;
    Ok((address, joined.credentials))
}

/// For how long a certificate has been over.
fn over_for(held: &RoleCredentials) -> Duration {
    SystemTime::now().duration_since(held.not_after()).unwrap_or_default()
}

/// An address of this machine at which the listener is reached.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_reached_over_loopback() {
        for (listen, reached) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("192.0.2.1:7", "192.0.2.1:7")] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), reached);
        }
    }
}
