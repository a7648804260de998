//! What the relay tells the people of its cluster: conditions of policies, events for what is refused, and mirrors of what
//! the hub has. All of it follows from the log and from what nodes say, so whoever leads tells the same.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use axle_core::{
    log::Position,
    model::{Kind, Object, Policy, Resource, Scope, Uid},
};
use axle_proto::v1::NodeStatus;
use kube::{Api, Client, api::ListParams};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::watch;

use super::{
    conditions::{Held, Said, Verdict, of_policy, renewed},
    crd::{Cluster, ClusterStatus, FleetPolicy, MeshNetworkPolicy, ServiceExport, ServiceImport, Truth},
    exports, imports,
    mirrors::{self, Printed},
    policies::{Fault, LogName, Reading, Source},
    policy_feed::Feeds,
    raw::{ClusterNetworkPolicy, Kinded, Raw},
    slice_keeper::SliceKeeper,
    watch::{Called, Watched, follow},
    writer::Writer,
};
use crate::{problems::Problems, shared_log::SharedLog};

/// The shortest time between two looks: what comes meanwhile is told together.
const PAUSE: Duration = Duration::from_millis(500);
/// The waits before what could not be written is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// How often it is looked whether the Service of an export has come.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What there is to tell of.
pub struct Telling {
    /// The way to the API server.
    pub client: Client,
    /// This machine, for events.
    pub node: String,
    /// This cluster.
    pub cluster: Uid,
    /// The relay's log.
    pub log: Arc<SharedLog>,
    /// What its nodes say.
    pub statuses: watch::Receiver<Vec<NodeStatus>>,
    /// What people of the cluster wrote.
    pub feeds: Feeds,
    /// Where it is said what cannot be written.
    pub problems: Problems,
}

/// What the log has that is told of.
struct Seen {
    at: Position,
    /// The hub's position that the log includes.
    origin: Position,
    fleet: Vec<Object>,
    own: BTreeMap<LogName, Object>,
    clusters: Vec<(Object, u32)>,
    imports: Vec<Object>,
    /// This cluster's exports and namespaces, by name.
    exported: BTreeSet<Called>,
    namespaces: BTreeSet<String>,
}

/// Tells for as long as the log lives.
pub async fn keep_telling(telling: Telling) {
    let Telling { client, node, cluster, log, mut statuses, feeds, problems } = telling;
    let Feeds { mut policies, mut exports } = feeds;
    let mut fleet = follow(Api::<Raw<FleetPolicy>>::all(client.clone()), ListParams::default(), |_| {});
    let mut clusters = follow(Api::<Raw<Cluster>>::all(client.clone()), ListParams::default(), |_| {});
    let mut imports = follow(Api::<Raw<ServiceImport>>::all(client.clone()), ListParams::default(), |_| {});
    let (mut writer, mut printed) = (Writer::new(client.clone(), node), Printed::default());
    let mut head = log.down().watch();
    let mut retry = RETRY.0;
    log.begun().await;
    let mut slices = SliceKeeper::new(client, cluster, &log);
    loop {
        head.mark_unchanged();
        let seen = seen(&log, cluster);
        let nodes: Vec<Held> = statuses.borrow_and_update().iter().map(Held::of).collect();
        let state = policies.borrow_and_update().clone();
        for (source, outcome) in state.policies.outcomes() {
            if let Some(reading) = state.policies.readings.get(source) {
                let in_log = source.log_name().and_then(|name| seen.own.get(&name));
                writer
                    .policy(source, reading, &outcome, in_log.filter(|_| !is_taken(&outcome)), &seen.at, &nodes)
                    .await;
            }
        }
        let readings = &state.policies.readings;
        writer.forget(|source, uid| readings.get(source).is_some_and(|reading| reading.uid == uid));
        let wanted = mirrors::policies(&seen.fleet, &seen.origin, &nodes, &mut printed);
        writer.mirror(&wanted, &mut fleet, |_| true, verdict).await;
        let wanted = mirrors::clusters(&seen.clusters, cluster);
        writer.mirror(&wanted, &mut clusters, |_| true, plain).await;
        let waits = writer.services(&seen, cluster, &mut imports, &mut exports).await;
        slices.bring(&imports, &mut writer).await;

        let failures = writer.failures();
        let again = match failures.is_empty() {
            true if waits => LOOK_AGAIN,
            true => Duration::MAX,
            false => retry,
        };
        retry = if failures.is_empty() { RETRY.0 } else { (retry * 2).min(RETRY.1) };
        problems.set("what Kubernetes is told", failures);
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            changed = head.changed() => if changed.is_err() { return },
            changed = statuses.changed() => if changed.is_err() { return },
            changed = policies.changed() => if changed.is_err() { return },
            changed = fleet.changed() => if changed.is_err() { return },
            changed = clusters.changed() => if changed.is_err() { return },
            changed = imports.changed() => if changed.is_err() { return },
            changed = slices.changed() => if changed.is_err() { return },
            changed = exports.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(again) => {}
        }
    }
}

/// Whether the name is another object's, and so is what the log has by it.
fn is_taken<T>(outcome: &Result<T, Fault>) -> bool {
    outcome.as_ref().is_err_and(|fault| fault.reason == Fault::NAME_TAKEN)
}

