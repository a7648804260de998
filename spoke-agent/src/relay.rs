//! The relay role: one per cluster. It speaks to the hub, keeps its own log, and serves the cluster's nodes, with the hub
//! there or away.
mod below;
pub mod board;
pub mod enrollment;
pub mod host;
mod hub;
mod nodes;
pub mod registry;
pub mod sessions;
mod standby;
pub mod tokens;

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use axle_core::{
    model::{Name, Uid},
    session::{Heartbeat, SUPERSEDED},
};
use axle_proto::v1::{NodeStatus, enrollment_server::EnrollmentServer};
use axle_transport::{
    acceptor::{Acceptor, Guard, Limits},
    pki::Peer,
    sync::{LinkSettings, LinkState, SessionCounters, SyncServer},
    tls::{ClientTls, Expect, ServerTls},
};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::{
    clock,
    credentials::RoleCredentials,
    flow_queue,
    inventory::{ClusterObjects, InventoryWatch},
    listener,
    merged_log::{Feed, MergedLog, Ownership, Reign},
    problems::Problems,
    renew::keep_renewed,
    report::keep_reporting,
    shared_log::{FeedIntake, Hooks as _, SharedLog, Unread, fresh_uid},
    state_directory::{Enrollment, StateDirectory},
    status::RelayStatus,
    tasks::Tasks,
    upstream::{Above, LinkParts, Sent, is_up, keep_connected, why_away},
};
use board::Board;
use enrollment::{NodeEnrollment, Review};
use host::{RelayHost, is_replica};
use hub::HubSession;
pub use nodes::Nodes;
use registry::Registry;
use sessions::Sessions;
pub use standby::Standby;
use tokens::{TokenError, Tokens};

/// The highest ceiling of the wait before another attempt to reach the hub, which many do at once.
const SLOWEST_RECONNECT: Duration = Duration::from_secs(10);

/// For how long a relay waits until it knows its cluster before it serves also who has nothing yet.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a relay is told at its start.
#[derive(Debug, Clone)]
pub struct RelaySetup {
    /// Who it is.
    pub enrollment: Enrollment,
    /// Where the hub is, `HOST:PORT`.
    pub hub: String,
    /// Where nodes connect.
    pub listen: SocketAddr,
    /// How often each side of a session says that it is alive.
    pub heartbeat: Duration,
    /// How long nodes' certificates live.
    pub certificate_lifetime: Duration,
    /// For how long a node's expired certificate may still ask for its renewal.
    pub renewal_grace: Duration,
    /// Asked about tokens of service accounts; `None`: there are none here.
    pub review: Option<Arc<dyn Review>>,
    /// How it leads, if it is one of several.
    pub reign: Option<Reign>,
}

/// A running relay.
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    hub: String,
    tokens: Arc<Tokens>,
    credentials: RoleCredentials,
    enrollment: Enrollment,
    link: watch::Receiver<LinkState>,
    sent: Sent,
    resyncs: Arc<std::sync::atomic::AtomicU64>,
    nodes: Nodes,
    succeeded: watch::Receiver<Option<String>>,
}

