//! The clients: one request, or a flow of numbered messages each of which should come back.
use std::{
    io::{self, ErrorKind, Read, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use axle_tests::probe::{Report, now_ns};

const INTERVAL: Duration = Duration::from_millis(1);
/// How many messages go by between two lines of progress.
const PROGRESS: usize = 20;
/// How long the last messages may take to come back.
const GRACE: Duration = Duration::from_millis(500);

pub(crate) fn get(to: SocketAddr, patience: Duration) -> anyhow::Result<String> {
    let explain = |error: io::Error| match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => anyhow::anyhow!("timed out after {patience:?}"),
        ErrorKind::ConnectionRefused => anyhow::anyhow!("refused"),
        _ => error.into(),
    };
    let mut stream = TcpStream::connect_timeout(&to, patience).map_err(explain)?;
    stream.set_read_timeout(Some(patience))?;
    write!(stream, "GET / HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(explain)?;
    match text.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.trim_end().to_owned()),
        _ => bail!("not an answer: {text:?}"),
    }
}

/// Which messages came back, as the receiving thread notes them.
#[derive(Default)]
struct Back {
    numbers: Vec<u64>,
    last_ns: u64,
    broken: Option<String>,
}

impl Back {
    fn note(&mut self, number: u64) -> anyhow::Result<()> {
        self.numbers.push(number);
        self.last_ns = now_ns()?;
        Ok(())
    }
}

type Shared = Arc<Mutex<Back>>;

pub(crate) fn udp(to: SocketAddr, unconnected: bool) -> anyhow::Result<Report> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    if !unconnected {
        socket.connect(to)?;
    }
    let receiver = socket.try_clone()?;
    let send = move |number: u64| {
        let message = number.to_be_bytes();
        let sent = if unconnected { socket.send_to(&message, to) } else { socket.send(&message) };
        // What cannot be sent is lost, and counted as such.
        sent.map(drop).or(Ok(()))
    };
    flow(send, move |shared| {
        let mut message = [0; 8];
        loop {
            match receiver.recv_from(&mut message) {
                // An answer from another address than the one asked is no answer.
                Ok((8, from)) if from == to => lock(shared).note(u64::from_be_bytes(message))?,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error.into()),
            }
        }
    })
}

pub(crate) fn tcp(to: SocketAddr) -> anyhow::Result<Report> {
    let stream =
        TcpStream::connect_timeout(&to, Duration::from_secs(5)).with_context(|| format!("cannot connect to {to}"))?;
    stream.set_nodelay(true)?;
    // A flow that is cut must not hold up the sender for ever.
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut receiver = stream.try_clone()?;
    let send = move |number: u64| (&stream).write_all(&number.to_be_bytes());
    flow(send, move |shared| {
        let mut message = [0; 8];
        loop {
            receiver.read_exact(&mut message)?;
            lock(shared).note(u64::from_be_bytes(message))?;
        }
    })
}

fn lock(shared: &Shared) -> std::sync::MutexGuard<'_, Back> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends until standard input ends or the flow breaks, waits a little for the last answers, and reports.
fn flow(
    mut send: impl FnMut(u64) -> io::Result<()>,
    receive: impl FnOnce(&Shared) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<Report> {
    let ended = Arc::new(AtomicBool::new(false));
    let flag = ended.clone();
    thread::spawn(move || {
        // Whether it ends or fails: nobody is there to want more.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        flag.store(true, Ordering::Relaxed);
    });
    let shared = Shared::default();
    let notes = shared.clone();
    thread::spawn(move || {
        if let Err(error) = receive(&notes) {
            lock(&notes).broken = Some(error.to_string());
        }
    });
    let mut sent_ns = Vec::new();
    while !ended.load(Ordering::Relaxed) && lock(&shared).broken.is_none() {
        sent_ns.push(now_ns()?);
        if let Err(error) = send(sent_ns.len() as u64 - 1) {
            lock(&shared).broken.get_or_insert_with(|| error.to_string());
        }
        if sent_ns.len().is_multiple_of(PROGRESS) {
            tell(sent_ns.len() as u64, &shared)?;
        }
        thread::sleep(INTERVAL);
    }
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline && lock(&shared).numbers.len() < sent_ns.len() {
        thread::sleep(INTERVAL);
    }
    let back = std::mem::take(&mut *lock(&shared));
    let mut came_back = vec![false; sent_ns.len()];
    for number in back.numbers {
        if let Some(seen) = usize::try_from(number).ok().and_then(|number| came_back.get_mut(number)) {
            *seen = true;
        }
    }
    Ok(Report::of(&sent_ns, &came_back, back.last_ns, back.broken))
}

/// A line of progress: how the flow stands.
fn tell(sent: u64, shared: &Shared) -> anyhow::Result<()> {
    let (received, last_received_ns) = {
        let back = lock(shared);
        (back.numbers.len() as u64, back.last_ns)
    };
    let report = Report { sent, received, last_received_ns, ..Report::default() };
    writeln!(io::stdout(), "{}", serde_json::to_string(&report)?)?;
    Ok(())
}
