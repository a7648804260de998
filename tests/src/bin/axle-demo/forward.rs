//! Makes a port inside a network namespace reachable on the machine's own loopback.
use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::Context as _;
use axle_tests::netns::Netns;

/// Forwards connections to `port` of this machine's loopback to the same port of the namespace's loopback; where the port
/// is taken, another one is used. Returns the one in use.
pub(crate) fn forward(netns: &Netns, port: u16) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .context("no port of the loopback is free")?;
    let own = listener.local_addr()?.port();
    let netns = netns.clone();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let netns = netns.clone();
            // With the hub away the connection is closed: the client sees what it would see without a forwarder.
            thread::spawn(move || join(client, &netns, port).ok());
        }
    });
    Ok(own)
}

fn join(client: TcpStream, netns: &Netns, port: u16) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let server = netns.enter(|| TcpStream::connect(address))??;
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || pump(&from, &to));
    pump(&server, &client).map_err(Into::into)
}

/// Copies until one side ends, and passes the end on.
fn pump(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    to.shutdown(Shutdown::Write)?;
    copied.map(drop)
}
