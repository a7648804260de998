//! An API server with its store: all that whoever only speaks to the API needs of a cluster.
use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Context as _;
use ipnet::IpNet;
use socket2::{Domain, Socket, Type};

use super::{Kubectl, PATIENCE, program, template};
use crate::{
    authority::Authority,
    cgroup, eventually,
    lease::Lease,
    process::{Place, Process},
};

/// etcd and kube-apiserver. Dropping it stops both, and removes what is stored.
///
/// They end with the thread that started them, so start it on the test's own.
#[derive(Debug)]
pub struct ApiServer {
    // Dropped in this order: who asks before who answers, and the folder of both last.
    server: Option<Process>,
    etcd: Option<Process>,
    admin: Kubectl,
    site: Site,
    pub(super) authority: Authority,
    _alone: Option<(Socket, Lease)>,
}

/// Where an API server is.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) folder: PathBuf,
    pub(super) place: Place,
    pub(super) address: SocketAddr,
    /// Of services, one per family.
    pub(super) services: [String; 2],
}

impl ApiServer {
    /// One by itself, on loopback, without controllers and nodes: what is created stays as it is, and a namespace has
    /// no service account but those that are made ([`ApiServer::namespace`]).
    ///
    /// # Errors
    /// Where Kubernetes' programs are missing (`make setup-kubernetes` builds them) or do not start.
    pub fn start() -> anyhow::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        program("kube-apiserver")?;
        let lease = Lease::take(&format!("api-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))?;
        let cgroup = cgroup::of_run(&cgroup::root()?, lease.name());
        fs::create_dir_all(&cgroup).with_context(|| format!("cannot make the cgroup {}", cgroup.display()))?;
        let (port, address) = reserve_port()?;
        let site = Site {
            folder: lease.folder(),
            place: Place { netns: None, cgroup: Some(cgroup) },
            address,
            services: ["10.96.0.0/16".to_owned(), "fd00:96::/112".to_owned()],
        };
        let mut this = Self::raise(site)?;
        this._alone = Some((port, lease));
        Ok(this)
    }

    pub(super) fn raise(site: Site) -> anyhow::Result<Self> {
        let authority = Authority::create(&site.folder.join("pki"))?;
        authority.key_pair("service-accounts")?;
        let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(str::to_owned);
        let first = first_of(&site.services[0])?;
        let hosts = [names.as_slice(), &[site.address.ip().to_string(), first.to_string()]].concat();
        authority.sign("apiserver", "kube-apiserver", None, &hosts)?;
        authority.sign("kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters"), &[])?;
        let url = format!("https://{}", site.address);
        let kubeconfig = authority.kubeconfig("admin", &url, "admin", Some("system:masters"))?;
        let admin = Kubectl { kubeconfig, place: site.place.clone() };
        let mut this = Self { server: None, etcd: None, admin, site, authority, _alone: None };
        this.resume()?;
        Ok(this)
    }

