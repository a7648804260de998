//! `axle-agent status`.
use std::fmt::Write;

use axle_core::log::Position;

use super::{
    Failure,
    arguments::{Output, StatusArguments},
    terminal,
};
use crate::{
    control::{Reply, Request},
    status::{NodeStatus, RelayStatus, Status},
};

pub(super) async fn status(arguments: StatusArguments) -> Result<(), Failure> {
    match terminal::ask(&arguments.state, &Request::Status).await? {
        Reply::Status(status) => match arguments.output {
            Output::Json => terminal::say_json(&status),
            Output::Table => terminal::say(&render(&status)),
        },
        other => Err(terminal::unexpected(&other)),
    }
}

fn revision(position: Option<Position>) -> String {
    position.map_or_else(|| "-".into(), place)
}

/// In a log with leaders the leader's term, and its revisions counted from the first.
fn place(position: Position) -> String {
    match position.term() {
        0 => position.revision.to_string(),
        term => format!("{term}.{}", position.revision - position.of_leader(term).revision),
    }
}

fn connection(connected: bool) -> &'static str {
    if connected { "connected" } else { "NOT CONNECTED" }
}

fn render(status: &Status) -> String {
    let mut text = format!("{} in {}, axle-agent {}\n", status.node_name, status.cluster, status.version);
    if let Some(relay) = &status.relay {
        render_relay(&mut text, relay);
    }
    if let Some(node) = &status.node {
        render_node(&mut text, node);
    }
    for problem in &status.problems {
        line(&mut text, format_args!("! {problem}"));
    }
    text.truncate(text.trim_end().len());
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}

fn render_relay(text: &mut String, relay: &RelayStatus) {
    let (up, received, sent) = (connection(relay.connected), revision(relay.received), revision(relay.sent));
    line(text, format_args!("relay  hub {} {up}, received revision {received}, sent {sent}", relay.hub));
    line(text, format_args!("       serves nodes at {}, own log at {}", relay.listen, place(relay.head)));
    for node in &relay.nodes {
        let applied = revision(node.applied);
        let degraded = if node.degraded { ", DEGRADED" } else { "" };
        line(
            text,
            format_args!("       {:<20} {}, applied {applied}{degraded}", node.name, connection(node.connected)),
        );
    }
}

fn render_node(text: &mut String, node: &NodeStatus) {
    let (up, received, applied) = (connection(node.connected), revision(node.received), revision(node.applied));
    line(text, format_args!("node   relay {} {up}, received {received}, kernel holds revision {applied}", node.relay));
    if let Some(until) = node.bypassed_until_ms {
        line(text, format_args!("       BYPASSED until {}: all traffic passes", terminal::clock(until)));
    }
    for refused in &node.refused {
        line(text, format_args!("       NOT IN FORCE {}: {} ({})", refused.object, refused.message, refused.code));
    }
    for workload in &node.workloads {
        let state = match (workload.enforced, workload.proven) {
            (true, true) => "enforced".into(),
            (true, false) => format!("enforced, {}", workload.reason),
            (false, _) => format!("NOT ENFORCED: {}", workload.reason),
        };
        let name = format!("{}/{}", workload.namespace, workload.name);
        line(text, format_args!("       {name:<30} {:<15} {state}", workload.interface));
    }
}

#[cfg(test)]
mod tests {
    use axle_core::{log::Hash, model::Uid};

    use super::*;
    use crate::status::Workload;

    #[test]
    fn a_person_sees_what_is_wrong() {
        let at = |revision| Position { epoch: Uid([1; 16]), revision, hash: Hash::default() };
        let workload = Workload {
            namespace: "shop".into(),
            name: "web".into(),
            uid: "u".into(),
            interface: "veth0".into(),
            enforced: false,
            proven: false,
            reason: "no such interface".into(),
        };
        let node = NodeStatus {
            relay: "r:7444".into(),
            connected: false,
            received: Some(at(9)),
            applied: Some(at(7)),
            digest: String::new(),
            bypassed_until_ms: Some(0),
            refused: vec![],
            resyncs: 0,
            certificate_expires_ms: 0,
            workloads: vec![workload],
            capacity: vec![],
            events_dropped: 0,
        };
        let status = Status {
            version: "1".into(),
            cluster: "alpha".into(),
            node_name: "n1".into(),
            relay: None,
            node: Some(node),
            problems: vec!["the inventory is gone".into()],
        };
        let text = render(&status);
        for wanted in
            ["NOT CONNECTED", "kernel holds revision 7", "BYPASSED", "NOT ENFORCED: no such interface", "! the inv"]
        {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
    }
}
