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

/// The longest text of a problem or a refusal in a status that is too large, in characters.
const LONGEST_TEXT: usize = 160;
/// The bytes of such a status that problems may take.
const ROOM_FOR_PROBLEMS: usize = LARGEST_STATUS / 4;

/// The status; one that is too large cut down to what fits: first its texts, then what is left of its refusals. Without one
/// of these it proves nothing any more.
pub(super) fn status(mut status: NodeStatus) -> NodeStatus {
    let size = status.encoded_len();
    if size <= LARGEST_STATUS {
        return status;
    }
    cut(&mut status.node, axle_core::model::Name::MAX);
    cut(&mut status.agent_version, LONGEST_VERSION);
    shorten(&mut status.problems, size);
    if status.encoded_len() > LARGEST_STATUS {
        status.refused.iter_mut().for_each(|refusal| cut(&mut refusal.message, LONGEST_TEXT));
    }
    if status.encoded_len() <= LARGEST_STATUS {
        return status;
    }
    let mut room = LARGEST_STATUS / 2;
    status.refused.retain(|refusal| {
        room = room.saturating_sub(refusal.encoded_len());
        room > 0
    });
    NodeStatus { applied: None, digest: Bytes::new(), capacity: Vec::new(), ..status }
}

/// Keeps the problems that come first, and says that there are more.
fn shorten(problems: &mut Vec<String>, size: usize) {
    let mut room = ROOM_FOR_PROBLEMS;
    problems.iter_mut().for_each(|problem| cut(problem, LONGEST_TEXT));
    problems.retain(|problem| {
        room = room.saturating_sub(problem.len());
        room > 0
    });
    problems
        .push(format!("its status has {size} bytes, at most {LARGEST_STATUS} are kept: ask `axle-agent status` there"));
}

fn cut(text: &mut String, characters: usize) {
    if let Some((end, _)) = text.char_indices().nth(characters) {
        text.truncate(end);
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
    fn a_status_proves_what_it_says_as_long_as_every_refusal_fits() {
        assert_eq!(status(said("n1", 20)), said("n1", 20));
        let cut = status(said("n1", 100_000));
        assert!(cut.encoded_len() <= LARGEST_STATUS && !cut.refused.is_empty() && cut.connected);
        assert!(cut.applied.is_none(), "what it does not say may be a refusal");
        assert!(cut.problems[0].contains("at most 8192"), "{:?}", cut.problems);
        let endless = NodeStatus { agent_version: "9".repeat(1 << 20), ..said(&"n".repeat(1 << 20), 0) };
        assert!(status(endless).encoded_len() <= LARGEST_STATUS);
        let endless = NodeStatus { digest: vec![9; 1 << 20].into(), ..said("n1", 1) };
        assert!(status(endless).encoded_len() <= LARGEST_STATUS);
    }

    #[test]
    fn long_texts_are_cut_before_anything_else() {
        let problems: Vec<String> =
            (0..200).map(|number| format!("workload {number} is not enforced: {}", "é".repeat(99))).collect();
        let troubled = NodeStatus { problems: problems.clone(), ..said("n1", 20) };
        let cut = status(troubled.clone());
        assert!(cut.encoded_len() <= LARGEST_STATUS, "{}", cut.encoded_len());
        assert_eq!((&cut.applied, &cut.refused), (&troubled.applied, &troubled.refused));
        assert_eq!(cut.problems[0], problems[0]);
        assert!(cut.problems.len() < 200 && cut.problems.last().unwrap().contains("at most 8192"));
        // Refusals too: which, at which revision, is what counts.
        let mut refusing = said("n1", 30);
        refusing.refused.iter_mut().for_each(|refusal| refusal.message = "why".repeat(1000));
        let cut = status(refusing);
        assert!(cut.encoded_len() <= LARGEST_STATUS && cut.applied.is_some(), "{}", cut.encoded_len());
        assert!(cut.refused.iter().map(|refusal| refusal.revision).eq(0..30));
    }

    #[test]
    fn a_flow_too_large_is_lost_and_counted() {
        let large = Flow { reason: "x".repeat(1 << 20), ..Flow::default() };
        let batch = flows(FlowBatch { flows: vec![large, Flow::default()], dropped: 2 });
        assert_eq!((batch.flows, batch.dropped), (vec![Flow::default()], 3));
    }
}
