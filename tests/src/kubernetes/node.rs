//! A node: its own kubelet, containerd and kube-proxy on a host of the fabric.
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, anyhow};
use ipnet::IpNet;
use serde_json::json;

use super::{ApiServer, Kubectl, Networks, PATIENCE, program};
use crate::{
    cgroup, eventually,
    fabric::{Fabric, Host},
    process::{Place, Process, run},
};

/// Starts the rest of a node in it.
const SCRIPT: &str = include_str!("node/node.sh");
const CONTAINERD: &str = include_str!("node/containerd.toml");

/// A node of a cluster. Dropping it is a power cut: its pods end with it, and the API server knows nothing of it.
#[derive(Debug)]
pub struct Node {
    /// The machine: its name is the node's.
    pub host: Host,
    // Killing it kills everything in it.
    process: Process,
    _proxy: Process,
}

impl Node {
    /// Starts the programs of a node; it is not ready before [`Node::join`].
    pub(super) fn start(host: Host, folder: &Path, api: &ApiServer, networks: Networks) -> anyhow::Result<Self> {
        let files = Files::write(&host, folder, api, networks)?;
        let root = cgroup::root()?;
        let v1 = cgroup::make_v1(&root, &host.cgroup)?;
        cgroup::delegate(&root, &host.cgroup)?;
        let place = Place { netns: Some(host.netns.path()), cgroup: Some(host.cgroup.clone()) };
        let roots: Vec<_> = cgroup::v1_roots()?.into_iter().chain([root]).collect();
        let groups = roots.iter().zip(v1.iter().chain([&host.cgroup]));
        let groups: Vec<_> = groups.map(|(root, group)| format!("{}={}", root.display(), group.display())).collect();
        let v1: Vec<_> = v1.iter().map(|group| group.display().to_string()).collect();
        let programs = program("kubelet")?.parent().context("a program is in a folder")?.to_owned();

        let mut command = Command::new("bash");
        command.arg(&files.script).env("FOLDER", &files.folder).env("PROGRAMS", programs).env("NAME", &host.name);
        command.env("CGROUPS", groups.join(" ")).env("V1", v1.join(" ")).env("V2", &host.cgroup);
        command.env("ADDRESSES", host.addresses.map(|address| address.to_string()).join(","));
        let process = Process::start(&host.name, command, &place, &folder.join(format!("{}.log", host.name)))?;

        let mut command = Command::new(program("kube-proxy")?);
        command.arg("--config").arg(&files.proxy);
        let log = folder.join(format!("{}-proxy.log", host.name));
        let proxy = Process::start("kube-proxy", command, &place, &log)?;
        Ok(Self { host, process, _proxy: proxy })
    }

