//! The node role: takes its relay's log, compiles it, and keeps the kernel in step.
mod addresses;
mod directory;
pub mod enforcement;
mod events;
pub mod flows;
mod follower;
mod local;
mod status;

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axle_core::{
    model::Labels,
    session::{ENFORCED, Heartbeat},
};
use axle_transport::{
    sync::{LinkSettings, LinkState},
    tls::{ClientTls, Expect},
};
use tokio::sync::{oneshot, watch};

use crate::{
    clock,
    credentials::RoleCredentials,
    dataplane::{self, DataPlane, Settings},
    dns,
    flow_queue::{self, FlowQueue},
    inventory::InventoryWatch,
    lock::PATIENCE,
    merged_log::{Feed, MergedLog, Ownership},
    problems::Problems,
    renew::keep_renewed,
    report::keep_reporting,
    shared_log::{FeedIntake, Hooks, SharedLog, fresh_uid},
    state_directory::{Enrollment, StateDirectory},
    status::NodeStatus,
    tasks::Tasks,
    upstream::{Above, LinkParts, Sent, is_up, keep_connected, why_away},
};
pub use addresses::own_addresses;
use enforcement::{EnforcedWatch, Enforcement, Enforcer, Place, Translating, Translation, Work};
use flows::Attributor;
use follower::EnforcementFollower;
use local::LocalInventory;

/// The highest ceiling of the wait before another attempt to reach the relay, which serves one cluster.
const SLOWEST_RECONNECT: Duration = Duration::from_secs(2);

/// What a node is told at its start.
#[derive(Debug, Clone)]
pub struct NodeSetup {
    /// Who it is.
    pub enrollment: Enrollment,
    /// Where its relay is, `HOST:PORT`.
    pub relay: String,
    /// Its own addresses; empty: those of its interfaces.
    pub addresses: Vec<IpAddr>,
    /// Its labels.
    pub labels: Labels,
    /// Where programs and maps are pinned.
    pub pins: PathBuf,
    /// The workloads' cgroup, where services are translated.
    pub cgroup: Option<PathBuf>,
    /// Where names of services are answered.
    pub dns_listen: Vec<SocketAddr>,
    /// How often each side of a session says that it is alive.
    pub heartbeat: Duration,
    /// How often the machine's own addresses are looked at.
    pub rescan: Duration,
    /// Whether the relay role runs in the same process, and takes the inventory's other documents.
    pub beside_relay: bool,
    /// Whether the inventory says what this machine is: until it does, what was known before stays.
    pub inventory_knows: bool,
}

/// A running node.
pub struct Node {
    relay: String,
    log: Arc<SharedLog>,
    enforcement: Enforcement,
    enforced: EnforcedWatch,
    credentials: RoleCredentials,
    link: watch::Receiver<LinkState>,
    queue: FlowQueue,
    resyncs: Arc<AtomicU64>,
}

