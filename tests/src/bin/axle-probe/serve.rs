//! The servers: HTTP with a name for an answer, and echo.
use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
};

use anyhow::Context as _;
use socket2::{Domain, Socket, Type};

/// Serves until it is killed; prints `ready` when everything listens.
pub(crate) fn run(name: String, http: u16, echo: u16) -> anyhow::Result<()> {
    let (http, echo_tcp) = (listen(http)?, listen(echo)?);
    let echo_udp = UdpSocket::from(both_families(Type::DGRAM, echo)?);
    writeln!(io::stdout(), "ready")?;
    thread::spawn(move || each(&echo_tcp, echo_stream));
    thread::spawn(move || echo_datagrams(&echo_udp));
    each(&http, move |stream| answer(stream, &name));
    Ok(())
}

fn both_families(kind: Type, port: u16) -> anyhow::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, kind, None)?;
    socket.set_only_v6(false)?;
    socket.set_reuse_address(true)?;
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    socket.bind(&address.into()).with_context(|| format!("cannot listen on {address}"))?;
    Ok(socket)
}

fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let socket = both_families(Type::STREAM, port)?;
    socket.listen(128)?;
    Ok(socket.into())
}

/// Handles every connection on a thread of its own. A client that goes away is no error of ours.
fn each(listener: &TcpListener, handle: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) {
    for stream in listener.incoming().flatten() {
        let handle = handle.clone();
        thread::spawn(move || handle(stream));
    }
}

fn answer(stream: TcpStream, name: &str) -> io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let body = format!("{name}\n");
    write!(&stream, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n", body.len())?;
    write!(&stream, "connection: close\r\n\r\n{body}")
}

fn echo_stream(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    io::copy(&mut &stream, &mut &stream).map(drop)
}

fn echo_datagrams(socket: &UdpSocket) {
    let mut buffer = [0; 2048];
    loop {
        // An ICMP error of an earlier answer may show up here; the next datagram is another matter.
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}
