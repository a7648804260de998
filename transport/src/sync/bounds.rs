//! How much is believed of what lower peers say beside their log: it is kept and passed on, by relays and hubs.
use axle_proto::v1::{FlowBatch, NodeStatus};
use bytes::Bytes;
use prost::Message as _;

/// The largest status of a node that is kept whole, in bytes: room for the reasons of some thirty refusals, and so little
/// that the statuses of 5,000 nodes fit one message.
const LARGEST_STATUS: usize = 8 << 10;
/// The largest flow that is passed on, in bytes: names and a rule's id are some hundred.
const LARGEST_FLOW: usize = 4 << 10;
/// The longest version of a program that is shown.
const LONGEST_VERSION: usize = 64;

/// The status; one that is too large cut down to what fits. That one proves nothing any more, since what is left out may be
/// a refusal.
pub(super) fn status(mut status: NodeStatus) -> NodeStatus {
    let size = status.encoded_len();
    if size <= LARGEST_STATUS {
        return status;
    }
    let mut room = LARGEST_STATUS / 2;
    status.refused.retain(|refusal| {
        room = room.saturating_sub(refusal.encoded_len());
        room > 0
    });
    let problem =
        format!("its status has {size} bytes, at most {LARGEST_STATUS} are kept: ask `axle-agent status` there");
    NodeStatus {
        node: status.node.chars().take(axle_core::model::Name::MAX).collect(),
        agent_version: status.agent_version.chars().take(LONGEST_VERSION).collect(),
        refused: status.refused,
        connected: status.connected,
        bypassed: status.bypassed,
        workloads: status.workloads,
        enforced_workloads: status.enforced_workloads,
        problems: vec![problem],
        applied: None,
        digest: Bytes::new(),
        capacity: Vec::new(),
    }
}

/// The flows; those that are too large count as lost.
pub(super) fn flows(mut batch: FlowBatch) -> FlowBatch {
    let before = batch.flows.len();
    batch.flows.retain(|flow| flow.encoded_len() <= LARGEST_FLOW);
    let large = (before - batch.flows.len()) as u64;
    FlowBatch { dropped: batch.dropped.saturating_add(large), ..batch }
}

#[cfg(test)]
mod tests {
    use axle_proto::v1::{Flow, Position, Refusal};

    use super::*;

    fn said(node: &str, refusals: u64) -> NodeStatus {
        let refusal = |revision| Refusal { message: "why".repeat(40), revision, ..Refusal::default() };
        let applied = Some(Position { revision: 9, ..Position::default() });
        let refused = (0..refusals).map(refusal).collect();
        NodeStatus { node: node.into(), refused, applied, connected: true, ..NodeStatus::default() }
    }

    #[test]
    fn a_status_is_kept_whole_or_proves_nothing() {
        assert_eq!(status(said("n1", 20)), said("n1", 20));
        let cut = status(said("n1", 100_000));
        assert!(cut.encoded_len() <= LARGEST_STATUS && !cut.refused.is_empty() && cut.connected);
        assert!(cut.applied.is_none(), "what it does not say may be a refusal");
        assert!(cut.problems[0].contains("at most 8192"), "{:?}", cut.problems);
        let endless = NodeStatus { agent_version: "9".repeat(1 << 20), ..said(&"n".repeat(1 << 20), 0) };
        assert!(status(endless).encoded_len() <= LARGEST_STATUS);
    }

    #[test]
    fn a_flow_too_large_is_lost_and_counted() {
        let large = Flow { reason: "x".repeat(1 << 20), ..Flow::default() };
        let batch = flows(FlowBatch { flows: vec![large, Flow::default()], dropped: 2 });
        assert_eq!((batch.flows, batch.dropped), (vec![Flow::default()], 3));
    }
}
