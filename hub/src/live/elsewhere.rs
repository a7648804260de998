//! What the other hubs of the same database hear of spokes.
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use axle_core::model::Uid;
use axle_proto::v1::NodeStatuses;
use prost::Message as _;

use super::{FRESH_HEARTBEATS, Spoke};
use crate::store::Published;

/// The last word of other hubs, by cluster.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(BTreeMap<Uid, Word>);

#[derive(Debug)]
struct Word {
    hub: Uid,
    version: u64,
    /// How old it was when it was read.
    age: Duration,
    read: Instant,
    spoke: Spoke,
}

impl Elsewhere {
    /// What was read last of each.
    pub(super) fn known(&self) -> Vec<(Uid, Uid, u64)> {
        self.0.iter().map(|(cluster, word)| (*cluster, word.hub, word.version)).collect()
    }

    /// Takes all that is published now. True: something is new.
    pub(super) fn take(&mut self, published: Vec<Published>) -> bool {
        let mut before = std::mem::take(&mut self.0);
        let mut news = false;
        for Published { hub, age, report } in published {
            let there = before.remove(&report.cluster);
            let said = |hub, version, spoke: &Spoke| {
                (hub, version, spoke.connected, spoke.received, spoke.resumes, spoke.resyncs)
            };
            let before = there.as_ref().map(|there| said(there.hub, there.version, &there.spoke));
            let nodes = match report.statuses.as_deref().map(NodeStatuses::decode) {
                Some(Ok(all)) => all.statuses.into_iter().map(|status| (status.node.clone(), status)).collect(),
                Some(Err(why)) => {
                    tracing::warn!(cluster.uid = %report.cluster, %why, "what another hub published cannot be read");
                    BTreeMap::new()
                }
                None => there.map(|there| there.spoke.nodes).unwrap_or_default(),
            };
            let spoke = Spoke {
                connected: report.connected,
                fresh: false,
                silence: Some(report.silence),
                received: report.received,
                resumes: report.resumes,
                resyncs: report.resyncs,
                nodes,
            };
            news |= before != Some(said(hub, report.version, &spoke));
            self.0.insert(report.cluster, Word { hub, version: report.version, age, read: Instant::now(), spoke });
        }
        news || !before.is_empty()
    }

    /// Completes what this hub hears itself. Of a spoke that both know, whoever is connected with it has the word, then
    /// whoever heard of it last.
    pub(super) fn complete(&self, spokes: &mut BTreeMap<Uid, Spoke>, heartbeat: Duration) {
        for (cluster, word) in &self.0 {
            let there = word.spoke(heartbeat);
            let recent = |spoke: &Spoke| (spoke.connected, std::cmp::Reverse(spoke.silence));
            let here = spokes.get(cluster).filter(|here| here.silence.is_some());
            if here.is_none_or(|here| recent(here) < recent(&there)) {
                spokes.insert(*cluster, there);
            }
        }
    }
}

impl Word {
    /// As it stands now: a hub that has not said for so long that it lives is gone, and its sessions with it.
    fn spoke(&self, heartbeat: Duration) -> Spoke {
        let patience = heartbeat * FRESH_HEARTBEATS;
        let since = self.read.elapsed();
        let silence = self.spoke.silence.map(|silence| silence + since);
        let connected = self.spoke.connected && self.age + since <= patience;
        let fresh = connected && silence.is_some_and(|silence| silence <= patience);
        Spoke { connected, fresh, silence, ..self.spoke.clone() }
    }
}
