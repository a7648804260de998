//! Where the agent runs in Kubernetes: what the roles are made of comes from there.
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axle_core::{model::Name, session::Heartbeat};

use super::{Source, StartError};
use crate::{
    kubernetes::{
        ApiServer, Feeds, Here, Joiner, Joins, NetworkPolicies, Reviewer,
        attachment::{self, Attachments},
        cluster_inventory,
        cni::Chain,
        lead, local_inventory,
    },
    probe::Fleet,
    problems::Problems,
    role::Role,
    state_directory::StateDirectory,
};

/// What an agent in Kubernetes is told at its start.
#[derive(Debug, Clone)]
pub struct KubernetesSettings {
    /// How the API server is found; `None`: as a pod does.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of the installation; `None`: that of its service account.
    pub namespace: Option<String>,
    /// Its own pod.
    pub pod: String,
    /// The node that it runs on.
    pub node: Name,
    /// Node: the file with the token that it shows to the relay.
    pub token: PathBuf,
    /// Relay: the service account of nodes.
    pub node_account: String,
    /// Node: where the cgroups (version 2) of this machine are mounted.
    pub cgroup_root: PathBuf,
    /// Node: how often pods are looked for even if nothing seemed to change.
    pub rescan: Duration,
    /// Node: the CNI chain that pods are held up in until they are protected, if they are.
    pub chain: Option<Chain>,
    /// Relay: what is done with NetworkPolicy.
    pub network_policies: NetworkPolicies,
    /// Relay: where probes of other clusters are answered; `None`: nowhere.
    pub probe_listen: Option<SocketAddr>,
    /// Relay: how the cluster joins.
    pub joins: Option<Joins>,
}

impl KubernetesSettings {
    /// The cgroup of all pods, which is where services are translated.
    pub(super) fn all_pods(&self) -> Option<PathBuf> {
        attachment::all_pods(&self.cgroup_root)
    }
}

/// One role: they run in different pods, as different service accounts.
pub(super) async fn source(
    settings: &KubernetesSettings,
    roles: &[Role],
    state: &StateDirectory,
    heartbeat: Duration,
    problems: &Problems,
    fleet: &Fleet,
) -> Result<Source, StartError> {
    let api = ApiServer::find(settings.kubeconfig.as_deref()).await.map_err(anyhow::Error::from)?;
    let namespace = settings.namespace.clone().unwrap_or_else(|| api.namespace().to_owned());
    let here = Here { namespace, pod: settings.pod.clone(), node: settings.node.clone() };
    match roles {
        [Role::Node] => {
            let joiner = Joiner::new(api.clone(), here.clone(), settings.token.clone());
            let enrollment = joiner.joined(state, problems).await?;
            let attachments = Attachments::follow(&settings.cgroup_root, settings.rescan);
            let inventory = local_inventory(&api, &here.node, attachments.places());
            let joiner = Some(joiner);
            Ok(Source { enrollment, inventory, review: None, leading: None, joiner, attachments: Some(attachments) })
        }
        [Role::Relay] => {
            let why = "a relay in Kubernetes needs --hub and --cluster";
            let joins = settings.joins.as_ref().ok_or_else(|| StartError::Roles(why.into()))?;
            let heartbeat = Heartbeat { period: heartbeat };
            let (enrollment, reign, leading) = lead(&api, &here, joins, state, heartbeat, problems, fleet).await?;
            let review = Arc::new(Reviewer::new(api.client(), &here.namespace, &settings.node_account));
            let feeds = Feeds::follow(&api.client(), settings.network_policies);
            let inventory = feeds.inventory(cluster_inventory(&api, &here.namespace));
            let leading = Some((reign, leading, feeds));
            Ok(Source { enrollment, inventory, review: Some(review), leading, joiner: None, attachments: None })
        }
        _ => {
            let why = "in Kubernetes each pod has one role; use --roles node or --roles relay";
            Err(StartError::Roles(why.into()))
        }
    }
}