    /// Loads `images`, gives the node the addresses of its pods once the cluster knows them, and waits until it is
    /// ready.
    pub(super) fn join(&mut self, fabric: &Fabric, admin: &Kubectl, images: &[PathBuf]) -> anyhow::Result<()> {
        eventually("containerd to answer", PATIENCE, || {
            self.process.check_alive()?;
            run(&mut self.ctr(&["version"])?)
        })?;
        for image in images {
            self.load(image)?;
        }
        let name = self.host.name.clone();
        let networks = eventually("the node's networks", PATIENCE, || {
            self.process.check_alive()?;
            let node = admin.json(&["get", "node", &name])?;
            let networks = node["spec"]["podCIDRs"].as_array().context("none yet")?;
            let networks = networks.iter().map(|network| Ok(network.as_str().context("no text")?.parse()?));
            let networks: Vec<IpNet> = networks.collect::<anyhow::Result<_>>()?;
            <[IpNet; 2]>::try_from(networks).map_err(|networks| anyhow!("wanted one per family: {networks:?}"))
        })?;
        fabric.lead_networks(&self.host, networks)?;
        let ranges = networks.map(|network| json!([{"subnet": network.to_string()}]));
        let pods = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [{
            "type": "ptp-at-once",
            "ipam": {"type": "host-local", "ranges": ranges, "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]},
        }]});
        fs::write(self.root()?.join("etc/cni/net.d/10-pods.conflist"), pods.to_string())?;
        admin.run(&["wait", "--for=condition=Ready", &format!("node/{name}"), "--timeout=60s"]).map(drop)
    }

    /// Loads an image, as an archive, into the node.
    ///
    /// # Errors
    /// If containerd refuses it.
    pub fn load(&self, archive: &Path) -> anyhow::Result<()> {
        let archive = archive.display().to_string();
        run(&mut self.ctr(&["--namespace=k8s.io", "images", "import", &archive])?).map(drop)
    }

    /// The root of the node's file system.
    ///
    /// # Errors
    /// If the node has ended.
    pub fn root(&self) -> anyhow::Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root", self.first()?)))
    }

    /// A command that runs in the node, in all of its namespaces.
    ///
    /// # Errors
    /// If the node has ended.
    pub fn command(&self, program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
        let mut command = Command::new("nsenter");
        command.args(["--all", "--target", &self.first()?.to_string(), "--"]).arg(program);
        Ok(command)
    }

    fn ctr(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(program("ctr")?);
        command.arg("--address").arg(self.root()?.join("run/containerd/containerd.sock")).args(arguments);
        Ok(command)
    }

    /// The node's first process.
    fn first(&self) -> anyhow::Result<u32> {
        let pid = self.process.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        Ok(children.split_whitespace().next().context("the node has not begun, or has ended")?.parse()?)
    }
}

/// What a node's programs read.
struct Files {
    folder: PathBuf,
    script: PathBuf,
    proxy: PathBuf,
}

impl Files {
    fn write(host: &Host, folder: &Path, api: &ApiServer, networks: Networks) -> anyhow::Result<Self> {
        let (name, authority, url) = (&host.name, &api.authority, api.url());
        let own = folder.join(name);
        let etc = own.join("etc");
        fs::create_dir_all(&etc)?;
        let user = format!("system:node:{name}");
        let hosts = [vec![name.clone()], host.addresses.map(|address| address.to_string()).to_vec()].concat();
        authority.sign(&format!("{name}-serving"), &user, Some("system:nodes"), &hosts)?;
        let kubeconfig = authority.kubeconfig(name, &url, &user, Some("system:nodes"))?;
        let files = [
            (authority.file("ca.crt"), "ca.crt"),
            (authority.file(&format!("{name}-serving.crt")), "kubelet.crt"),
            (authority.file(&format!("{name}-serving.key")), "kubelet.key"),
            (kubeconfig, "kubelet.kubeconfig"),
        ];
        for (from, to) in files {
            fs::copy(from, etc.join(to))?;
        }
        fs::write(etc.join("containerd.toml"), CONTAINERD)?;
        fs::write(etc.join("resolv.conf"), "")?;
        fs::write(etc.join("kubelet.json"), kubelet(networks).to_string())?;
        let script = own.join("node.sh");
        fs::write(&script, SCRIPT)?;

        let proxy = own.join("proxy.json");
        let kubeconfig = authority.kubeconfig(&format!("{name}-proxy"), &url, "system:kube-proxy", None)?;
        let settings = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "hostnameOverride": name,
            "clientConnection": {"kubeconfig": kubeconfig},
            // These are the machine's.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        });
        fs::write(&proxy, settings.to_string())?;
        Ok(Self { folder: own, script, proxy })
    }
}

fn kubelet(networks: Networks) -> serde_json::Value {
    let file = |name: &str| format!("/etc/kubernetes/{name}");
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "authentication": {"anonymous": {"enabled": false}, "x509": {"clientCAFile": file("ca.crt")}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": file("kubelet.crt"),
        "tlsPrivateKeyFile": file("kubelet.key"),
        "clusterDomain": "cluster.local",
        "clusterDNS": networks.dns().map(|address| address.to_string()),
        "resolvConf": file("resolv.conf"),
        "failSwapOn": false,
        "makeIPTablesUtilChains": false,
        // What is not there cannot be pulled again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    })
}
