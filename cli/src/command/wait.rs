//! `--wait`: until every node concerned has a revision in its kernel.
use std::{fmt::Write as _, time::Duration};

use axle_core::duration;
use axle_proto::v1::{NodeAnswer, RevisionProgress, WatchRevisionRequest};
use clap::Args;

use crate::{
    client::Admin,
    failure::{Exit, Failure, Fault},
    format,
    output::note,
    session::Session,
};

/// Whether and how long to wait.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Wait until every node concerned has it in its kernel.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Give up after this long, and name who is late (exit code 7).
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::parse, requires = "wait")]
    timeout: Duration,
}

impl Wait {
    /// Waits for `revision`, if it was asked for, and says how many nodes and how long.
    pub(crate) async fn run(&self, session: &Session, admin: &mut Admin, revision: u64) -> Result<(), Failure> {
        if !self.wait || revision == 0 {
            return Ok(());
        }
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        let stand = |text: String| *session.standing.borrow_mut() = text;
        stand(format!("revision {revision} is committed at the hub and goes on to the nodes"));
        let mut progress = admin.watch_revision(WatchRevisionRequest { revision, timeout_ms }).await?.into_inner();
        let mut last = RevisionProgress { revision, ..RevisionProgress::default() };
        while let Some(now) = progress.message().await? {
            stand(format!(
                "revision {revision} is committed; {} of {} nodes have it and the rest goes on",
                now.applied, now.concerned
            ));
            last = now;
        }
        conclude(&last)
    }
}

fn conclude(last: &RevisionProgress) -> Result<(), Failure> {
    let nodes = format::count(last.concerned as usize, "node");
    if !last.refused.is_empty() {
        let message = format!("revision {}: {} of {nodes} refused it", last.revision, last.refused.len());
        let failure = Failure::new(Exit::Refused, "refused_by_node", message);
        return Err(with_nodes(failure, &last.refused, &last.late)
            .fix("what was in force before still is; change or delete the policy: axle status shows each node"));
    }
    if !last.done {
        let message = format!(
            "revision {}: {} of {nodes} have it after {}, these do not",
            last.revision,
            last.applied,
            format::duration(last.elapsed_ms)
        );
        return Err(with_nodes(Failure::new(Exit::TimedOut, "timed_out", message), &[], &last.late)
            .fix("it is committed and reaches them when they can be reached: axle status"));
    }
    let mut text = format!("revision {}: ", last.revision);
    let _ = match last.concerned {
        0 => write!(text, "no node is concerned: no workload is selected"),
        _ => write!(text, "in the kernel of {nodes} after {}", format::duration(last.elapsed_ms)),
    };
    note(&text);
    Ok(())
}

fn with_nodes(mut failure: Failure, refused: &[NodeAnswer], late: &[NodeAnswer]) -> Failure {
    let fault = |kind: &str, answer: &NodeAnswer| Fault {
        place: format!("{}/{}", answer.cluster, answer.node),
        text: if answer.reason.is_empty() { kind.to_owned() } else { format!("{kind}: {}", answer.reason) },
    };
    failure.faults.extend(refused.iter().map(|answer| fault("refused", answer)));
    failure.faults.extend(late.iter().map(|answer| fault("late", answer)));
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(node: &str, reason: &str) -> NodeAnswer {
        NodeAnswer { cluster: "eu1".into(), node: node.into(), reason: reason.into() }
    }

    #[test]
    fn a_refusal_is_named_before_who_is_late() {
        let progress = RevisionProgress {
            revision: 7,
            concerned: 3,
            applied: 1,
            refused: vec![answer("n1", "does not fit")],
            late: vec![answer("n2", "not connected")],
            ..RevisionProgress::default()
        };
        let failure = conclude(&progress).unwrap_err();
        assert_eq!(failure.exit, Exit::Refused);
        let text = failure.to_string();
        assert!(text.contains("eu1/n1: refused: does not fit\n  eu1/n2: late: not connected"), "{text}");
    }

    #[test]
    fn the_end_of_time_names_who_is_late() {
        let late = RevisionProgress {
            revision: 7,
            concerned: 2,
            applied: 1,
            late: vec![answer("n2", "")],
            ..Default::default()
        };
        let failure = conclude(&late).unwrap_err();
        assert_eq!(failure.exit, Exit::TimedOut);
        assert!(failure.to_string().contains("eu1/n2: late"), "{failure}");
        assert_eq!(conclude(&RevisionProgress { done: true, ..late }), Ok(()));
    }
}
