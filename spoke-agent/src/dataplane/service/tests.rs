//! The shipped programs with real sockets of this process, which each test moves into a cgroup of its own, in a network
//! namespace of its thread with nothing but loopback. They need root.
use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axle_core::{model::Uid, service::ServiceTable};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use super::{hooks::HOOKS, *};

/// A process is in one cgroup at a time, so tests that share it take turns.
static TURN: Mutex<()> = Mutex::new(());
const PATIENCE: Option<Duration> = Some(Duration::from_secs(10));

/// A cgroup with this process in it, loopback for its thread, and a BPF file system.
struct Place {
    root: PathBuf,
    before: PathBuf,
    cgroup: PathBuf,
    folder: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Place {
    fn enter(name: &str) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let cgroup2 =
            mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|fields| fields[2] == "cgroup2");
        let root = PathBuf::from(cgroup2.expect("cgroup version 2 is mounted")[1]);
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).expect("a cgroup of version 2").to_owned();
        let cgroup = root.join(format!("axle-service-{name}-{}", std::process::id()));
        fs::create_dir(&cgroup).expect("a cgroup (needs root)");
        fs::write(cgroup.join("cgroup.procs"), "0").expect("this process in it");
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace of its own");
        let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.is_ok_and(|status| status.success()), "ip link set lo up");
        let folder = tempfile::tempdir().unwrap();
        mount(Some("bpf"), folder.path(), Some("bpf"), MsFlags::empty(), None::<&str>).expect("a BPF file system");
        let place = Self { before: root.join(own), root, cgroup, folder, _turn: turn };
        for part in ["maps", "links"] {
            fs::create_dir_all(place.pins().join(part)).unwrap();
        }
        place
    }

    fn pins(&self) -> PathBuf {
        self.folder.path().join("axle")
    }

    fn settings(&self) -> ServiceSettings {
        let ranges = ["240.0.0.0/8".parse().unwrap(), "fdff::/64".parse().unwrap()].into();
        ServiceSettings { ranges, frontends: 16, backends: 64, ..ServiceSettings::new(&self.cgroup) }
    }

    fn start(&self, table: &ServiceTable) -> ServicePlane {
        ServicePlane::start(&self.pins(), self.settings(), table).expect("services in force")
    }

    /// Runs something outside the cgroup.
    fn outside<T>(&self, what: impl FnOnce() -> T) -> T {
        fs::write(self.before.join("cgroup.procs"), "0").unwrap();
        let result = what();
        fs::write(self.cgroup.join("cgroup.procs"), "0").unwrap();
        result
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be cleaned up must not hide why a test failed.
        for home in [&self.before, &self.root] {
            if fs::write(home.join("cgroup.procs"), "0").is_ok() {
                break;
            }
        }
        let _ = umount2(self.folder.path(), MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.cgroup);
    }
}

fn vip(family: &str) -> IpAddr {
    if family == "v4" { "240.0.0.1".parse().unwrap() } else { "fdff::1".parse().unwrap() }
}

fn local(family: &str) -> IpAddr {
    if family == "v4" { Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() }
}

fn table(protocol: Protocol, address: IpAddr, backends: &[(SocketAddr, u32)]) -> ServiceTable {
    let backend = |(at, share): &(SocketAddr, u32)| service::Backend {
        address: at.ip(),
        port: at.port(),
        cluster: Uid([1; 16]),
        share: *share,
    };
    let backends = backends.iter().map(backend).collect();
    [(service::Frontend { address, protocol, port: 80 }, service::Route { backends, sticky_s: 0 })].into()
}

fn change(table: ServiceTable) -> BTreeMap<service::Frontend, Option<service::Route>> {
    table.into_iter().map(|(frontend, route)| (frontend, Some(route))).collect()
}

/// A listener that says its name to each caller for as long as it is held.
struct Server {
    address: SocketAddr,
}

impl Server {
    fn start(family: &str, name: &'static str) -> Self {
        let listener = TcpListener::bind((local(family), 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = stream.and_then(|mut stream| stream.write_all(name.as_bytes()));
            }
        });
        Self { address }
    }
}

fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    stream.set_read_timeout(PATIENCE)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn tcp_is_led_to_a_backend_and_sees_the_service() {
    for family in ["v4", "v6"] {
        let place = Place::enter(&format!("tcp-{family}"));
        let server = Server::start(family, "one");
        let plane = place.start(&table(Protocol::Tcp, vip(family), &[(server.address, 1)]));
        let service = SocketAddr::new(vip(family), 80);
        assert_eq!(ask(service).unwrap(), "one");
        let stream = TcpStream::connect(service).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), service, "getpeername shows whom it called");
        assert_eq!(ask(server.address).unwrap(), "one", "a backend may be called by its own address");
        let direct = TcpStream::connect(server.address).unwrap();
        assert_eq!(direct.peer_addr().unwrap(), server.address, "and is then shown as itself");
        assert_eq!(plane.calls().unwrap(), Calls { translated: 2, ..Calls::default() });
    }
}

