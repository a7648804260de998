//! Whole clusters.
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use super::{ApiServer, Image, Kubectl, Networks, Node, api_server::Site, program};
use crate::{
    fabric::Fabric,
    process::{Place, Process},
};

const DNS: &str = include_str!("coredns.yaml");
/// The API server's port on the host of the control plane.
const API_PORT: u16 = 6443;

/// A cluster on a fabric: its control plane on a host of its own, and its nodes. Dropping it ends all of it, as a power
/// cut would. Images of the tests are in no registry: [`Cluster::load`] them.
#[derive(Debug)]
pub struct Cluster {
    /// Its nodes, `<name>1` and on.
    pub nodes: Vec<Node>,
    /// Its API server.
    pub api: ApiServer,
    /// Its addresses.
    pub networks: Networks,
    name: String,
    folder: PathBuf,
    images: Vec<PathBuf>,
    _controllers: [Process; 2],
}

impl Cluster {
    /// Starts the cluster number `number` (1 to 99) with this many nodes, and waits until they are ready and its DNS
    /// answers.
    ///
    /// # Errors
    /// Where Kubernetes' programs are missing (`make setup-kubernetes` builds them) or something does not start.
    pub fn start(fabric: &mut Fabric, name: &str, number: u8, nodes: usize) -> anyhow::Result<Self> {
        let networks = Networks(number);
        let host = fabric.host(&format!("{name}-api"))?;
        let folder = fabric.folder().join(name);
        fs::create_dir_all(&folder)?;
        let place = Place { netns: Some(host.netns.path()), cgroup: Some(host.cgroup.clone()) };
        let site = Site {
            folder: folder.clone(),
            place: place.clone(),
            address: SocketAddr::new(host.addresses[0], API_PORT),
            services: networks.services(),
        };
        let api = ApiServer::raise(site)?;
        let controllers = [controller_manager(&api, networks, &place, &folder)?, scheduler(&api, &place, &folder)?];
        let images = images(&folder)?;
        let name = name.to_owned();
        let mut cluster = Self { nodes: Vec::new(), api, networks, name, folder, images, _controllers: controllers };
        for _ in 0..nodes {
            cluster.add_node(fabric)?;
        }
        let admin = cluster.admin();
        let [v4, v6] = networks.dns().map(|address| address.to_string());
        admin.apply(&DNS.replace("ADDRESS_V4", &v4).replace("ADDRESS_V6", &v6))?;
        admin.run(&["rollout", "status", "deployment/coredns", "--namespace=kube-system", "--timeout=60s"])?;
        Ok(cluster)
    }

    /// Adds a node with all images that were loaded, and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn add_node(&mut self, fabric: &mut Fabric) -> anyhow::Result<()> {
        let host = fabric.host(&format!("{}{}", self.name, self.nodes.len() + 1))?;
        let mut node = Node::start(host, &self.folder, &self.api, self.networks)?;
        node.join(fabric, self.admin(), &self.images)?;
        self.nodes.push(node);
        Ok(())
    }

    /// kubectl (and helm, by [`Kubectl::command`]) as the administrator.
    #[must_use]
    pub fn admin(&self) -> &Kubectl {
        self.api.admin()
    }

    /// Makes an image and loads it into all nodes, also those to come.
    ///
    /// # Errors
    /// Where a file of it is missing, or a node refuses it.
    pub fn load(&mut self, image: &Image) -> anyhow::Result<()> {
        let archive = archive_of(image, &self.folder, self.images.len())?;
        for node in &self.nodes {
            node.load(&archive)?;
        }
        self.images.push(archive);
        Ok(())
    }
}

fn archive_of(image: &Image, folder: &Path, number: usize) -> anyhow::Result<PathBuf> {
    let archive = folder.join(format!("image-{number}.tar"));
    image.write(&archive)?;
    Ok(archive)
}

/// What every node needs: what keeps a pod's namespaces, DNS, and a shell for the tests.
fn images(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let images = [
        Image::busybox("test.local/pause:1", &["/bin/sleep", "2147483647"])?,
        Image::busybox("test.local/busybox:1", &["/bin/sh"])?,
        Image::new("test.local/coredns:1", &["/coredns"]).file(&program("coredns")?, "/coredns")?,
    ];
    images.iter().enumerate().map(|(number, image)| archive_of(image, folder, number)).collect()
}

fn controller_manager(api: &ApiServer, networks: Networks, place: &Place, folder: &Path) -> anyhow::Result<Process> {
    let name = "kube-controller-manager";
    let file = |name: &str| api.authority.file(name).display().to_string();
    let user = api.user(&format!("system:{name}"), None)?;
    let mut command = Command::new(program(name)?);
    command.arg("--kubeconfig").arg(user.kubeconfig()).args([
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials".to_owned(),
        // Else it takes eight seconds to start all controllers.
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
        format!("--root-ca-file={}", file("ca.crt")),
        format!("--service-account-private-key-file={}", file("service-accounts.key")),
        format!("--cluster-signing-cert-file={}", file("ca.crt")),
        format!("--cluster-signing-key-file={}", file("ca.key")),
        "--allocate-node-cidrs".to_owned(),
        format!("--cluster-cidr={}", networks.pods().join(",")),
        format!("--service-cluster-ip-range={}", networks.services().join(",")),
    ]);
    Process::start(name, command, place, &folder.join(format!("{name}.log")))
}

fn scheduler(api: &ApiServer, place: &Place, folder: &Path) -> anyhow::Result<Process> {
    let name = "kube-scheduler";
    let user = api.user(&format!("system:{name}"), None)?;
    let mut command = Command::new(program(name)?);
    command.arg("--kubeconfig").arg(user.kubeconfig()).arg("--leader-elect=false");
    Process::start(name, command, place, &folder.join(format!("{name}.log")))
}
