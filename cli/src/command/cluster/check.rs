//! `axle cluster check`: whether packets pass between the pods of clusters, and with which source address they arrive.
//!
//! The relays are asked: pods of their own, on pods' ways, that answer each other at a port of their own.
use std::{net::IpAddr, time::Duration};

use axle_proto::v1::{ClusterView, EndpointView, ExplainRequest, ListRequest};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{
    super::every_page,
    kubectl::{Kubectl, items, text},
    network::{self, Plugin},
    place, surroundings,
    verdict::{Found, Probe, State, Way, judge},
};
use crate::{
    client::Admin,
    failure::{Exit, Failure, Fault},
    format,
    output::{Cell, Output, Table, Tone, note},
    session::Session,
};

const EXAMPLES: &str = "\
Examples:
  axle cluster check --context oslo
  axle cluster check --context oslo --with lima -o json

Exit code 3: not everything passes. Relays of two clusters open connections to each other, in both directions, over every
family that both have; at most two relays of a cluster, on different nodes. A probe that a policy of the fleet or of a cluster
denies is told from a way that is missing, by the verdict of axle policy explain.";
/// The port at which relays answer.
const PORT: u32 = 7446;
/// Relays of one cluster that are asked, and clusters.
const RELAYS: usize = 2;
const CLUSTERS: usize = 32;
/// What was cut a moment ago may be known by now.
const ATTEMPTS: usize = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// Test whether pods of a cluster and of others reach each other, and with which source addresses.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Check {
    /// The namespace of the agents, in every cluster.
    #[arg(long, value_name = "NAME", default_value = "axle-system")]
    namespace: String,
    /// Only with this cluster. Repeat for several.
    #[arg(long = "with", value_name = "CLUSTER")]
    with: Vec<String>,
}

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) cluster: String,
    /// What gives pods their network there, if it is known.
    plugin: Option<Plugin>,
    pub(super) probes: Vec<Probe>,
    /// What is to be changed.
    advice: Vec<String>,
}

impl Check {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let kubectl = place::kubectl(session)?;
        let mut admin = session.admin().await?;
        let clusters = place::clusters(&mut admin).await?;
        let uid = place::joined_as(&kubectl, &self.namespace)?;
        let own = clusters.iter().find(|cluster| Some(&cluster.uid) == uid.as_ref()).ok_or_else(|| {
            Failure::usage(format!("namespace {} has no relay of a cluster of this hub", self.namespace))
                .fix("axle cluster join, or name the agents' --namespace")
        })?;
        for name in &self.with {
            if !clusters.iter().any(|cluster| cluster.name == *name) {
                return Err(Failure::usage(format!("there is no cluster {name:?}")).fix("axle cluster list"));
            }
        }
        let report = probe(&mut admin, &kubectl, &self.namespace, own, &clusters, &self.with).await?;
        session.output.show_text(&report, |report| report.describe(session.output))?;
        report.conclude()
    }
}

/// Probes between `own` and the others, or those of `with`.
pub(super) async fn probe(
    admin: &mut Admin,
    kubectl: &Kubectl,
    namespace: &str,
    own: &ClusterView,
    clusters: &[ClusterView],
    with: &[String],
) -> Result<Report, Failure> {
    let others = clusters.iter().filter(|cluster| cluster.uid != own.uid && cluster.connected);
    let others: Vec<_> = others.filter(|cluster| with.is_empty() || with.contains(&cluster.name)).collect();
    if others.len() > CLUSTERS {
        note(&format!("there are {} clusters: the first {CLUSTERS} are asked; others by --with", others.len()));
    }
    let others = &others[..others.len().min(CLUSTERS)];
    let request = ListRequest { namespace: namespace.to_owned(), ..ListRequest::default() };
    let endpoints = every_page(request, async |request| {
        let page = admin.list_endpoints(request).await?.into_inner();
        Ok((page.endpoints, page.next_cursor))
    })
    .await?;
    let targets: Vec<_> = others.iter().flat_map(|cluster| relays(&endpoints, &cluster.name)).collect();
    let nodes = surroundings::node_addresses(&surroundings::nodes(kubectl)?);
    let mut probes = Vec::new();
    for attempt in 1..=ATTEMPTS {
        probes = Vec::new();
        for pod in running(kubectl, namespace)? {
            let mut found = ask(kubectl, namespace, &pod, &targets)?;
            for (target, found) in &mut found {
                let here = format!("{}/{namespace}/{pod}", own.name);
                let there = format!("{}/{namespace}/{}", target.cluster, target.name);
                let denied = [denied(admin, &here, &there, &found.there).await, {
                    let back = found.back.clone().unwrap_or(Way::Untried);
                    denied(admin, &there, &here, &back).await
                }];
                probes.extend(judge((&here, &there), found, denied, &nodes));
            }
        }
        if attempt == ATTEMPTS || !probes.iter().any(|probe| matches!(probe.state, State::Silent | State::Unknown)) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let plugin = network::plugin(kubectl);
    let advice = network::advice(&probes, plugin, own, clusters);
    Ok(Report { cluster: own.name.clone(), plugin, probes, advice })
}

/// Relays of a cluster, on nodes of their own.
fn relays<'e>(endpoints: &'e [EndpointView], cluster: &str) -> Vec<&'e EndpointView> {
    let label = |one: &EndpointView| one.labels.get(place::NAME).is_some_and(|name| name == place::RELAY);
    let mut all: Vec<_> = endpoints.iter().filter(|one| one.cluster == cluster && !one.stale && label(one)).collect();
    all.sort_by(|a, b| (&a.node, &a.name).cmp(&(&b.node, &b.name)));
    all.dedup_by(|a, b| a.node == b.node);
    all.truncate(RELAYS);
    all
}

