//! The composition root: builds the roles' parts, runs them, and answers for them.
mod answers;
mod http;
mod in_kubernetes;
mod own_node;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axle_core::model::Labels;
use tokio_util::sync::CancellationToken;

use crate::{
    control,
    credentials::RoleCredentials,
    inventory::{self, InventoryWatch},
    kubernetes::{Feeds, Joiner, Leading, Released, attachment::Attachments, keep_telling},
    listener,
    lock::DirectoryLock,
    merged_log::Reign,
    node::{Node, NodeSetup},
    probe,
    problems::Problems,
    relay::{Relay, RelaySetup, enrollment::Review},
    role::Role,
    state_directory::{Enrollment, StateDirectory, Upstream},
    tasks::Tasks,
};
use answers::{Answers, Started};
pub use in_kubernetes::KubernetesSettings;

/// What an agent is told at its start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where everything is kept.
    pub state: PathBuf,
    /// The directory of what runs here; `None`: in the state directory.
    pub inventory: Option<PathBuf>,
    /// What it does; empty: what it joined as.
    pub roles: Vec<Role>,
    /// Relay: where nodes connect.
    pub relay_listen: SocketAddr,
    /// Relay: how long nodes' certificates live.
    pub certificate_lifetime: Duration,
    /// Relay: for how long a node's expired certificate may still ask for its renewal.
    pub renewal_grace: Duration,
    /// Node: its own addresses; empty: those of its interfaces.
    pub node_addresses: Vec<std::net::IpAddr>,
    /// Node: its labels.
    pub node_labels: Labels,
    /// Node: where programs and maps are pinned.
    pub pins: PathBuf,
    /// Node: the workloads' cgroup.
    pub cgroup: Option<PathBuf>,
    /// Node: where names of services are answered; empty: nowhere.
    pub dns_listen: Vec<SocketAddr>,
    /// Where metrics and health are served; `None`: nowhere.
    pub http_listen: Option<SocketAddr>,
    /// Where metrics alone are served, to whoever comes there; `None`: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// How often each side of a session says that it is alive.
    pub heartbeat: Duration,
    /// How often the inventory is read again.
    pub rescan: Duration,
    /// In Kubernetes: where this agent is there. Then its roles must be said, and the inventory is the API server's.
    pub kubernetes: Option<KubernetesSettings>,
}

/// Why an agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It has not joined yet.
    #[error("{state} holds no enrolment: this machine has not joined a cluster")]
    NotJoined {
        /// The state directory.
        state: PathBuf,
    },
    /// It joined as something else.
    #[error("these roles do not fit how this machine joined: {0}")]
    Roles(String),
    /// Something else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// A running agent.
pub struct App {
    answers: Arc<Answers>,
    tasks: Tasks,
    http: Option<SocketAddr>,
    released: Option<Released>,
    _lock: DirectoryLock,
}

