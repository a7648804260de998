//! The data plane on real interfaces, between real sockets.
use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use axle_agent::dataplane::{Attachment, DataPlane, Settings, cleanup};
use axle_core::policy::tables::{Limits, Plan, PortTable, SLOT_ACCEPT, SLOT_DENY, Slot, Write};
use axle_tests::{
    bpf::{Answer, Foreign, Hook, Order},
    eventually,
    fabric::{Fabric, Host, Seat},
};
use ipnet::{Ipv4Net, Ipv6Net};

const CLIENT: u32 = 1;
const SERVER: u32 = 2;
/// Accepts TCP and UDP port 7 from everybody.
const ECHO: Slot = 2;
const PORT: u16 = 7;

/// For what must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// For what must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// A host with two workloads, an echo service in one of them.
struct World {
    fabric: Fabric,
    host: Host,
    client: Seat,
    server: Seat,
}

impl World {
    fn new(name: &str) -> anyhow::Result<Self> {
        let mut fabric = Fabric::new(&format!("veth-{name}-{}", std::process::id()))?;
        let host = fabric.host("n1")?;
        let client = fabric.workload(&host, "client", ["10.1.1.1".parse()?, "fd00:1::1:1".parse()?])?;
        let server = fabric.workload(&host, "server", ["10.1.1.2".parse()?, "fd00:1::1:2".parse()?])?;
        for address in server.addresses {
            let (listener, socket) = server.netns.enter(|| -> io::Result<_> {
                Ok((TcpListener::bind((address, PORT))?, UdpSocket::bind((address, PORT))?))
            })??;
            thread::spawn(move || serve_tcp(&listener));
            thread::spawn(move || serve_udp(&socket));
        }
        Ok(Self { fabric, host, client, server })
    }

    fn settings(&self) -> Settings {
        let limits = Limits {
            classes: 512,
            port_classes: 64,
            rows: 64,
            blocks: 32,
            slots: 16,
            locals: 8,
            addresses4: 256,
            addresses6: 64,
            prefixes: 16,
        };
        Settings { limits, blocks4: 16, flows: 4_096, flow_share: 4_096, ..Settings::new(self.fabric.pins(&self.host)) }
    }

    fn attachments(&self) -> [Attachment; 2] {
        [(CLIENT, &self.client), (SERVER, &self.server)].map(|(local, seat)| Attachment {
            local,
            interface: seat.interface.clone(),
            addresses: seat.addresses.to_vec(),
            adopt: Duration::ZERO,
        })
    }

    /// A new agent's data plane: the client may do all, the server what `slots` say.
    fn plane(&self, slots: (Slot, Slot)) -> anyhow::Result<DataPlane> {
        let mut plane = DataPlane::open(self.settings())?;
        let failed = self.inside(|| plane.replace(&plan(tables(slots)), &self.attachments()))?;
        assert!(failed.is_empty(), "{failed:?}");
        Ok(plane)
    }

    /// Does `work` where the host's interfaces are.
    fn inside<T: Send, E: Send + Into<anyhow::Error>>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send,
    ) -> anyhow::Result<T> {
        self.host.netns.enter(work)?.map_err(Into::into)
    }

    fn connect(&self, to: IpAddr, patience: Duration) -> anyhow::Result<TcpStream> {
        Ok(self.client.netns.enter(|| TcpStream::connect_timeout(&SocketAddr::new(to, PORT), patience))??)
    }

    fn udp(&self, to: IpAddr) -> anyhow::Result<UdpSocket> {
        Ok(self.client.netns.enter(|| -> io::Result<_> {
            let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect((to, PORT))?;
            Ok(socket)
        })??)
    }
}

fn serve_tcp(listener: &TcpListener) {
    while let Ok((mut stream, _)) = listener.accept() {
        thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                if stream.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
        });
    }
}

fn serve_udp(socket: &UdpSocket) {
    let mut bytes = [0; 64];
    // An ICMP error about an answer is no reason to end.
    loop {
        if let Ok((count, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..count], from);
        }
    }
}

fn plan(writes: Vec<Write>) -> Plan {
    Plan { writes, settle: Vec::new() }
}

fn tables((ingress, egress): (Slot, Slot)) -> Vec<Write> {
    let mut writes = vec![
        Write::Row { row: 2, bits: Box::new([2, 0, 0, 0, 0, 0, 0, 0]) },
        Write::Block { block: 2, rows: Box::new([2; 256]) },
        Write::SlotBlock { slot: ECHO, index: 0, block: 2 },
        Write::Prefix { prefix: Ipv4Net::default().into(), class: Some(1) },
        Write::Prefix { prefix: Ipv6Net::default().into(), class: Some(1) },
        Write::Ports { table: PortTable::Tcp, first: PORT, last: PORT, class: 1 },
        Write::Ports { table: PortTable::Udp, first: PORT, last: PORT, class: 1 },
    ];
    writes.extend([0, 1].map(|generation| Write::Workload {
        local: CLIENT,
        generation,
        ingress: SLOT_DENY,
        egress: SLOT_ACCEPT,
    }));
    writes.extend(server(ingress, egress));
    writes
}