    /// The URL of the API.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.site.address)
    }

    /// kubectl as the administrator, who may do everything.
    #[must_use]
    pub fn admin(&self) -> &Kubectl {
        &self.admin
    }

    /// kubectl as somebody else, who may do what RBAC allows.
    ///
    /// # Errors
    /// Where the certificate cannot be written.
    pub fn user(&self, user: &str, group: Option<&str>) -> anyhow::Result<Kubectl> {
        let name = user.replace([':', '/'], "-");
        let kubeconfig = self.authority.kubeconfig(&name, &self.url(), user, group)?;
        Ok(Kubectl { kubeconfig, place: self.site.place.clone() })
    }

    /// Makes a namespace with its `default` service account, which a controller makes elsewhere.
    ///
    /// # Errors
    /// If the API server refuses.
    pub fn namespace(&self, name: &str) -> anyhow::Result<()> {
        self.admin.run(&["create", "namespace", name])?;
        self.admin.run(&["create", "serviceaccount", "default", "--namespace", name]).map(drop)
    }

    /// Makes the agents' service accounts in this namespace, with the rights that their chart gives them.
    ///
    /// # Errors
    /// If the API server refuses.
    pub fn agents(&self, namespace: &str) -> anyhow::Result<()> {
        let (only, hub) = ("templates/rbac.yaml", "hub.address=hub.example:7443,hub.cluster=oslo");
        let rights = template("axle-agent", &["--namespace", namespace, "--show-only", only, "--set", hub])?;
        self.admin.feed(&["apply", "--namespace", namespace, "-f", "-"], &rights).map(drop)
    }

    /// Kills the API server without warning; its store stays.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.server.take().map_or(Ok(()), Process::kill)
    }

    /// Starts what does not run, and waits until the API answers.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        if self.etcd.is_none() {
            self.etcd = Some(self.site.etcd()?);
        }
        let mut server = self.site.server(&self.authority)?;
        eventually("the API server to be ready", PATIENCE, || {
            server.check_alive()?;
            self.admin.run(&["get", "--raw", "/readyz"])
        })?;
        self.server = Some(server);
        Ok(())
    }
}

impl Site {
    fn etcd(&self) -> anyhow::Result<Process> {
        let folder = self.folder.join("etcd");
        fs::create_dir_all(&folder)?;
        let mut command = Command::new(program("etcd")?);
        // Its sockets are files of this folder: etcd wants a port in their names, and has none.
        let (client, peer) = ("unix://client:0", "unix://peer:0");
        command.current_dir(&folder).args(["--data-dir", "data", "--unsafe-no-fsync", "--log-level", "warn"]);
        command.args(["--listen-client-urls", client, "--advertise-client-urls", client]);
        command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
        command.args(["--name", "etcd", "--initial-cluster", &format!("etcd={peer}")]);
        Process::start("etcd", command, &self.place, &self.folder.join("etcd.log"))
    }

    fn server(&self, authority: &Authority) -> anyhow::Result<Process> {
        let file = |name: &str| authority.file(name).display().to_string();
        let address = self.address.ip().to_string();
        let store = format!("unix://{}", self.folder.join("etcd/client:0").display());
        let mut command = Command::new(program("kube-apiserver")?);
        command.args([
            format!("--etcd-servers={store}"),
            format!("--bind-address={address}"),
            format!("--advertise-address={address}"),
            format!("--secure-port={}", self.address.port()),
            "--permit-port-sharing".into(),
            format!("--service-cluster-ip-range={}", self.services.join(",")),
            "--authorization-mode=Node,RBAC".into(),
            "--enable-admission-plugins=NodeRestriction".into(),
            "--allow-privileged".into(),
            format!("--client-ca-file={}", file("ca.crt")),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            format!("--kubelet-certificate-authority={}", file("ca.crt")),
            format!("--kubelet-client-certificate={}", file("kubelet-client.crt")),
            format!("--kubelet-client-key={}", file("kubelet-client.key")),
            "--kubelet-preferred-address-types=InternalIP".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            format!("--service-account-key-file={}", file("service-accounts.pub")),
            format!("--service-account-signing-key-file={}", file("service-accounts.key")),
        ]);
        if self.address.ip().is_loopback() {
            // It may not be written down as the endpoint of the service `kubernetes`.
            command.arg("--endpoint-reconciler-type=none");
        }
        Process::start("kube-apiserver", command, &self.place, &self.folder.join("kube-apiserver.log"))
    }
}

/// A port of loopback that nobody else is given. The socket only keeps it: it does not listen, so every connection goes
/// to the API server, which shares the port; and it stays ours while the API server is away.
fn reserve_port() -> anyhow::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let address = socket.local_addr()?.as_socket().context("an IPv4 socket has an address")?;
    Ok((socket, address))
}

/// The first address of a network: the service `kubernetes`.
fn first_of(network: &str) -> anyhow::Result<IpAddr> {
    let network: IpNet = network.parse()?;
    network.hosts().next().with_context(|| format!("{network} is empty"))
}
