//! The hub's end of the sync sessions: its log to every relay, every relay's log into its own.
use std::{sync::Arc, time::Duration};

use axle_core::{
    log::{Change, Contents, Delta, Position, Record, Snapshot},
    model::{Key, Kind, Scope, Uid},
    refusal::Refusal,
    session::{Ack, Heartbeat, Intake, Limits},
    state::{Command, State},
};
use axle_proto::v1;
use axle_transport::{
    pki::{Peer, Principal},
    sync::{Admission, Goodbye, Host, Introduction, Replica as Copy, View, ViewSettings},
};
use tokio_util::sync::CancellationToken;

use crate::{
    live::{Connection, Live},
    members::Members,
    replica::{Follower, Replica},
    sessions::{Session, Sessions},
    writer::{WriteError, Writer},
};

/// What one cluster may say of itself at once.
const LIMITS: Limits = Limits { objects: 500_000, bytes: 512 << 20 };
/// When a spoke that could not be served comes again.
const RETRY: Duration = Duration::from_secs(2);

/// Serves every relay. All clusters have equal rights for now, so there is one view, encoded once.
pub struct Distribution {
    view: Arc<View>,
    writer: Writer,
    replica: Arc<Replica>,
    members: Arc<Members>,
    live: Arc<Live>,
    heartbeat: Duration,
    sessions: Arc<Sessions>,
    stop: CancellationToken,
}

impl Distribution {
    /// Begins to follow `replica`. Sessions end with `stop`.
    #[must_use]
    pub fn new(
        writer: Writer,
        replica: Arc<Replica>,
        members: Arc<Members>,
        live: Arc<Live>,
        sessions: Arc<Sessions>,
        heartbeat: Duration,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let view = View::new(Contents::default(), ViewSettings::default());
        replica.follow(Arc::new(Feed { view: view.clone(), live: live.clone(), sessions: sessions.clone() }));
        Arc::new(Self { view, writer, replica, members, live, heartbeat, sessions, stop })
    }

    /// What relays see.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }
}

/// Keeps the view where the replica is.
struct Feed {
    view: Arc<View>,
    live: Arc<Live>,
    sessions: Arc<Sessions>,
}

impl Feed {
    fn removed(&self, cluster: Uid) {
        self.sessions.remove(cluster);
        self.live.forget(cluster);
    }
}

impl Follower for Feed {
    fn moved(&self, state: &State, records: &[Record]) {
        let epoch = state.position().epoch;
        for record in records {
            if let Err(why) =
                self.view.append(&Delta::of(record, epoch).filtered(|change| change.key().kind.is_for_spokes()))
            {
                tracing::error!(%why, "the view does not follow the log; it begins anew");
                return self.restarted(state);
            }
            for change in &record.changes {
                match change {
                    Change::Delete { key, uid } if key.kind == Kind::Cluster => self.removed(*uid),
                    Change::Delete {
                        key: Key { kind: Kind::Node, scope: Scope::Cluster(cluster), name, .. }, ..
                    } => {
                        self.live.forget_node(*cluster, name.as_str());
                    }
                    _ => {}
                }
            }
        }
    }

    fn restarted(&self, state: &State) {
        self.view.replace(state.contents().filtered(|key| key.kind.is_for_spokes()));
    }
}

impl Host for Distribution {
    type Replica = Spoke;

    async fn admit(&self, peer: &Peer, introduction: &Introduction) -> Result<Admission<Spoke>, Goodbye> {
        self.members.admit(peer).map_err(Goodbye::because)?;
        let Principal::Relay(cluster) = peer.principal else {
            return Err(Goodbye::because("only relays have a session with the hub"));
        };
        let end = self.stop.child_token();
        let relay = (&*introduction.node, introduction.head);
        let session = self.sessions.begin((cluster, peer.key), relay, end.clone()).await?;
        tracing::info!(
            cluster.uid = %cluster,
            node = %introduction.node,
            agent.version = %introduction.agent_version,
            resume = introduction.resume.map(|position| position.revision),
            "session begins"
        );
        let connection = self.live.join(cluster);
        if let Some(resume) = introduction.resume.filter(|place| self.view.read(|log| log.remembers(place))) {
            connection.received(resume.revision);
        }
        let counters = connection.counters();
        let held = self.replica.read().intake(cluster);
        Ok(Admission {
            view: self.view.clone(),
            ask: session.ask(),
            replica: Spoke { cluster, writer: self.writer.clone(), connection, session, held, end: end.clone() },
            limits: LIMITS,
            heartbeat: Heartbeat { period: self.heartbeat },
            end,
            counters,
        })
    }

    fn report(&self, peer: &Peer, batch: v1::FlowBatch) -> Result<(), Goodbye> {
        self.members.admit(peer).map_err(Goodbye::because)?;
        let cluster = peer.principal.cluster().ok_or_else(|| Goodbye::because("only relays report flows"))?;
        self.live.report(cluster, batch);
        Ok(())
    }
}

/// One relay's session: what it says goes into the hub's log, as its own and nobody else's.
pub struct Spoke {
    cluster: Uid,
    writer: Writer,
    connection: Connection,
    session: Arc<Session>,
    /// How far the relay's own log is taken in, as this session knows.
    held: Option<Position>,
    end: CancellationToken,
}

impl Drop for Spoke {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

impl Spoke {
    fn heard(&self) {
        self.connection.heard();
        self.session.heard();
    }

    /// Has what the relay said written, in one transaction: a later delta must not be taken without an earlier one.
    async fn take(&mut self, commands: Vec<Command>, to: Position) -> Result<Vec<Refusal>, Goodbye> {
        self.heard();
        let actor = Principal::Relay(self.cluster).to_string();
        let committed = self.writer.submit_in_order(commands, &actor).await.map_err(|why| match why {
            WriteError::Rejected(why) => Goodbye::because(why),
            other => Goodbye { reason: other.to_string(), retry_after: RETRY },
        })?;
        self.held = Some(to);
        Ok(committed.into_iter().flat_map(|committed| committed.refused).collect())
    }
}

impl Copy for Spoke {
    fn held(&self) -> Option<Position> {
        self.held
    }

    async fn apply(&mut self, deltas: Vec<Intake<Delta>>) -> Result<Vec<Refusal>, Goodbye> {
        let Some(to) = deltas.last().map(|last| last.taken.to) else { return Ok(Vec::new()) };
        let (cluster, mut after) = (self.cluster, self.held);
        let command = |intake: Intake<Delta>| {
            let after = after.replace(intake.taken.to);
            Command::TakeDelta { cluster, after, delta: intake.taken }
        };
        let commands = deltas.into_iter().map(command).collect();
        self.take(commands, to).await
    }

    async fn replace(&mut self, snapshot: Intake<Snapshot>) -> Result<Vec<Refusal>, Goodbye> {
        let Intake { taken: snapshot, refused, .. } = snapshot;
        let to = snapshot.at;
        let (cluster, after) = (self.cluster, self.held);
        self.take(vec![Command::TakeSnapshot { cluster, after, snapshot, refused }], to).await
    }

    fn head(&mut self, _: Position) {
        self.heard();
    }

    fn acknowledged(&mut self, ack: Ack) {
        self.session.heard();
        self.connection.received(ack.received.revision);
    }

    fn statuses(&mut self, statuses: Vec<v1::NodeStatus>) {
        self.session.heard();
        self.connection.statuses(statuses);
    }
}