#[test]
fn an_ipv6_socket_calls_an_ipv4_service() {
    let place = Place::enter("mapped");
    let server = Server::start("v4", "mapped");
    let _plane = place.start(&table(Protocol::Tcp, vip("v4"), &[(server.address, 1)]));
    let IpAddr::V4(v4) = vip("v4") else { unreachable!("it is one") };
    let service = SocketAddr::new(v4.to_ipv6_mapped().into(), 80);
    assert_eq!(ask(service).unwrap(), "mapped");
    assert_eq!(TcpStream::connect(service).unwrap().peer_addr().unwrap(), service);
}

#[test]
fn refused_at_once_where_nobody_can_answer() {
    let place = Place::enter("refused");
    let plane = place.start(&table(Protocol::Tcp, vip("v4"), &[]));
    for (address, why) in [
        (SocketAddr::new(vip("v4"), 80), "no backend"),
        (SocketAddr::new(vip("v4"), 81), "no such port"),
        ("240.9.9.9:80".parse().unwrap(), "no such service"),
        ("[fdff::9]:80".parse().unwrap(), "no such service"),
    ] {
        let error = TcpStream::connect(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{why}: {error}");
    }
    assert_eq!(plane.calls().unwrap(), Calls { no_backend: 1, no_service: 3, ..Calls::default() });
}

#[test]
fn udp_answers_come_from_the_service() {
    for family in ["v4", "v6"] {
        let place = Place::enter(&format!("udp-{family}"));
        let server = UdpSocket::bind((local(family), 0)).unwrap();
        let other = UdpSocket::bind((local(family), 0)).unwrap();
        let client = UdpSocket::bind((local(family), 0)).unwrap();
        for socket in [&server, &other, &client] {
            socket.set_read_timeout(PATIENCE).unwrap();
        }
        let _plane = place.start(&table(Protocol::Udp, vip(family), &[(server.local_addr().unwrap(), 1)]));
        let service = SocketAddr::new(vip(family), 80);
        let mut buffer = [0; 16];
        client.send_to(b"ping", service).unwrap();
        let (length, caller) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"ping");
        server.send_to(b"pong", caller).unwrap();
        assert_eq!(client.recv_from(&mut buffer).unwrap(), (4, service), "the answer is the service's");
        other.send_to(b"hello", caller).unwrap();
        assert_eq!(client.recv_from(&mut buffer).unwrap(), (5, other.local_addr().unwrap()), "others stay themselves");
        let connected = UdpSocket::bind((local(family), 0)).unwrap();
        connected.connect(service).unwrap();
        assert_eq!(connected.peer_addr().unwrap(), service);
        connected.send(b"again").unwrap();
        let (_, caller) = server.recv_from(&mut buffer).unwrap();
        server.send_to(b"pong", caller).unwrap();
        connected.set_read_timeout(PATIENCE).unwrap();
        assert_eq!(connected.recv_from(&mut buffer).unwrap(), (4, service));
        let error = client.send_to(b"ping", SocketAddr::new(vip(family), 81)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "{error}");
    }
}

#[test]
fn changes_take_effect_at_the_next_call() {
    let place = Place::enter("changes");
    let (one, two) = (Server::start("v4", "one"), Server::start("v4", "two"));
    let service = SocketAddr::new(vip("v4"), 80);
    let with = |backends: &[(SocketAddr, u32)]| change(table(Protocol::Tcp, vip("v4"), backends));
    let mut plane = place.start(&table(Protocol::Tcp, vip("v4"), &[(one.address, 1)]));
    let held = TcpStream::connect(service).unwrap();
    plane.apply(&with(&[(two.address, 1)])).unwrap();
    assert_eq!(ask(service).unwrap(), "two");
    assert_eq!(held.peer_addr().unwrap(), service, "a connection that lives is left alone");
    plane.apply(&with(&[(one.address, 3), (two.address, 1)])).unwrap();
    let ones = (0..400).filter(|_| ask(service).unwrap() == "one").count();
    assert!((240..=360).contains(&ones), "three of four by weight, within six deviations: {ones}");
    plane.apply(&change(table(Protocol::Tcp, vip("v4"), &[]))).unwrap();
    assert_eq!(ask(service).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    let gone = table(Protocol::Tcp, vip("v4"), &[]).into_keys().map(|frontend| (frontend, None)).collect();
    plane.apply(&gone).unwrap();
    assert_eq!(plane.backends.keys().count(), 0, "lists that nobody leads to are freed");
    plane.set_ranges(vec![]).unwrap();
    assert_eq!(plane.calls().unwrap().no_service, 0);
}

#[test]
fn a_client_comes_back_to_its_backend_while_that_is_one() {
    let place = Place::enter("sticky");
    let (one, two) = (Server::start("v4", "one"), Server::start("v4", "two"));
    let service = SocketAddr::new(vip("v4"), 80);
    let sticky = |backends: &[(SocketAddr, u32)], sticky_s| -> ServiceTable {
        let table = table(Protocol::Tcp, vip("v4"), backends);
        table.into_iter().map(|(frontend, route)| (frontend, service::Route { sticky_s, ..route })).collect()
    };
    let both = [(one.address, 1), (two.address, 1)];
    let mut plane = place.start(&sticky(&both, 1_000));
    let first = ask(service).unwrap();
    assert!((0..40).all(|_| ask(service).unwrap() == first), "the same each time");
    drop(plane);
    plane = place.start(&sticky(&both, 1_000));
    assert!((0..40).all(|_| ask(service).unwrap() == first), "also for the next agent");
    let (its, other) = if first == "one" { (&one, &two) } else { (&two, &one) };
    plane.apply(&change(sticky(&[(other.address, 1)], 1_000))).unwrap();
    assert_ne!(ask(service).unwrap(), first, "it is no backend any more");
    plane.apply(&change(sticky(&both, 1_000))).unwrap();
    assert!((0..40).all(|_| ask(service).unwrap() != first), "where it is now, not where it was");
    plane.apply(&change(sticky(&[(other.address, 1), (its.address, 1)], 1))).unwrap();
    std::thread::sleep(Duration::from_millis(1_100));
    // Each draw may be the other's with one half: 30 forgotten clients in a row do not all come to the same.
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..30 {
        seen.insert(ask(service).unwrap());
        if seen.len() == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1_100));
    }
    assert_eq!(seen.len(), 2, "after a second it is a new client");
    plane.apply(&change(sticky(&[], 1))).unwrap();
    assert_eq!((plane.backends.keys().count(), plane.members.keys().count()), (0, 0), "lists are freed");
}