impl App {
    /// Starts everything. In Kubernetes a node waits for its relay, and a relay for its turn to lead, however long that takes.
    ///
    /// # Errors
    /// See [`StartError`]. What was in force in the kernel stays so.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let state = StateDirectory::new(&settings.state).map_err(anyhow::Error::from)?;
        let lock = state.lock().map_err(anyhow::Error::from)?;
        let mut tasks = Tasks::default();
        let problems = Problems::default();
        let stands_by = settings.kubernetes.is_some() && settings.roles == [Role::Relay];
        let begin = match &settings.kubernetes {
            Some(kubernetes) => Begin::Kubernetes(kubernetes),
            None => Begin::Directory(joined(&settings, &state)?),
        };
        let answers = Arc::new(Answers::new(stands_by, problems.clone(), settings.node_addresses.clone()));
        let open = |tasks: &mut Tasks| -> anyhow::Result<Option<SocketAddr>> {
            tasks.spawn("the local socket", control::serve(&state.socket(), answers.clone())?);
            if let Some(address) = settings.metrics_listen {
                http::start_metrics(address, answers.clone(), tasks)?;
            }
            settings.http_listen.map(|address| http::start(address, answers.clone(), tasks)).transpose()
        };
        // In Kubernetes it is asked also while it waits. Elsewhere who is kept out by another agent is told so, and not that
        // the port is taken.
        let fleet = probe::Fleet::default();
        if let Some(address) = settings.kubernetes.as_ref().and_then(|kubernetes| kubernetes.probe_listen) {
            answer_probes(address, fleet.clone(), &problems, &mut tasks);
        }
        let early = if settings.kubernetes.is_some() { Some(open(&mut tasks)?) } else { None };
        let source = match begin {
            Begin::Kubernetes(kubernetes) => {
                in_kubernetes::source(kubernetes, &settings.roles, &state, settings.heartbeat, &problems, &fleet)
                    .await?
            }
            Begin::Directory(enrollment) => {
                let inventory = directory(&settings, &state)?;
                Source { enrollment, inventory, review: None, leading: None, joiner: None, attachments: None }
            }
        };
        let Source { enrollment, inventory, review, leading, joiner, attachments } = source;
        let roles = roles(&settings, &enrollment)?;

        let relay = match (&enrollment.upstream, roles.contains(&Role::Relay)) {
            (Upstream::Hub(hub), true) => {
                let credentials = credentials(&state.relay_certificates())?;
                let setup = RelaySetup {
                    enrollment: enrollment.clone(),
                    hub: hub.clone(),
                    listen: settings.relay_listen,
                    heartbeat: settings.heartbeat,
                    certificate_lifetime: settings.certificate_lifetime,
                    renewal_grace: settings.renewal_grace,
                    review,
                    reign: leading.as_ref().map(|(reign, ..)| *reign),
                };
                Some(Relay::start(setup, &state, credentials, inventory.clone(), &problems, &mut tasks)?)
            }
            _ => None,
        };
        if let Some(log) = relay.as_ref().map(Relay::log) {
            fleet.known_by(move |address| log.read(|log| probe::has(log.contents(), address)));
        }
        let released = leading.zip(relay.as_ref()).map(|((_, leading, feeds), relay)| {
            tasks.spawn("what Kubernetes is told", keep_telling(leading.telling(relay, feeds, &problems)));
            leading.start(relay, &problems, &mut tasks)
        });
        let node = if roles.contains(&Role::Node) {
            Some(start_node(&settings, &enrollment, &state, relay.as_ref(), inventory, &problems, &mut tasks).await?)
        } else {
            None
        };
        if let (Some(joiner), Some(node)) = (joiner, &node) {
            let known = joiner.keep_joined(enrollment.clone(), node.credentials().clone(), node.link());
            tasks.spawn("being known to the relay", known);
        }
        answers.start(Started { enrollment, relay, node, attachments });
        let http = match early {
            Some(http) => http,
            None => open(&mut tasks)?,
        };
        // Not before there is an answer to who asks.
        let chain = settings.kubernetes.and_then(|kubernetes| kubernetes.chain);
        if let Some(chain) = chain.filter(|_| answers.node().is_some()) {
            tasks.spawn("the CNI chain", chain.keep_installed(state.socket(), problems));
        }
        Ok(Self { answers, tasks, http, released, _lock: lock })
    }

    /// Where metrics and health are served.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> crate::status::Status {
        self.answers.status()
    }

    /// Runs until `stop`. What is in force in the kernel stays so.
    ///
    /// # Errors
    /// If a part of it ended by itself.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), String> {
        tokio::select! {
            () = stop.cancelled() => {}
            ended = self.tasks.ended() => return Err(ended),
        }
        if let Some(released) = self.released {
            drop(self.tasks);
            released.release().await;
        }
        Ok(())
    }
}

