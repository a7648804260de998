//! Flows as their nodes report them.
use std::sync::Arc;

use axle_core::model::Uid;
use axle_proto::v1::{Flow, FlowEnd, FlowEndView, FlowView, ObserveRequest, RuleId, RuleView};
use tokio::sync::{broadcast::error::RecvError, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::{Operations, Problem, Violation, text, workloads::named_cluster};
use crate::replica::Replica;

/// Flows on their way to one observer.
const BUFFER: usize = 256;

impl Operations {
    /// Flows from now on. A reader that is too slow loses some, and is told how many.
    ///
    /// # Errors
    /// An unknown cluster, a verdict that is none.
    pub fn observe(&self, request: ObserveRequest) -> Result<ReceiverStream<FlowView>, Problem> {
        if !matches!(request.verdict.as_str(), "" | "accept" | "deny") {
            let violation =
                Violation::new("invalid_value", "verdict", &request.verdict, "accept or deny", "leave it out for both");
            return Err(Problem::invalid(vec![violation]));
        }
        let cluster = self.read(|state| named_cluster(state, &request.cluster))?;
        let mut flows = self.live.flows();
        let (replica, stopping) = (Arc::clone(&self.replica), self.stopping.clone());
        let (sender, receiver) = mpsc::channel(BUFFER);
        tokio::spawn(async move {
            let mut dropped = 0;
            loop {
                let flow = tokio::select! {
                    flow = flows.recv() => flow,
                    () = sender.closed() => return,
                    () = stopping.cancelled() => return,
                };
                match flow {
                    Ok(flow) if wanted(&flow, cluster, &request) => {
                        let view = view(&flow, &replica, std::mem::take(&mut dropped));
                        if sender.send(view).await.is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(missed)) => dropped += missed,
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Ok(ReceiverStream::new(receiver))
    }
}

fn wanted(flow: &Flow, cluster: Option<Uid>, request: &ObserveRequest) -> bool {
    let of_cluster = cluster.is_none_or(|uid| flow.cluster == uid.0.as_slice());
    let of_verdict = request.verdict.is_empty() || request.verdict == flow.verdict;
    let at_an_end = |wanted: &str, field: fn(&FlowEnd) -> &str| {
        wanted.is_empty() || [&flow.source, &flow.destination].into_iter().flatten().any(|end| field(end) == wanted)
    };
    of_cluster
        && of_verdict
        && at_an_end(&request.namespace, |end| &end.namespace)
        && at_an_end(&request.workload, |end| &end.workload)
}

fn view(flow: &Flow, replica: &Replica, dropped: u64) -> FlowView {
    FlowView {
        time_ms: flow.time_ms,
        cluster: cluster_name(&flow.cluster, replica),
        node: flow.node.clone(),
        direction: flow.direction.clone(),
        source: flow.source.as_ref().map(end),
        destination: flow.destination.as_ref().map(end),
        protocol: flow.protocol.clone(),
        port: flow.port,
        verdict: flow.verdict.clone(),
        rule: flow.rule.as_ref().map(rule),
        reason: flow.reason.clone(),
        count: flow.count,
        dropped,
    }
}

fn cluster_name(bytes: &[u8], replica: &Replica) -> String {
    let Ok(bytes) = <[u8; 16]>::try_from(bytes) else { return String::new() };
    let uid = Uid(bytes);
    let state = replica.read();
    state
        .clusters()
        .find(|(each, _)| *each == uid)
        .map_or_else(|| uid.to_string(), |(_, cluster)| cluster.name.to_string())
}

fn end(end: &FlowEnd) -> FlowEndView {
    FlowEndView {
        address: text::address(&end.address),
        cluster: end.cluster.clone(),
        namespace: end.namespace.clone(),
        workload: end.workload.clone(),
        identity: text::hex(&end.identity),
        labels: end.labels.clone(),
    }
}

fn rule(rule: &RuleId) -> RuleView {
    let uid = <[u8; 16]>::try_from(rule.policy_uid.as_ref()).map(|bytes| Uid(bytes).to_string()).unwrap_or_default();
    RuleView {
        policy: rule.policy.clone(),
        policy_uid: uid,
        revision: rule.revision,
        direction: rule.direction.clone(),
        index: rule.index,
        name: rule.name.clone(),
    }
}
