//! Hosts and workloads as network namespaces, with real links and routes between them.
//!
//! ```text
//! router ── h1 : eth0  host 10.255.0.1, fd00:ff::1 ── v-web : eth0  workload 10.1.1.1, fd00:1::1:1
//!        ── h2 : eth0  host 10.255.0.2, fd00:ff::2 ── ...
//! ```
//! Every fabric is closed in itself, so all fabrics of a machine use the same addresses. The router knows each workload
//! by host routes, so an address can move between hosts.
use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use anyhow::Context;
use ipnet::IpNet;

use crate::{cgroup, lease::Lease, netns::Netns, process::Place};

/// The longest name of a network interface.
const INTERFACE_MAX: usize = 15;

/// A closed network of hosts and their workloads.
#[derive(Debug)]
pub struct Fabric {
    router: Netns,
    cgroups: PathBuf,
    hosts: u8,
    lease: Lease,
}

/// A machine of the fabric: the hub's, or a node.
#[derive(Debug, Clone)]
pub struct Host {
    /// Unique in the fabric.
    pub name: String,
    /// Its namespace.
    pub netns: Netns,
    /// Its own addresses, one per family.
    pub addresses: [IpAddr; 2],
    /// The cgroup that its workloads run in.
    pub cgroup: PathBuf,
    link: String,
}

/// A workload's place on its host.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Its namespace.
    pub netns: Netns,
    /// Its interface's name at the host's end.
    pub interface: String,
    /// Its addresses, one per family.
    pub addresses: [IpAddr; 2],
    /// Its namespace and cgroup.
    pub place: Place,
}

impl Fabric {
    /// An empty fabric, with a file system for pins.
    ///
    /// # Errors
    /// Without root's rights, where the kernel lacks what it takes, or if the lease's name is taken.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let lease = Lease::take(name)?;
        let bpffs = lease.folder().join("bpf");
        fs::create_dir_all(&bpffs)?;
        nix::mount::mount(Some("bpf"), &bpffs, Some("bpf"), nix::mount::MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount a bpf file system at {}", bpffs.display()))?;
        let cgroups = cgroup::of_run(&cgroup::root()?, name);
        let router = Netns::create(&lease, "router", true)?;
        Ok(Self { router, cgroups, hosts: 0, lease })
    }

    /// Where the run keeps its files.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.lease.folder()
    }

    /// Where `host` pins its maps and links.
    #[must_use]
    pub fn pins(&self, host: &Host) -> PathBuf {
        self.lease.folder().join("bpf").join(&host.name)
    }

    /// Adds a host; the fabric holds up to 250.
    ///
    /// # Errors
    /// Where `ip` refuses.
    pub fn host(&mut self, name: &str) -> anyhow::Result<Host> {
        self.hosts += 1;
        let index = self.hosts;
        let netns = Netns::create(&self.lease, name, true)?;
        let v4 = Ipv4Addr::new(10, 255, 0, index);
        let v6 = Ipv6Addr::new(0xfd00, 0xff, 0, 0, 0, 0, 0, u16::from(index));
        let link = format!("h{index}");
        self.router.ip(&format!(
            "link add {link} type veth peer name eth0 netns {}\n\
             addr add 169.254.0.1/32 dev {link}\n\
             addr add fe80::1/64 dev {link} nodad\n\
             link set {link} up\n\
             route add {v4}/32 dev {link}\n\
             route add {v6}/128 dev {link}\n",
            netns.name()
        ))?;
        netns.ip(&uplink("169.254.0.1", [v4.into(), v6.into()]))?;
        let cgroup = self.cgroups.join(name);
        fs::create_dir_all(&cgroup).with_context(|| format!("cannot make the cgroup {}", cgroup.display()))?;
        Ok(Host { name: name.to_owned(), netns, addresses: [v4.into(), v6.into()], cgroup, link })
    }

    /// Adds a workload to `host` and leads its addresses there.
    ///
    /// # Errors
    /// Where `ip` refuses, as it does for an interface that is there already.
    pub fn workload(&self, host: &Host, name: &str, addresses: [IpAddr; 2]) -> anyhow::Result<Seat> {
        let netns = Netns::create(&self.lease, &format!("{}.{name}", host.name), false)?;
        let interface: String = format!("v-{name}").chars().take(INTERFACE_MAX).collect();
        host.netns.ip(&format!(
            "link add {interface} type veth peer name eth0 netns {}\n\
             addr add 169.254.1.1/32 dev {interface}\n\
             addr add fe80::1/64 dev {interface} nodad\n\
             link set {interface} up\n",
            netns.name()
        ))?;
        netns.ip(&uplink("169.254.1.1", addresses))?;
        let place = Place { netns: Some(netns.path()), cgroup: Some(host.cgroup.clone()) };
        let seat = Seat { netns, interface, addresses, place };
        self.lead(host, &seat)?;
        Ok(seat)
    }

    /// Leads the addresses of `seat` to its host, wherever they led before.
    ///
    /// # Errors
    /// Where `ip` refuses.
    pub fn lead(&self, host: &Host, seat: &Seat) -> anyhow::Result<()> {
        let mut inside = String::new();
        for (address, via) in seat.addresses.iter().zip(&host.addresses) {
            // The host speaks to its workloads from its own address.
            writeln!(inside, "route replace {address} dev {} src {via}", seat.interface)?;
        }
        host.netns.ip(&inside)?;
        self.lead_networks(host, seat.addresses.map(IpNet::from))
    }

    /// Leads `networks`, one per family, to `host`, which knows the way on.
    ///
    /// # Errors
    /// Where `ip` refuses.
    pub fn lead_networks(&self, host: &Host, networks: [IpNet; 2]) -> anyhow::Result<()> {
        let mut router = String::new();
        for (network, via) in networks.iter().zip(&host.addresses) {
            let onlink = if via.is_ipv4() { "onlink" } else { "" };
            writeln!(router, "route replace {network} via {via} dev {} {onlink}", host.link)?;
        }
        self.router.ip(&router)
    }
}

/// The inside of a link to a gateway that has a link-local address in both families.
fn uplink(gateway: &str, addresses: [IpAddr; 2]) -> String {
    let [v4, v6] = addresses;
    format!(
        "addr add {v4}/32 dev eth0\n\
         addr add {v6}/128 dev eth0 nodad\n\
         link set eth0 up\n\
         route add default via {gateway} dev eth0 onlink\n\
         route add default via fe80::1 dev eth0\n"
    )
}

impl Seat {
    /// Takes the workload away, as when it ends: its interface, and the addresses with it.
    ///
    /// # Errors
    /// Where it is gone already.
    pub fn remove(self) -> anyhow::Result<()> {
        // The interface goes at once; a namespace may live on for as long as a dying process is in it.
        self.netns.ip("link delete eth0")?;
        self.netns.remove()
    }
}
