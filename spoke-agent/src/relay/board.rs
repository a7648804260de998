//! What the cluster's nodes last said of themselves: sent to the hub, shown locally.
use std::collections::BTreeMap;

use axle_core::model::Name;
use axle_proto::{convert, v1};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::status::RelayNode;

/// See the module. Of a node that is away the last word stays, marked as such.
#[derive(Debug)]
pub struct Board {
    nodes: Mutex<BTreeMap<Name, Entry>>,
    /// What no node got, because the relay cannot read it.
    withheld: Mutex<Vec<v1::Refusal>>,
    sender: watch::Sender<Vec<v1::NodeStatus>>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Sessions that are up: for a moment there can be an old and a new one.
    sessions: u32,
    status: Option<v1::NodeStatus>,
}

impl Board {
    /// A board of nodes that are known and away.
    #[must_use]
    pub fn new(nodes: impl IntoIterator<Item = Name>) -> Self {
        let nodes = nodes.into_iter().map(|node| (node, Entry::default())).collect();
        let withheld = Mutex::default();
        let board = Self { nodes: Mutex::new(nodes), withheld, sender: watch::Sender::new(Vec::new()) };
        board.change(|_| {});
        board
    }

    /// Every node's status, at each change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Vec<v1::NodeStatus>> {
        self.sender.subscribe()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<Name, Entry>)) {
        let mut nodes = self.nodes.lock();
        change(&mut nodes);
        let statuses: Vec<v1::NodeStatus> = {
            let withheld = self.withheld.lock();
            nodes.iter().map(|(name, entry)| entry.told(name, &withheld)).collect()
        };
        self.sender.send_if_modified(|held| {
            let differs = *held != statuses;
            *held = statuses;
            differs
        });
    }

    /// A session with the node began.
    pub fn joined(&self, node: &Name) {
        self.change(|nodes| nodes.entry(node.clone()).or_default().sessions += 1);
    }

    /// A session with the node ended.
    pub fn left(&self, node: &Name) {
        self.change(|nodes| {
            if let Some(entry) = nodes.get_mut(node) {
                entry.sessions = entry.sessions.saturating_sub(1);
            }
        });
    }

    /// This is refused in the name of every node.
    pub fn withhold(&self, refused: Vec<v1::Refusal>) {
        *self.withheld.lock() = refused;
        self.change(|_| {});
    }

    /// The node says how it is.
    pub fn said(&self, node: &Name, status: v1::NodeStatus) {
        self.change(|nodes| nodes.entry(node.clone()).or_default().status = Some(status));
    }

    /// The node is none of the cluster any more.
    pub fn removed(&self, node: &Name) {
        self.change(|nodes| drop(nodes.remove(node)));
    }

    /// For people.
    #[must_use]
    pub fn nodes(&self) -> Vec<RelayNode> {
        let nodes = self.nodes.lock();
        let one = |(name, entry): (&Name, &Entry)| {
            let status = entry.status.as_ref();
            RelayNode {
                name: name.to_string(),
                connected: entry.sessions > 0,
                applied: status.and_then(|status| convert::position_from_wire(status.applied.clone()?).ok()),
                degraded: status.is_some_and(|status| !status.refused.is_empty()),
            }
        };
        nodes.iter().map(one).collect()
    }
}

impl Entry {
    /// The name is that of the certificate, whatever the node calls itself.
    fn told(&self, name: &Name, withheld: &[v1::Refusal]) -> v1::NodeStatus {
        let mut status = self.status.clone().unwrap_or_default();
        status.refused.extend_from_slice(withheld);
        v1::NodeStatus { node: name.to_string(), connected: self.sessions > 0, ..status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_node_stays() {
        let node = Name::new("n1").unwrap();
        let board = Board::new([node.clone()]);
        let watch = board.watch();
        let now = || watch.borrow().clone();
        assert!(now().len() == 1 && !now()[0].connected);
        board.joined(&node);
        board.said(&node, v1::NodeStatus { node: "n9".into(), workloads: 3, ..v1::NodeStatus::default() });
        assert!(now()[0].connected && now()[0].workloads == 3 && now()[0].node == "n1");
        // A new session before the old one is noticed to be gone.
        board.joined(&node);
        board.left(&node);
        assert!(now()[0].connected);
        board.left(&node);
        assert!(!now()[0].connected && now()[0].workloads == 3);
        board.withhold(vec![v1::Refusal { revision: 7, ..v1::Refusal::default() }]);
        assert_eq!(now()[0].refused[0].revision, 7);
        board.withhold(vec![]);
        assert!(now()[0].refused.is_empty());
        board.removed(&node);
        assert!(now().is_empty());
    }
}