/// Pods of the relay that run, on nodes of their own.
fn running(kubectl: &Kubectl, namespace: &str) -> Result<Vec<String>, Failure> {
    let selector = format!("--selector={}={}", place::NAME, place::RELAY);
    let pods = kubectl.json(&["get", "pods", "--namespace", namespace, &selector])?;
    let runs = |pod: &&Value| text(pod, "/status/phase") == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
    let place = |pod: &Value| (text(pod, "/spec/nodeName").to_owned(), text(pod, "/metadata/name").to_owned());
    let mut all: Vec<_> = items(&pods).iter().filter(runs).map(place).collect();
    all.sort();
    all.dedup_by(|a, b| a.0 == b.0);
    Ok(all.into_iter().map(|(_, name)| name).take(RELAYS).collect())
}

fn ask<'e>(
    kubectl: &Kubectl,
    namespace: &str,
    pod: &str,
    targets: &[&'e EndpointView],
) -> Result<Vec<(&'e EndpointView, Found)>, Failure> {
    let addresses = targets.iter().flat_map(|target| target.addresses.iter().map(move |address| (*target, address)));
    let addresses: Vec<_> = addresses.collect();
    if addresses.is_empty() {
        return Ok(Vec::new());
    }
    let mut line =
        vec!["exec", "--namespace", namespace, pod, "--container", "relay", "--", "/usr/bin/axle-agent", "probe"];
    line.extend(addresses.iter().map(|(_, address)| address.as_str()));
    let said = kubectl.run(&line)?;
    let found = said.lines().filter_map(|line| serde_json::from_str::<Found>(line).ok());
    let of = |found: Found| {
        let is_it = |address: &String| address.parse::<IpAddr>() == Ok(found.to);
        let (target, _) = addresses.iter().find(|(_, address)| is_it(address))?;
        Some((*target, found))
    };
    Ok(found.filter_map(of).collect())
}

/// The rule that denies it, if one does.
async fn denied(admin: &mut Admin, from: &str, to: &str, way: &Way) -> Option<String> {
    if !matches!(way, Way::Failed { .. }) {
        return None;
    }
    let request = ExplainRequest { from: from.into(), to: to.into(), protocol: "tcp".into(), port: PORT };
    let explained = admin.explain(request).await.ok()?.into_inner();
    let side = explained.sides.into_iter().find(|side| side.verdict == "deny")?;
    let by = side.rule.map_or(side.reason, |rule| format!("{} {}", rule.policy, rule.name).trim().to_owned());
    Some(format!("{by} ({} of {})", side.direction, side.workload))
}

impl Report {
    pub(super) fn describe(&self, output: Output) -> String {
        if self.probes.is_empty() {
            return "there is no relay of another connected cluster to ask\n".into();
        }
        let mut table = Table::new(["FROM", "TO", "ADDRESS", "STATE", "DETAIL"]);
        for probe in &self.probes {
            let tone = if probe.state == State::Passes { Tone::Good } else { Tone::Bad };
            table.row([
                probe.from.as_str().into(),
                probe.to.as_str().into(),
                probe.address.map_or_else(|| "-".into(), |address| address.to_string()).into(),
                Cell(probe.state.to_string(), tone),
                format::or_dash(probe.detail.as_str()).into(),
            ]);
        }
        output.render(&table) + &self.advice.iter().map(|line| format!("{line}\n")).collect::<String>()
    }

    /// # Errors
    /// If something does not pass.
    pub(super) fn conclude(&self) -> Result<(), Failure> {
        let bad: Vec<_> = self.probes.iter().filter(|probe| probe.state != State::Passes).collect();
        if bad.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{} of {} between pods do not pass as they are sent",
            bad.len(),
            format::count(self.probes.len(), "probe")
        );
        let mut failure = Failure::new(Exit::Conflict, "probes_failed", message);
        let fault = |probe: &&Probe| Fault {
            place: format!("{} to {}", probe.from, probe.to),
            text: format!("{}: {}", probe.state, probe.detail),
        };
        failure.faults = bad.iter().map(fault).collect();
        Err(failure.fix(self.advice.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_asked_at_two_nodes() {
        let relay = |cluster: &str, name: &str, node: &str, stale| EndpointView {
            cluster: cluster.into(),
            name: name.into(),
            node: node.into(),
            labels: [(place::NAME.to_owned(), place::RELAY.to_owned())].into(),
            stale,
            ..EndpointView::default()
        };
        let other = EndpointView { cluster: "a".into(), node: "n0".into(), ..EndpointView::default() };
        let all = [
            other,
            relay("a", "1", "n1", false),
            relay("a", "2", "n1", false),
            relay("a", "3", "n2", true),
            relay("a", "4", "n3", false),
            relay("b", "5", "n4", false),
            relay("a", "6", "n5", false),
        ];
        let chosen: Vec<_> = relays(&all, "a").iter().map(|one| one.name.as_str()).collect();
        assert_eq!(chosen, ["1", "4"]);
    }
}
