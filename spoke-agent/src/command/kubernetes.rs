//! The options of an agent in Kubernetes.
use std::{net::SocketAddr, path::PathBuf, time::Duration};

use axle_core::{duration, model::Name};
use axle_transport::pki::JoinToken;
use clap::Args;

use super::{Exit, Failure};
use crate::{
    app::KubernetesSettings,
    kubernetes::{
        Joins, NetworkPolicies,
        cni::{Chain, Unprotected},
    },
};

/// See the module. Most of them a pod has from its own description.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "In Kubernetes")]
pub struct KubernetesArguments {
    /// Inventory, enrolment and status are the API server's.
    #[arg(long, env = "AXLE_KUBERNETES", requires_all = ["node", "roles"])]
    pub kubernetes: bool,
    /// How the API server is found; by default as a pod does.
    #[arg(long, env = "KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The node that this agent runs on.
    #[arg(long, env = "AXLE_NODE", value_name = "NAME")]
    pub node: Option<Name>,
    /// The pod that this agent is; by default its host name.
    #[arg(long, env = "AXLE_POD", value_name = "NAME")]
    pub pod: Option<String>,
    /// The namespace of the installation; by default that of the pod's service account.
    #[arg(long, env = "AXLE_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Node: the file with the service account's token for the audience axle.dev/relay, by which it joins.
    #[arg(long, env = "AXLE_NODE_TOKEN", value_name = "FILE", default_value = "/var/run/secrets/axle.dev/relay/token")]
    pub node_token: PathBuf,
    /// Relay: the service account as which nodes join.
    #[arg(long, env = "AXLE_NODE_ACCOUNT", value_name = "NAME", default_value = "axle-agent")]
    pub node_account: String,
    /// Node: where the cgroups (version 2) of this machine are mounted, or those of version 1 with a folder `unified` of
    /// version 2 beside them.
    #[arg(long, env = "AXLE_CGROUP_ROOT", value_name = "DIR", default_value = "/sys/fs/cgroup")]
    pub cgroup_root: PathBuf,
    #[command(flatten)]
    chain: ChainArguments,
    /// Relay: `ignore` leaves NetworkPolicy to a network plugin that enforces it.
    #[arg(long, env = "AXLE_NETWORK_POLICIES", value_enum, default_value_t = NetworkPolicies::Enforce)]
    pub network_policies: NetworkPolicies,
    /// Relay: the hub.
    #[arg(long, env = "AXLE_HUB", value_name = "HOST:PORT", requires = "cluster")]
    pub hub: Option<String>,
    /// Relay: the cluster's name, as it was added at the hub.
    #[arg(long, env = "AXLE_CLUSTER", value_name = "NAME")]
    pub cluster: Option<Name>,
    /// Relay: where probes of other clusters are answered; by default nowhere.
    #[arg(long, env = "AXLE_PROBE_LISTEN", value_name = "ADDR")]
    pub probe_listen: Option<SocketAddr>,
    /// Relay: the token with which the cluster joins, once; not looked at afterwards.
    #[arg(long, env = "AXLE_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
}

/// Where the node's CNI chain is.
#[derive(Debug, Clone, Args)]
pub struct ChainFolders {
    /// Node: the folder of the container runtime's CNI configurations, such as /etc/cni/net.d. The first of them gets a
    /// plugin at its end that holds each new pod up until what it may do is in force. By default none does.
    #[arg(long, env = "AXLE_CNI_CONFIGURATIONS", value_name = "DIR")]
    pub cni_configurations: Option<PathBuf>,
    /// Node: the folder of its CNI plugins.
    #[arg(long, env = "AXLE_CNI_PLUGINS", value_name = "DIR", default_value = "/opt/cni/bin")]
    pub cni_plugins: PathBuf,
}

/// How pods are held up there.
#[derive(Debug, Clone, Args)]
pub(super) struct ChainArguments {
    #[command(flatten)]
    folders: ChainFolders,
    /// Node: how long a pod is held up.
    #[arg(long, env = "AXLE_CNI_WAIT", value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    cni_wait: Duration,
    /// Node: what becomes of a pod that is not protected by then.
    #[arg(long, env = "AXLE_CNI_UNPROTECTED", value_enum, default_value_t = Unprotected::Refused)]
    cni_unprotected: Unprotected,
}

impl ChainArguments {
    /// `None` if nobody is to be held up.
    fn chain(self) -> Result<Option<Chain>, Failure> {
        let Some(configurations) = self.folders.cni_configurations else { return Ok(None) };
        let own = std::env::current_exe().map_err(|error| Failure::internal(error.to_string()))?;
        Ok(Some(Chain {
            configurations,
            plugins: self.folders.cni_plugins,
            program: own.with_file_name("axle-cni"),
            wait: self.cni_wait,
            unprotected: self.cni_unprotected,
        }))
    }
}

impl KubernetesArguments {
    /// `None` outside of Kubernetes.
    pub(super) fn settings(self, rescan: Duration) -> Result<Option<KubernetesSettings>, Failure> {
        let Self { kubernetes, kubeconfig, node, pod, namespace, node_token, node_account, .. } = self;
        let Self { cgroup_root, chain, network_policies, hub, cluster, probe_listen, token, .. } = self;
        let Some(node) = node.filter(|_| kubernetes) else { return Ok(None) };
        let usage = |message: String| Failure::new(Exit::Usage, message, "");
        let token = token.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let token =
            token.map(|text| text.parse::<JoinToken>()).transpose().map_err(|error| usage(error.to_string()))?;
        let pod = match pod {
            Some(pod) => pod,
            None => std::fs::read_to_string("/proc/sys/kernel/hostname")
                .map_err(|error| usage(format!("the pod's name is not known: {error}; give it with --pod")))?
                .trim()
                .to_owned(),
        };
        let joins = hub.zip(cluster).map(|(hub, cluster)| Joins { hub, cluster, token });
        Ok(Some(KubernetesSettings {
            kubeconfig,
            namespace,
            pod,
            node,
            token: node_token,
            node_account,
            cgroup_root,
            rescan,
            chain: chain.chain()?,
            network_policies,
            probe_listen,
            joins,
        }))
    }
}