impl Relay {
    /// Starts the role: everything it does runs in `tasks`.
    ///
    /// # Errors
    /// When its log or its port cannot be had.
    pub fn start(
        setup: RelaySetup,
        state: &StateDirectory,
        credentials: RoleCredentials,
        inventory: InventoryWatch,
        problems: &Problems,
        tasks: &mut Tasks,
    ) -> anyhow::Result<Self> {
        let RelaySetup { enrollment, hub, listen, heartbeat, certificate_lifetime, renewal_grace, review, reign } =
            setup;
        let cluster = enrollment.cluster;
        let log = open_log(&state.relay_log(), cluster, reign.as_ref())?;
        let registry = Arc::new(Registry::open(&state.nodes())?);
        let tokens = Arc::new(Tokens::open(&state.tokens())?);
        let board = Arc::new(Board::new(log.nodes().cloned().chain(registry.names())));
        let log = SharedLog::new(log);
        tasks.spawn("syncing the relay's log", log.clone().keep_synced());
        let (flows, flow_source) = flow_queue::queue();
        let look_again = Arc::new(Notify::new());
        let sessions = Sessions::default();
        let (list, listed) = watch::channel(false);
        let (succeed, succeeded) = watch::channel(None);

        let host = RelayHost {
            cluster,
            log: log.clone(),
            board: board.clone(),
            registry: registry.clone(),
            credentials: credentials.clone(),
            flows,
            heartbeat: Heartbeat { period: heartbeat },
            look_again: look_again.clone(),
            counters: Arc::<SessionCounters>::default(),
            sessions: sessions.clone(),
            listed,
            patient_until: Instant::now() + PATIENCE,
            succeeded: succeed,
        };
        let nodes = NodeEnrollment {
            credentials: credentials.clone(),
            cluster,
            cluster_name: enrollment.cluster_name.clone(),
            tokens: tokens.clone(),
            review,
            registry: registry.clone(),
            guard: guard(registry.clone(), credentials.clone(), cluster),
            lifetime: certificate_lifetime,
        };
        let address = serve_nodes(host, nodes, listen, renewal_grace, tasks)?;
        tracing::info!(%address, cluster.name = %enrollment.cluster_name, "serving nodes");

        let above = Above { address: hub.clone(), expect: Expect::Hub };
        let (link_sender, link) = watch::channel(LinkState::Waiting { reason: String::new() });
        let sent = Sent::default();
        let nodes =
            Nodes { log: log.clone(), board: board.clone(), registry: registry.clone(), sessions: sessions.clone() };
        let mut session =
            HubSession::new(log.clone(), board.clone(), registry.clone(), sessions, sent.clone(), problems.clone());
        log.read(|log| session.unread(log));
        let resyncs = session.resyncs();
        let parts = LinkParts {
            node: enrollment.node.to_string(),
            own: log.up(),
            statuses: board.watch(),
            state: link_sender,
            settings: LinkSettings {
                heartbeat: Heartbeat { period: heartbeat },
                backoff_cap: SLOWEST_RECONNECT,
                ..LinkSettings::default()
            },
        };
        let replica = FeedIntake::new(log.clone(), Feed::Upstream, session);
        tasks.spawn("the session with the hub", keep_connected(above, &credentials, parts, replica)?);
        tasks.spawn("what the hub did not take", sent.clone().keep_offering(log.clone()));
        let told = problems.clone();
        let failed = move |why: Option<String>| told.set("relay certificate", why.into_iter().collect());
        tasks.spawn("renewal at the hub", keep_renewed(credentials.clone(), hub.clone(), Expect::Hub, failed));
        let tls = ClientTls::mutual(credentials.shared(), Expect::Hub)?;
        tasks.spawn("flows to the hub", keep_reporting(flow_source, hub.clone(), tls));
        let follow = follow_inventory(log.clone(), inventory, look_again, list, problems.clone());
        tasks.spawn("the cluster's inventory", follow);
        Ok(Self { address, hub, tokens, credentials, enrollment, link, sent, resyncs, nodes, succeeded })
    }

    /// Resolves when another replica leads by the word of the hub, or by its own: why.
    pub fn superseded(&self) -> impl Future<Output = String> + Send + use<> {
        let (mut link, mut succeeded) = (self.link.clone(), self.succeeded.clone());
        async move {
            let refused = |state: &LinkState| match state {
                LinkState::Waiting { reason } if reason.starts_with(SUPERSEDED) => Some(reason.clone()),
                _ => None,
            };
            let by_hub = async {
                let state = link.wait_for(|state| refused(state).is_some()).await;
                state.ok().and_then(|state| refused(&state)).unwrap_or_default()
            };
            let by_itself = async {
                let why = succeeded.wait_for(Option::is_some).await;
                why.ok().and_then(|why| why.clone()).unwrap_or_default()
            };
            tokio::select! {
                why = by_hub => why,
                why = by_itself => why,
            }
        }
    }