impl Node {
    /// Starts the role: everything it does runs in `tasks`, and in a thread for the kernel.
    ///
    /// # Errors
    /// When its log or its pin directory cannot be had.
    pub async fn start(
        setup: NodeSetup,
        state: &StateDirectory,
        credentials: RoleCredentials,
        inventory: InventoryWatch,
        problems: &Problems,
        tasks: &mut Tasks,
    ) -> anyhow::Result<Self> {
        let Enrollment { cluster, node, .. } = setup.enrollment.clone();
        let place = Place { cluster, node: node.clone() };
        let (log, damage) =
            MergedLog::open(&state.node_log(), Ownership::Node { cluster, node: node.clone() }, fresh_uid())?;
        damage.iter().for_each(|damage| tracing::error!(%damage, "the node's log"));
        let log = SharedLog::new(log);
        tasks.spawn("syncing the node's log", log.clone().keep_synced());

        let plane = open_plane(&setup.pins).await?;
        let translating = Translating::new(Translation {
            cluster,
            node: node.clone(),
            cgroup: setup.cgroup.clone(),
            pins: setup.pins.clone(),
        });
        let names = translating.names();
        let resolve: dns::Resolve = Arc::new(move |name, asked| names.resolve(name, asked));
        tasks.spawn("names", dns::keep_serving(setup.dns_listen.clone(), resolve, problems.clone()));
        let (enforcer, damage) =
            Enforcer::new(place.clone(), plane, translating, &state.held_back(), &state.in_force())?;
        damage.iter().for_each(|damage| tracing::error!(%damage, "the policies in force"));
        let (queue, flow_source) = flow_queue::queue();
        let (events_sender, events) = oneshot::channel();
        let attributor = Attributor::new(place, queue.clone());
        let enforcement = enforcement::start(enforcer, attributor, events_sender)?;
        tasks.spawn("verdict events", events::pump(events, enforcement.clone(), queue.clone()));

        let local = LocalInventory::open(&setup, state, log.clone(), enforcement.clone(), problems.clone())?;
        log.follow(Box::new(EnforcementFollower::new(enforcement.clone())));
        tasks.spawn("the node's inventory", local.follow(inventory));

        let enforced = enforcement.watch();
        let statuses = status::follow(node.to_string(), enforced.clone(), problems.clone(), tasks);
        let expect = Expect::Relay(cluster);
        let above = Above { address: setup.relay.clone(), expect: expect.clone() };
        let (link_sender, link) = watch::channel(LinkState::Waiting { reason: String::new() });
        let resyncs = Arc::<AtomicU64>::default();
        let sent = Sent::default();
        tasks.spawn("what the relay did not take", sent.clone().keep_offering(log.clone()));
        let session = RelaySession { log: log.clone(), sent, problems: problems.clone(), resyncs: resyncs.clone() };
        let parts = LinkParts {
            node: node.to_string(),
            own: log.up(),
            statuses,
            state: link_sender,
            settings: LinkSettings {
                heartbeat: Heartbeat { period: setup.heartbeat },
                backoff_cap: SLOWEST_RECONNECT,
                features: ENFORCED,
                ..LinkSettings::default()
            },
        };
        let replica = FeedIntake::new(log.clone(), Feed::Upstream, session);
        tasks.spawn("the session with the relay", keep_connected(above, &credentials, parts, replica)?);
        let told = problems.clone();
        let failed = move |why: Option<String>| told.set("node certificate", why.into_iter().collect());
        let renewal = keep_renewed(credentials.clone(), setup.relay.clone(), expect.clone(), failed);
        tasks.spawn("renewal at the relay", renewal);
        let tls = ClientTls::mutual(credentials.shared(), expect)?;
        tasks.spawn("flows to the relay", keep_reporting(flow_source, setup.relay.clone(), tls));
        Ok(Self { relay: setup.relay, log, enforcement, enforced, credentials, link, queue, resyncs })
    }

    /// Lets denied packets pass for so many seconds; 0 ends it. Until when, in milliseconds since 1970.
    ///
    /// # Errors
    /// Why not.
    pub async fn bypass(&self, seconds: u64) -> Result<Option<u64>, String> {
        let (answer, answered) = oneshot::channel();
        self.enforcement.ask(Work::Bypass { seconds, answer });
        answered.await.map_err(|_| "the enforcement thread has ended".to_owned())?
    }

    /// How the session with the relay is.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<LinkState> {
        self.link.clone()
    }

    /// What it proves itself with.
    #[must_use]
    pub fn credentials(&self) -> &RoleCredentials {
        &self.credentials
    }

    /// What the kernel holds.
    #[must_use]
    pub fn enforced(&self) -> EnforcedWatch {
        self.enforced.clone()
    }

    /// Why there is no session with the relay, if there is none.
    #[must_use]
    pub fn why_away(&self) -> Option<String> {
        why_away(&self.link, &format!("the relay at {}", self.relay))
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let enforced = self.enforced.borrow().clone();
        NodeStatus {
            relay: self.relay.clone(),
            connected: is_up(&self.link),
            received: self.log.read(|log| log.fed(&Feed::Upstream)),
            applied: enforced.applied,
            digest: enforced.digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            bypassed_until_ms: enforced.bypassed_until_ms,
            refused: enforced.refused.iter().map(status::refused).collect(),
            resyncs: self.resyncs.load(Ordering::Relaxed),
            certificate_expires_ms: clock::ms(self.credentials.not_after()),
            workloads: enforced.workloads.clone(),
            capacity: enforced.capacity.clone(),
            events_dropped: enforced.events_lost + self.queue.dropped(),
        }
    }
}

/// Whoever was killed just now is not quite gone yet.
async fn open_plane(pins: &Path) -> Result<DataPlane, dataplane::Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match DataPlane::open(Settings::new(pins)) {
            Err(dataplane::Error::Locked(_)) if Instant::now() < until => {
                tokio::time::sleep(PATIENCE / 50).await;
            }
            opened => return opened,
        }
    }
}

/// The node's side of all sessions with its relay.
struct RelaySession {
    log: Arc<SharedLog>,
    sent: Sent,
    problems: Problems,
    resyncs: Arc<AtomicU64>,
}

impl Hooks for RelaySession {
    fn begins_anew(&mut self) {
        self.sent.begins_anew();
    }

    fn acknowledged(&mut self, ack: axle_core::session::Ack) {
        self.sent.acknowledged(ack, &self.log, &self.problems, "the relay");
    }

    fn resynced(&mut self) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
        tracing::info!("a complete copy of the relay's log was taken");
    }
}