fn server(ingress: Slot, egress: Slot) -> [Write; 2] {
    [0, 1].map(|generation| Write::Workload { local: SERVER, generation, ingress, egress })
}

/// Sends a message and waits for its echo.
fn echo(stream: &mut TcpStream, patience: Duration) -> io::Result<()> {
    stream.write_all(b"x")?;
    await_echo(stream, patience)
}

fn await_echo(stream: &mut TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(patience))?;
    stream.read_exact(&mut [0])
}

fn echo_udp(socket: &UdpSocket, patience: Duration) -> io::Result<()> {
    socket.set_read_timeout(Some(patience))?;
    socket.send(b"x")?;
    socket.recv(&mut [0; 64]).map(drop)
}

#[test]
fn policy_holds_in_both_directions() -> anyhow::Result<()> {
    let world = World::new("policy")?;
    let mut plane = world.plane((ECHO, SLOT_DENY))?;
    for to in world.server.addresses {
        // The server may send nothing of its own, and its answers arrive: also at a client that may receive nothing.
        echo(&mut world.connect(to, PATIENCE)?, PATIENCE)?;
        echo_udp(&world.udp(to)?, PATIENCE)?;
        let other = world.client.netns.enter(|| TcpStream::connect_timeout(&SocketAddr::new(to, 8), SILENCE))?;
        assert_eq!(other.unwrap_err().kind(), io::ErrorKind::TimedOut, "another port is silent, not refused");
        let back = world.client.addresses[usize::from(!to.is_ipv4())];
        let back = world.server.netns.enter(|| TcpStream::connect_timeout(&SocketAddr::new(back, PORT), SILENCE))?;
        assert_eq!(back.unwrap_err().kind(), io::ErrorKind::TimedOut, "the server begins nothing");
    }
    let status = plane.status()?;
    assert!(status.workloads.iter().all(|workload| workload.is_proven()), "{:?}", status.workloads);
    let server_seen = &status.workloads[1];
    assert!(server_seen.sent_denied > 0 && server_seen.received_denied > 0, "{server_seen:?}");
    plane.apply(&plan(server(SLOT_DENY, SLOT_DENY).to_vec()))?;
    for to in world.server.addresses {
        world.connect(to, SILENCE).unwrap_err();
        echo_udp(&world.udp(to)?, SILENCE).unwrap_err();
    }
    Ok(())
}

#[test]
fn a_change_of_policy_cuts_what_is_established() -> anyhow::Result<()> {
    let world = World::new("cut")?;
    let mut plane = world.plane((ECHO, SLOT_ACCEPT))?;
    for to in world.server.addresses {
        let mut stream = world.connect(to, PATIENCE)?;
        let socket = world.udp(to)?;
        echo(&mut stream, PATIENCE)?;
        echo_udp(&socket, PATIENCE)?;
        plane.apply(&plan(server(SLOT_DENY, SLOT_ACCEPT).to_vec()))?;
        assert_eq!(echo(&mut stream, SILENCE).unwrap_err().kind(), io::ErrorKind::WouldBlock, "silence, no reset");
        echo_udp(&socket, SILENCE).unwrap_err();
        // The connection is cut, not closed: it goes on when policy accepts it again.
        plane.apply(&plan(server(ECHO, SLOT_ACCEPT).to_vec()))?;
        await_echo(&mut stream, PATIENCE)?;
        echo_udp(&socket, PATIENCE)?;
    }
    Ok(())
}

