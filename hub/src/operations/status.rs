//! How the fleet is.
use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axle_core::{
    log::Position,
    model::{Kind, Object, Scope, Uid},
    state::State,
};
use axle_proto::{
    convert::refusal_from_wire,
    v1::{
        Capacity, ClusterStatus, FleetStatus, NodeStatus, NodeStatusView, PositionView, Refusal, RefusalView, TableUse,
    },
};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Operations, text, workloads::cluster_names};
use crate::live::Spoke;

impl Operations {
    /// How every cluster and node is, and how far.
    #[must_use]
    pub fn status(&self) -> FleetStatus {
        let mut spokes = self.live.spokes();
        let (head, names, known) = self.read(|state| (state.position(), cluster_names(state), nodes(state)));
        // Of a node that was removed something may still be said: what counts is the log.
        for (cluster, spoke) in &mut spokes {
            spoke.nodes.retain(|node, _| known.contains(&(*cluster, node.clone())));
        }
        for (cluster, node) in known {
            // A node that has not reported is shown too: nobody knows what its kernel holds.
            let silent = || NodeStatus { node: node.clone(), ..NodeStatus::default() };
            spokes.entry(cluster).or_default().nodes.entry(node.clone()).or_insert_with(silent);
        }
        let mut clusters: Vec<_> = names
            .into_iter()
            .map(|(uid, name)| {
                let of_relays = [self.sessions.problem(uid), self.enroller.members.problem(uid)];
                let problems = of_relays.into_iter().flatten().collect();
                ClusterStatus { problems, ..cluster(uid, name, spokes.remove(&uid).unwrap_or_default(), &head) }
            })
            .collect();
        clusters.sort_by(|a, b| a.name.cmp(&b.name));
        FleetStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            head: Some(position(&head)),
            clusters,
            hub: self.advertised.clone(),
        }
    }
}

/// A status at most this often: nobody reads faster.
const PACE: Duration = Duration::from_millis(200);
/// A status at least this often, for the times in it.
const REFRESH: Duration = Duration::from_secs(5);

impl Operations {
    /// How every cluster and node is, now and whenever it changes.
    #[must_use]
    pub fn watch_status(self: &Arc<Self>) -> ReceiverStream<FleetStatus> {
        let (sender, receiver) = mpsc::channel(1);
        let (mut changes, mut head) = (self.live.changes(), self.replica.head());
        let operations = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                changes.borrow_and_update();
                head.borrow_and_update();
                if sender.send(operations.status()).await.is_err() {
                    return;
                }
                tokio::time::sleep(PACE).await;
                tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return },
                    changed = head.changed() => if changed.is_err() { return },
                    () = tokio::time::sleep(REFRESH) => {}
                    () = sender.closed() => return,
                    () = operations.stopping.cancelled() => return,
                }
            }
        });
        ReceiverStream::new(receiver)
    }
}

fn nodes(state: &State) -> BTreeSet<(Uid, String)> {
    let of_cluster = |object: &Object| match object.key.scope {
        Scope::Cluster(uid) => Some((uid, object.key.name.to_string())),
        Scope::Fleet => None,
    };
    state.list(Kind::Node).filter_map(of_cluster).collect()
}

fn cluster(uid: Uid, name: String, spoke: Spoke, head: &Position) -> ClusterStatus {
    let Spoke { connected, fresh, silence, received, resumes, resyncs, nodes } = spoke;
    ClusterStatus {
        name,
        uid: uid.to_string(),
        connected,
        fresh,
        last_heard_ms: silence.map(|silence| u64::try_from(silence.as_millis()).unwrap_or(u64::MAX)),
        received_revision: received,
        nodes: nodes.into_values().map(|status| node(status, fresh, head)).collect(),
        resyncs,
        resumes,
        problems: Vec::new(),
    }
}

/// The revision that a node's kernel holds; what it held in another epoch counts for nothing.
pub(super) fn applied(status: &NodeStatus, head: &Position) -> u64 {
    let of_epoch = status.applied.as_ref().filter(|applied| applied.epoch == head.epoch.0.as_slice());
    of_epoch.map(|applied| applied.revision).unwrap_or_default()
}

fn node(status: NodeStatus, fresh: bool, head: &Position) -> NodeStatusView {
    let applied = applied(&status, head);
    NodeStatusView {
        name: status.node,
        version: status.agent_version,
        connected: status.connected,
        fresh: fresh && status.connected,
        applied_revision: applied,
        lag: head.revision.saturating_sub(applied),
        degraded: !status.refused.is_empty(),
        bypassed: status.bypassed,
        workloads: status.workloads,
        enforced_workloads: status.enforced_workloads,
        refused: status.refused.into_iter().map(refusal).collect(),
        problems: status.problems,
        tables: status.capacity.into_iter().map(table).collect(),
    }
}

fn refusal(refusal: Refusal) -> RefusalView {
    let Refusal { revision, code, message, .. } = refusal.clone();
    let object = refusal_from_wire(refusal).map(|refusal| refusal.key.to_string()).unwrap_or_default();
    RefusalView { object, revision, code, message }
}

fn table(capacity: Capacity) -> TableUse {
    TableUse { table: capacity.table, used: capacity.used, limit: capacity.limit }
}

fn position(position: &Position) -> PositionView {
    PositionView { epoch: position.epoch.to_string(), revision: position.revision, hash: text::hex(&position.hash.0) }
}