#[test]
fn a_restart_interrupts_nothing() {
    let place = Place::enter("restart");
    let (one, two) = (Server::start("v4", "one"), Server::start("v4", "two"));
    let service = SocketAddr::new(vip("v4"), 80);
    let plane = place.start(&table(Protocol::Tcp, vip("v4"), &[(one.address, 1)]));
    let held = TcpStream::connect(service).unwrap();
    drop(plane);
    assert_eq!(ask(service).unwrap(), "one", "without an agent the programs go on");
    let plane = place.start(&table(Protocol::Tcp, vip("v4"), &[(two.address, 1)]));
    assert_eq!(ask(service).unwrap(), "two", "the new agent's table is in force");
    assert_eq!(held.peer_addr().unwrap(), service, "what older sockets called is remembered");
    assert_eq!(plane.calls().unwrap().translated, 3, "counters go on");
    let links = fs::read_dir(place.pins().join("links")).unwrap().count();
    assert_eq!(links, HOOKS.len(), "the old links are gone");
    detach_services(&place.pins()).unwrap();
    // The kernel lets go of a link a grace period after its pin.
    let deadline = Instant::now() + Duration::from_secs(10);
    while ask(service).is_ok() {
        assert!(Instant::now() < deadline, "services are translated though the programs were taken away");
    }
}

#[test]
fn a_cgroup_made_anew_gets_programs_of_its_own() {
    let place = Place::enter("anew");
    let server = Server::start("v4", "one");
    let service = SocketAddr::new(vip("v4"), 80);
    let table = table(Protocol::Tcp, vip("v4"), &[(server.address, 1)]);
    drop(place.start(&table));
    place.outside(|| {
        fs::remove_dir(&place.cgroup).unwrap();
        fs::create_dir(&place.cgroup).unwrap();
    });
    assert!(ask(service).is_err(), "the old programs went with the old cgroup");
    let _plane = place.start(&table);
    assert_eq!(ask(service).unwrap(), "one");
    assert_eq!(fs::read_dir(place.pins().join("links")).unwrap().count(), HOOKS.len());
}

#[test]
fn sockets_outside_the_cgroup_are_left_alone() {
    let place = Place::enter("outside");
    let server = Server::start("v4", "one");
    let address = SocketAddr::new(local("v4"), 80);
    let _plane = place.start(&table(Protocol::Tcp, local("v4"), &[(server.address, 1)]));
    assert_eq!(ask(address).unwrap(), "one", "any address can be a service's");
    place.outside(|| assert_ne!(ask(address).ok().as_deref(), Some("one")));
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let place = Place::enter("capacity");
    let server = Server::start("v4", "one");
    let service = SocketAddr::new(vip("v4"), 80);
    let mut plane = place.start(&table(Protocol::Tcp, vip("v4"), &[(server.address, 1)]));
    let many = vec![(server.address, 1); 64];
    let error = plane.apply(&change(table(Protocol::Tcp, vip("v4"), &many))).unwrap_err();
    assert!(matches!(error, Error::Capacity(Capacity { wanted: 65, limit: 64, .. })), "{error}");
    assert_eq!(ask(service).unwrap(), "one", "what was in force stays");
    let missing = ServiceSettings { cgroup: place.cgroup.join("missing"), ..place.settings() };
    let error = ServicePlane::start(&place.pins(), missing, &ServiceTable::new()).err().expect("no such cgroup");
    assert!(error.to_string().contains("--cgroup"), "{error}");
}