#[test]
fn a_restart_loses_no_packet() -> anyhow::Result<()> {
    let world = World::new("restart")?;
    let mut plane = Some(world.plane((ECHO, SLOT_DENY))?);
    let ended = AtomicBool::new(false);
    let answered = AtomicU64::new(0);
    thread::scope(|scope| -> anyhow::Result<()> {
        let mut flows = Vec::new();
        for to in world.server.addresses {
            let (mut stream, socket) = (world.connect(to, PATIENCE)?, world.udp(to)?);
            let (ended, answered) = (&ended, &answered);
            flows.push(scope.spawn(move || -> io::Result<()> {
                while !ended.load(Relaxed) {
                    // One message at a time: one that is lost is missed at once.
                    echo_udp(&socket, PATIENCE)?;
                    answered.fetch_add(1, Relaxed);
                }
                Ok(())
            }));
            flows.push(scope.spawn(move || -> io::Result<()> {
                while !ended.load(Relaxed) {
                    echo(&mut stream, PATIENCE)?;
                    answered.fetch_add(1, Relaxed);
                }
                Ok(())
            }));
        }
        let restarts = (0..20).try_for_each(|_| -> anyhow::Result<()> {
            let before = answered.load(Relaxed);
            drop(plane.take());
            eventually("traffic without an agent", PATIENCE, || {
                anyhow::ensure!(answered.load(Relaxed) > before + 50, "too little");
                Ok(())
            })?;
            plane = Some(world.plane((ECHO, SLOT_DENY))?);
            Ok(())
        });
        ended.store(true, Relaxed);
        for flow in flows {
            flow.join().expect("a flow")?;
        }
        restarts
    })?;
    assert!(answered.load(Relaxed) > 1_000, "too little traffic to tell");
    let status = plane.expect("the last").status()?;
    let flows: u64 = status.workloads.iter().map(|workload| workload.flows).sum();
    assert_eq!(flows, 8, "four flows, at both of their ends, over all restarts");
    Ok(())
}

#[test]
fn programs_of_others_stay_in_their_places() -> anyhow::Result<()> {
    let world = World::new("foreign")?;
    let plane = world.plane((ECHO, SLOT_DENY))?;
    let [to, _] = world.server.addresses;
    let at = |hook, order, answer| Foreign::attach(&world.host.netns, &world.server.interface, hook, order, answer);
    for hook in [Hook::Ingress, Hook::Egress] {
        let _before = at(hook, Order::First, Answer::Next)?;
        let after = at(hook, Order::Last, Answer::Drop)?;
        world.connect(to, SILENCE).expect_err("what we accept, the program after ours may drop");
        drop(after);
        let _after = at(hook, Order::Last, Answer::Next)?;
        echo(&mut world.connect(to, PATIENCE)?, PATIENCE)?;
    }
    let _others = [Order::First, Order::Last].map(|order| at(Hook::Ingress, order, Answer::Next));
    drop(plane);
    let _plane = world.plane((ECHO, SLOT_DENY))?;
    echo(&mut world.connect(to, PATIENCE)?, PATIENCE)?;
    let programs = world.inside(|| {
        let index = nix::net::if_::if_nametoindex(world.server.interface.as_str()).expect("an interface");
        aya::programs::SchedClassifier::query_tcx(index, aya::programs::TcAttachType::Ingress)
    })?;
    let names: Vec<bool> = programs.1.iter().map(|program| program.name_as_str() == Some("axle_egress")).collect();
    assert_eq!(names, [false, true, false], "a restart changes nobody's place");
    Ok(())
}

#[test]
fn an_interface_that_comes_again_is_attached_again() -> anyhow::Result<()> {
    let world = World::new("again")?;
    let mut plane = world.plane((ECHO, SLOT_DENY))?;
    let [to, _] = world.server.addresses;
    echo(&mut world.connect(to, PATIENCE)?, PATIENCE)?;
    let interface = &world.server.interface;
    let index = world.inside(|| nix::net::if_::if_nametoindex(interface.as_str()))?;
    // With its index: the link that is pinned under it holds a hook that is gone.
    world.server.netns.ip("link delete eth0")?;
    world.host.netns.ip(&format!(
        "link add {interface} index {index} type veth peer name eth0 netns {}\n\
         addr add 169.254.1.1/32 dev {interface}\n\
         link set {interface} up\n\
         route replace {to} dev {interface}\n",
        world.server.netns.name()
    ))?;
    world.server.netns.ip(&format!(
        "addr add {to}/32 dev eth0\n\
         link set eth0 up\n\
         route add default via 169.254.1.1 dev eth0 onlink\n"
    ))?;
    let [_, attachment] = world.attachments();
    world.inside(|| plane.attach(&attachment))?;
    echo(&mut world.connect(to, PATIENCE)?, PATIENCE)?;
    let before = plane.status()?.workloads;
    plane.apply(&plan(server(SLOT_DENY, SLOT_DENY).to_vec()))?;
    world.connect(to, SILENCE).unwrap_err();
    let after = plane.status()?.workloads;
    assert!(after[1].received_denied > before[1].received_denied, "the new interface is judged");
    Ok(())
}

#[test]
fn cleanup_opens_what_was_denied() -> anyhow::Result<()> {
    let world = World::new("cleanup")?;
    let plane = world.plane((SLOT_DENY, SLOT_DENY))?;
    let [to, _] = world.server.addresses;
    world.connect(to, SILENCE).unwrap_err();
    drop(plane);
    world.connect(to, SILENCE).expect_err("without an agent policy stays in force");
    assert_eq!(cleanup(&world.fabric.pins(&world.host))?.links, 4);
    echo(&mut world.connect(to, PATIENCE)?, PATIENCE)?;
    Ok(())
}
