//! How far a revision has come: which kernels hold it, who is late, who refused.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use axle_core::{log::Position, model::Uid};
use axle_proto::v1::{NodeAnswer, NodeStatus, RevisionProgress, WatchRevisionRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Operations, Problem, Violation, mirror::Written, policies::subjects, status::applied, workloads::cluster_names,
};
use crate::live::{Live, Spoke};

/// The least time between two looks at the whole fleet.
const PACE: Duration = Duration::from_millis(20);

/// A node, by cluster and name.
type Node = (Uid, String);

impl Operations {
    /// The progress of a revision: now, and each time it changes, until every node concerned has answered or the time
    /// is over.
    ///
    /// # Errors
    /// There is no such revision yet.
    pub fn watch_revision(&self, request: &WatchRevisionRequest) -> Result<ReceiverStream<RevisionProgress>, Problem> {
        let head = self.read(|state| state.position());
        let revision = request.revision;
        if revision == 0 || revision > head.revision {
            let want = format!("1 to {}", head.revision);
            let violation = Violation::new("unknown_revision", "revision", &revision.to_string(), &want, "");
            return Err(Problem::invalid(vec![violation]));
        }
        let written = self.mirror.written(revision);
        let watch = Watch {
            revision,
            since: written.as_ref().map_or_else(Instant::now, |written| written.at),
            concerned: self.concerned(written.as_ref()),
            names: self.read(cluster_names),
            head,
        };
        let timeout = (request.timeout_ms > 0).then(|| Duration::from_millis(request.timeout_ms));
        let (sender, receiver) = mpsc::channel(1);
        let (live, stopping) = (Arc::clone(&self.live), self.stopping.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = watch.run(live, timeout, sender) => {}
                () = stopping.cancelled() => {}
            }
        });
        Ok(ReceiverStream::new(receiver))
    }

    /// The nodes whose kernel a write can change: of policies those that run a subject, of anything else, and of what is
    /// not remembered, all.
    fn concerned(&self, written: Option<&Written>) -> BTreeSet<Node> {
        let world = self.mirror.world();
        match written {
            Some(Written { policies, more: false, .. }) => {
                let subjects = policies.iter().flat_map(|(scope, policy)| subjects(&world, *scope, policy));
                subjects.map(|(cluster, node)| (cluster, node.to_owned())).collect()
            }
            _ => world.nodes().map(|(cluster, node)| (cluster, node.name.to_string())).collect(),
        }
    }
}

/// One revision being watched.
#[derive(Debug)]
struct Watch {
    revision: u64,
    since: Instant,
    concerned: BTreeSet<Node>,
    names: BTreeMap<Uid, String>,
    head: Position,
}

/// What a node says to a revision.
enum Answer {
    Applied,
    Refused(String),
    Late(String),
}

impl Watch {
    /// Sends the progress when it changes, until it is done, the time is over or nobody listens.
    async fn run(self, live: Arc<Live>, timeout: Option<Duration>, sender: mpsc::Sender<RevisionProgress>) {
        let mut changes = live.changes();
        let deadline = timeout.map(|timeout| tokio::time::Instant::now() + timeout);
        let mut last = RevisionProgress::default();
        loop {
            changes.borrow_and_update();
            let now = self.progress(&live.spokes());
            let over = now.done || deadline.is_some_and(|deadline| deadline <= tokio::time::Instant::now());
            let news = RevisionProgress { elapsed_ms: last.elapsed_ms, ..now.clone() } != last;
            if (news || over) && (sender.send(now.clone()).await.is_err() || over) {
                return;
            }
            last = now;
            // Every answer of every relay is a change: what comes together is looked at together.
            tokio::time::sleep(PACE).await;
            let time_is_over = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = time_is_over => {}
                () = sender.closed() => return,
            }
        }
    }

    fn progress(&self, spokes: &BTreeMap<Uid, Spoke>) -> RevisionProgress {
        let mut progress = RevisionProgress {
            revision: self.revision,
            concerned: u32::try_from(self.concerned.len()).unwrap_or(u32::MAX),
            elapsed_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            ..RevisionProgress::default()
        };
        for (cluster, node) in &self.concerned {
            let name = self.names.get(cluster).cloned().unwrap_or_else(|| cluster.to_string());
            let answer = |reason| NodeAnswer { cluster: name, node: node.clone(), reason };
            match self.answer(spokes.get(cluster), node) {
                Answer::Applied => progress.applied += 1,
                Answer::Refused(reason) => progress.refused.push(answer(reason)),
                Answer::Late(reason) => progress.late.push(answer(reason)),
            }
        }
        for answers in [&mut progress.late, &mut progress.refused] {
            answers.sort_by(|a, b| (&a.cluster, &a.node).cmp(&(&b.cluster, &b.node)));
        }
        progress.done = progress.late.is_empty();
        progress
    }

    fn answer(&self, spoke: Option<&Spoke>, node: &str) -> Answer {
        let Some(spoke) = spoke else {
            return Answer::Late("its cluster has not been heard of since the hub started".into());
        };
        let Some(status) = spoke.nodes.get(node) else { return Answer::Late("it has not reported".into()) };
        if let Some(reason) = refusal(status, self.revision) {
            return Answer::Refused(reason);
        }
        let applied = applied(status, &self.head);
        if applied >= self.revision {
            return Answer::Applied;
        }
        let at = format!("its kernel holds revision {applied}");
        Answer::Late(match (spoke.connected, status.connected) {
            (false, _) => format!("{at}; its cluster is not connected"),
            (true, false) => format!("{at}; it is not connected to its relay"),
            (true, true) => at,
        })
    }
}

fn refusal(status: &NodeStatus, revision: u64) -> Option<String> {
    let refused: Vec<_> = status.refused.iter().filter(|refusal| refusal.revision == revision).collect();
    let texts: Vec<_> = refused.iter().map(|refusal| format!("{} ({})", refusal.message, refusal.code)).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}