fn answer_probes(address: SocketAddr, fleet: probe::Fleet, problems: &Problems, tasks: &mut Tasks) {
    match listener::listen(address) {
        Ok(listener) => tasks.spawn("probes of other clusters", probe::serve(listener, fleet)),
        // Nobody's enforcement is to wait for that.
        Err(error) => problems.set("probes", vec![format!("--probe-listen: {error}")]),
    }
}

/// Where the agent's enrolment comes from.
enum Begin<'a> {
    Directory(Enrollment),
    Kubernetes(&'a KubernetesSettings),
}

/// What the roles are made of, beside settings.
struct Source {
    enrollment: Enrollment,
    inventory: InventoryWatch,
    review: Option<Arc<dyn Review>>,
    leading: Option<(Reign, Leading, Feeds)>,
    joiner: Option<Joiner>,
    attachments: Option<Attachments>,
}

fn joined(settings: &Settings, state: &StateDirectory) -> Result<Enrollment, StartError> {
    let joined = state.enrollment().map_err(anyhow::Error::from)?;
    joined.ok_or_else(|| StartError::NotJoined { state: settings.state.clone() })
}

fn directory(settings: &Settings, state: &StateDirectory) -> Result<InventoryWatch, StartError> {
    let path = settings.inventory.clone().unwrap_or_else(|| state.inventory());
    if settings.inventory.is_none() {
        crate::disk::private_directory(&path).map_err(anyhow::Error::from)?;
    }
    Ok(inventory::watch(&path, settings.rescan))
}

fn roles(settings: &Settings, enrollment: &Enrollment) -> Result<Vec<Role>, StartError> {
    match (&enrollment.upstream, &settings.roles[..]) {
        (Upstream::Hub(_), []) => Ok(vec![Role::Relay, Role::Node]),
        (Upstream::Hub(_), [Role::Node]) => {
            let why = "it joined at the hub, and a node needs the relay of its own process; use --roles relay,node";
            Err(StartError::Roles(why.into()))
        }
        (Upstream::Relay(_), []) => Ok(vec![Role::Node]),
        (Upstream::Relay(relay), roles) if roles.contains(&Role::Relay) => {
            Err(StartError::Roles(format!("its relay is {relay}; use --roles node")))
        }
        (_, roles) => Ok(roles.to_vec()),
    }
}

fn credentials(path: &std::path::Path) -> Result<RoleCredentials, StartError> {
    let found = RoleCredentials::load(path).map_err(anyhow::Error::from)?;
    found.ok_or_else(|| StartError::NotJoined { state: path.to_owned() })
}

async fn start_node(
    settings: &Settings,
    enrollment: &Enrollment,
    state: &StateDirectory,
    relay: Option<&Relay>,
    inventory: InventoryWatch,
    problems: &Problems,
    tasks: &mut Tasks,
) -> Result<Node, StartError> {
    let (address, credentials) = match (relay, &enrollment.upstream) {
        (Some(relay), _) => own_node::enrolled(relay, enrollment, state, settings.renewal_grace).await?,
        (None, Upstream::Relay(address)) => (address.clone(), credentials(&state.node_certificates())?),
        (None, Upstream::Hub(_)) => return Err(StartError::Roles("it has no relay to connect to".into())),
    };
    let setup = NodeSetup {
        enrollment: enrollment.clone(),
        relay: address,
        addresses: settings.node_addresses.clone(),
        labels: settings.node_labels.clone(),
        pins: settings.pins.clone(),
        cgroup: settings.cgroup.clone().or_else(|| settings.kubernetes.as_ref().and_then(KubernetesSettings::all_pods)),
        dns_listen: settings.dns_listen.clone(),
        heartbeat: settings.heartbeat,
        rescan: settings.rescan,
        beside_relay: relay.is_some(),
        inventory_knows: settings.kubernetes.is_some(),
    };
    Ok(Node::start(setup, state, credentials, inventory, problems, tasks).await?)
}