    /// A token with which `node` joins, and until when it is good, in milliseconds since 1970.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn create_token(&self, node: Name, lifetime: Duration) -> Result<(String, u64), TokenError> {
        let root = self.credentials.root();
        let now = clock::now_ms();
        let expires = now.saturating_add(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX));
        let token = self.tokens.create(root, self.enrollment.cluster, node, now, expires)?;
        Ok((token.reveal(), expires))
    }

    /// Whether a node with these credentials is let in.
    #[must_use]
    pub fn knows(&self, credentials: &RoleCredentials) -> bool {
        self.nodes.registry.admits(credentials.shared().load().peer()).is_ok()
    }

    /// The cluster that it is the relay of.
    #[must_use]
    pub fn cluster(&self) -> Uid {
        self.enrollment.cluster
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> Arc<SharedLog> {
        self.nodes.log.clone()
    }

    /// What its nodes say of themselves.
    #[must_use]
    pub fn statuses(&self) -> watch::Receiver<Vec<NodeStatus>> {
        self.nodes.board.watch()
    }

    /// Its cluster's nodes, for who knows which of them are gone.
    #[must_use]
    pub fn nodes(&self) -> Nodes {
        self.nodes.clone()
    }

    /// What it proves itself with.
    #[must_use]
    pub fn credentials(&self) -> &RoleCredentials {
        &self.credentials
    }

    /// Why there is no session with the hub, if there is none.
    #[must_use]
    pub fn why_away(&self) -> Option<String> {
        why_away(&self.link, &format!("the hub at {}", self.hub))
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        RelayStatus {
            listen: self.address.to_string(),
            hub: self.hub.clone(),
            connected: is_up(&self.link),
            received: self.nodes.log.read(|log| log.contents().origin()),
            sent: self.sent.position(),
            head: self.nodes.log.read(|log| log.contents().position()),
            resyncs: self.resyncs.load(std::sync::atomic::Ordering::Relaxed),
            certificate_expires_ms: clock::ms(self.credentials.not_after()),
            nodes: self.nodes.board.nodes(),
        }
    }
}

fn open_log(directory: &Path, cluster: Uid, reign: Option<&Reign>) -> anyhow::Result<MergedLog> {
    let (mut log, damage) = MergedLog::open(directory, Ownership::Relay { cluster }, fresh_uid())?;
    damage.iter().for_each(|damage| tracing::error!(%damage, "the relay's log"));
    reign.into_iter().try_for_each(|reign| log.lead(reign))?;
    Ok(log)
}

fn guard(registry: Arc<Registry>, credentials: RoleCredentials, cluster: Uid) -> Arc<Guard> {
    let admits =
        move |peer: &Peer| if is_replica(peer, cluster, &credentials) { Ok(()) } else { registry.admits(peer) };
    Arc::new(Guard::new(admits))
}

fn serve_nodes(
    host: RelayHost,
    nodes: NodeEnrollment,
    listen: SocketAddr,
    renewal_grace: Duration,
    tasks: &mut Tasks,
) -> anyhow::Result<SocketAddr> {
    let listener = listener::listen(listen)?;
    let address = listener.local_addr()?;
    let tls = ServerTls::with_grace(host.credentials.shared(), renewal_grace)?;
    let acceptor = Acceptor::new(tls, nodes.guard.clone(), Limits::default());
    let routes = Routes::new(EnrollmentServer::new(nodes)).add_service(SyncServer::new(Arc::new(host)));
    tasks.spawn("serving nodes", acceptor.serve(listener, routes, CancellationToken::new()));
    Ok(address)
}

/// Takes namespaces and exports from the inventory, at each change of it, and of what nodes say that bears on it: workloads in
/// a new namespace, and nodes, whose addresses tell backends on them.
async fn follow_inventory(
    log: Arc<SharedLog>,
    mut inventory: InventoryWatch,
    look_again: Arc<Notify>,
    listed: watch::Sender<bool>,
    problems: Problems,
) {
    log.begun().await;
    loop {
        let now = inventory.borrow_and_update().clone();
        let make = |log: &MergedLog| {
            let objects = ClusterObjects::of(&now, log, clock::now_ms(), &mut fresh_uid);
            Ok::<_, Infallible>((objects.batch, objects.problems))
        };
        let Ok((_, wrong)) = log.take_with(&Feed::Local, (None, None), Unread::default(), make);
        problems.set("inventory", now.problems.iter().cloned().chain(wrong).chain(log.trouble()).collect());
        listed.send_if_modified(|listed| now.listed && !std::mem::replace(listed, true));
        tokio::select! {
            changed = inventory.changed() => if changed.is_err() { return },
            () = look_again.notified() => {}
        }
    }
}
