//! `axle status`
use std::fmt::Write as _;

use axle_proto::v1::{ClusterStatus, FleetStatus, GetStatusRequest, NodeStatusView};
use clap::Args;

use crate::{
    failure::Failure,
    format,
    output::{Cell, Output, Table, Tone},
    session::Session,
};

/// How the fleet is: each cluster and node, and which revision its kernel holds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  axle status\n  axle status eu1\n  axle status -o json")]
pub(crate) struct Status {
    /// Only this cluster.
    cluster: Option<String>,
}

impl Status {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut status = session.admin().await?.get_status(GetStatusRequest {}).await?.into_inner();
        if let Some(wanted) = self.cluster {
            status.clusters.retain(|cluster| cluster.name == wanted);
            if status.clusters.is_empty() {
                return Err(Failure::usage(format!("there is no cluster {wanted:?}")).fix("axle cluster list"));
            }
        }
        let output = session.output;
        output.show_text(&status, |status| describe(status, output))
    }
}

/// Writes into a String cannot fail, hence the ignored results.
fn describe(status: &FleetStatus, output: Output) -> String {
    let head = status.head.clone().unwrap_or_default();
    let mut text = format!("hub {}, head at revision {}\n\n", status.version, head.revision);
    text.push_str(&output.render(&clusters(&status.clusters, head.revision)));
    text.push('\n');
    text.push_str(&output.render(&nodes(&status.clusters)));
    for cluster in &status.clusters {
        for problem in &cluster.problems {
            let _ = writeln!(text, "{}", output.paint(&format!("{}: {problem}", cluster.name), Tone::Bad));
        }
        for node in &cluster.nodes {
            let at = format!("{}/{}", cluster.name, node.name);
            for refusal in &node.refused {
                let line = format!(
                    "{at} refused {} of revision {}: {} ({})",
                    refusal.object, refusal.revision, refusal.message, refusal.code
                );
                let _ = writeln!(text, "{}", output.paint(&line, Tone::Bad));
            }
            for problem in &node.problems {
                let _ = writeln!(text, "{}", output.paint(&format!("{at}: {problem}"), Tone::Warn));
            }
        }
    }
    text
}

fn clusters(clusters: &[ClusterStatus], head: u64) -> Table {
    let mut table =
        Table::new(["CLUSTER", "CONNECTED", "FRESH", "HEARD", "RECEIVED", "LAG", "NODES", "RESUMES", "RESYNCS"]);
    for cluster in clusters {
        let heard = cluster.last_heard_ms.map_or_else(|| "never".into(), |ms| format!("{} ago", format::duration(ms)));
        table.row([
            cluster.name.as_str().into(),
            Cell::yes(cluster.connected),
            Cell::yes(cluster.fresh),
            heard.into(),
            cluster.received_revision.to_string().into(),
            lag(head.saturating_sub(cluster.received_revision)),
            cluster.nodes.len().to_string().into(),
            cluster.resumes.to_string().into(),
            cluster.resyncs.to_string().into(),
        ]);
    }
    table
}

fn nodes(clusters: &[ClusterStatus]) -> Table {
    let mut table = Table::new(["NODE", "CONNECTED", "FRESH", "APPLIED", "LAG", "STATE", "ENFORCED", "VERSION"]);
    for cluster in clusters {
        for node in &cluster.nodes {
            let enforced = format!("{}/{}", node.enforced_workloads, node.workloads);
            let tone = if node.enforced_workloads == node.workloads { Tone::Good } else { Tone::Bad };
            table.row([
                format!("{}/{}", cluster.name, node.name).into(),
                Cell::yes(node.connected),
                Cell::yes(node.fresh),
                node.applied_revision.to_string().into(),
                lag(node.lag),
                state(node),
                Cell(enforced, tone),
                format::or_dash(&node.version).into(),
            ]);
        }
    }
    table
}

fn state(node: &NodeStatusView) -> Cell {
    match node {
        NodeStatusView { bypassed: true, .. } => Cell("bypassed".into(), Tone::Bad),
        NodeStatusView { degraded: true, .. } => Cell("degraded".into(), Tone::Bad),
        NodeStatusView { connected: false, applied_revision: 0, .. } => Cell("not reported".into(), Tone::Warn),
        NodeStatusView { applied_revision: 0, .. } => Cell("nothing applied".into(), Tone::Warn),
        _ => Cell("enforcing".into(), Tone::Good),
    }
}

fn lag(revisions: u64) -> Cell {
    let tone = if revisions == 0 { Tone::Good } else { Tone::Warn };
    Cell(revisions.to_string(), tone)
}