fn seen(log: &SharedLog, cluster: Uid) -> Seen {
    log.read(|log| {
        let contents = log.contents();
        let own = |object: &Object| match &*object.resource {
            Resource::Policy(policy) => Some(((policy.namespace.clone(), policy.name.clone()), object.clone())),
            _ => None,
        };
        let nodes = |object: &Object| contents.list_in(Kind::Node, Scope::Cluster(object.uid)).count();
        let here = Scope::Cluster(cluster);
        let called = |object: &Object| (object.key.namespace.clone(), object.key.name.to_string());
        Seen {
            at: contents.position(),
            origin: contents.origin().unwrap_or_default(),
            fleet: contents.list_in(Kind::Policy, Scope::Fleet).cloned().collect(),
            own: contents.list_in(Kind::Policy, here).filter_map(own).collect(),
            clusters: contents
                .list(Kind::Cluster)
                .map(|object| (object.clone(), u32::try_from(nodes(object)).unwrap_or(u32::MAX)))
                .collect(),
            imports: contents.list(Kind::ServiceImport).cloned().collect(),
            exported: contents.list_in(Kind::ServiceExport, here).map(called).collect(),
            namespaces: contents.list_in(Kind::Namespace, here).map(|object| object.key.name.to_string()).collect(),
        }
    })
}

fn now() -> String {
    OffsetDateTime::from(SystemTime::now())
        .replace_nanosecond(0)
        .ok()
        .and_then(|now| now.format(&Rfc3339).ok())
        .unwrap_or_default()
}

impl Writer {
    /// Imports and the conditions of exports; whether some of these wait for a Service.
    async fn services(
        &mut self,
        seen: &Seen,
        own: Uid,
        there: &mut Watched<Raw<ServiceImport>>,
        exports: &mut Watched<Raw<ServiceExport>>,
    ) -> bool {
        let names = seen.clusters.iter().map(|(cluster, _)| (cluster.uid, cluster.key.name.to_string())).collect();
        let wanted = imports::imports(&seen.imports, &seen.namespaces, &names);
        self.mirror(&wanted, there, imports::is_ours, |before, clusters| imports::status(before, clusters, &now()))
            .await;
        let objects = exports.borrow_and_update().objects.clone();
        let mut waits = false;
        for (called, export) in &objects {
            let missing = match seen.exported.contains(called) {
                true => None,
                false => Some(self.look_for(called).await),
            };
            waits |= missing.is_some();
            let import = seen.imports.iter().find_map(|object| match &*object.resource {
                Resource::ServiceImport(import)
                    if (import.namespace.as_str(), import.name.as_str()) == (&called.0, &called.1) =>
                {
                    Some(import)
                }
                _ => None,
            });
            let said = exports::conditions(missing, import, own);
            let conditions = renewed(&export.status, &said, export.metadata.generation, &now());
            let status = conditions.map(|conditions| json!({ "conditions": conditions }));
            let uid = export.metadata.uid.as_deref().unwrap_or_default();
            self.write_status::<ServiceExport>(called, uid, status).await;
        }
        waits
    }

    /// The conditions of a policy, and an event if it is refused.
    async fn policy(
        &mut self,
        source: &Source,
        reading: &Reading,
        outcome: &Result<Arc<Policy>, Fault>,
        in_log: Option<&Object>,
        at: &Position,
        nodes: &[Held],
    ) {
        let verdict = of_policy(outcome, in_log, at, nodes);
        let accepted = &verdict.said[0];
        let fault = || Fault { reason: accepted.reason.clone(), message: accepted.message.clone() };
        self.announce(source, &reading.uid, (accepted.status == Truth::False).then(fault)).await;
        let called = (source.namespace.clone().unwrap_or_default(), source.name.clone());
        match source.kind {
            MeshNetworkPolicy::KIND => {
                let status = status(&reading.status, &verdict, "", reading.generation);
                self.write_status::<MeshNetworkPolicy>(&called, &reading.uid, status).await;
            }
            ClusterNetworkPolicy::KIND => {
                // Others may have conditions of the same kind: ours have our domain.
                let status = status(&reading.status, &verdict, "axle.dev/", reading.generation).map(|mut status| {
                    status.as_object_mut().map(|status| status.remove("nodes"));
                    status
                });
                self.write_status::<ClusterNetworkPolicy>(&called, &reading.uid, status).await;
            }
            _ => {}
        }
    }
}

/// The status to be written in the place of `before`, if it differs; kinds of condition begin with `domain`.
fn status(before: &Value, verdict: &Verdict, domain: &str, generation: Option<i64>) -> Option<Value> {
    let said = verdict.said.clone().map(|said| Said { kind: format!("{domain}{}", said.kind), ..said });
    let conditions = renewed(before, &said, generation, &now())?;
    Some(json!({"conditions": conditions, "nodes": verdict.nodes}))
}

fn verdict(before: &Value, wanted: &Verdict) -> Option<Value> {
    status(before, wanted, "", None)
}

fn plain(before: &Value, wanted: &ClusterStatus) -> Option<Value> {
    let wanted = serde_json::to_value(wanted).ok()?;
    (*before != wanted).then_some(wanted)
}
