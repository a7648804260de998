//! What the relay tells the people of its cluster: conditions of policies, events for what is refused, and mirrors of what
//! the hub has. All of it follows from the log and from what nodes say, so whoever leads tells the same.
use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axle_core::{
    log::Position,
    model::{Kind, Object, Resource, Scope, Uid},
};
use axle_proto::v1::NodeStatus;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::watch;

use super::{
    conditions::{Held, Said, Verdict, of_policy, renewed},
    crd::{Cluster, ClusterStatus, FleetPolicy, MeshNetworkPolicy, Truth},
    mirrors::{self, Mirrors, Printed, Step},
    policies::{Fault, LogName, Reading, Source},
    policy_feed::PolicyWatch,
    raw::{ClusterNetworkPolicy, Kinded, Raw},
    trouble::Trouble,
    watch::{Called, Held as Objects, Watched, follow},
};
use crate::{problems::Problems, shared_log::SharedLog};

/// Who owns what is written.
const MANAGER: &str = "axle-agent";
/// The shortest time between two looks: what comes meanwhile is told together.
const PAUSE: Duration = Duration::from_millis(500);
/// The waits before what could not be written is tried again.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// The longest note of an event, in bytes.
const LONGEST_NOTE: usize = 1000;

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
    /// The policies of the API server.
    pub policies: PolicyWatch,
    /// Where it is said what cannot be written.
    pub problems: Problems,
}

/// What the log has that is told of.
struct Seen {
    at: Position,
    fleet: Vec<Object>,
    own: BTreeMap<LogName, Object>,
    clusters: Vec<(Object, u32)>,
}

struct Teller {
    client: Client,
    recorder: Recorder,
    printed: Printed,
    /// What events said last, by the incarnation of the object.
    announced: BTreeMap<(Source, String), Fault>,
    /// What could not be written in this round, each sentence once.
    failures: Vec<String>,
    /// The API server does not answer: the rest of the round can be left.
    away: bool,
}

/// Tells for as long as the log lives.
pub async fn keep_telling(telling: Telling) {
    let Telling { client, node, cluster, log, mut statuses, mut policies, problems } = telling;
    let reporter = Reporter { controller: MANAGER.into(), instance: Some(node) };
    let recorder = Recorder::new(client.clone(), reporter);
    let mut fleet = follow(Api::<Raw<FleetPolicy>>::all(client.clone()), ListParams::default(), |_| {});
    let mut clusters = follow(Api::<Raw<Cluster>>::all(client.clone()), ListParams::default(), |_| {});
    let (announced, failures) = (BTreeMap::new(), Vec::new());
    let mut teller = Teller { client, recorder, printed: Printed::default(), announced, failures, away: false };
    let mut head = log.down().watch();
    let mut retry = RETRY.0;
    log.begun().await;
    loop {
        head.mark_unchanged();
        let seen = seen(&log, cluster);
        let nodes: Vec<Held> = statuses.borrow_and_update().iter().map(Held::of).collect();
        let state = policies.borrow_and_update().clone();
        for (source, outcome) in state.policies.outcomes() {
            if let Some(reading) = state.policies.readings.get(source) {
                let in_log = source.log_name().and_then(|name| seen.own.get(&name));
                teller
                    .policy(source, reading, &outcome, in_log.filter(|_| !is_taken(&outcome)), &seen.at, &nodes)
                    .await;
            }
        }
        teller
            .announced
            .retain(|(source, uid), _| state.policies.readings.get(source).is_some_and(|reading| reading.uid == *uid));
        let wanted = mirrors::policies(&seen.fleet, &seen.at, &nodes, &mut teller.printed);
        teller.mirror(&wanted, &mut fleet, verdict).await;
        let wanted = mirrors::clusters(&seen.clusters, cluster);
        teller.mirror(&wanted, &mut clusters, plain).await;

        teller.away = false;
        let failures = std::mem::take(&mut teller.failures);
        let again = if failures.is_empty() { Duration::MAX } else { retry };
        retry = if failures.is_empty() { RETRY.0 } else { (retry * 2).min(RETRY.1) };
        problems.set("what Kubernetes is told", failures);
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            changed = head.changed() => if changed.is_err() { return },
            changed = statuses.changed() => if changed.is_err() { return },
            changed = policies.changed() => if changed.is_err() { return },
            changed = fleet.changed() => if changed.is_err() { return },
            changed = clusters.changed() => if changed.is_err() { return },
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
        Seen {
            at: contents.position(),
            fleet: contents.list_in(Kind::Policy, Scope::Fleet).cloned().collect(),
            own: contents.list_in(Kind::Policy, Scope::Cluster(cluster)).filter_map(own).collect(),
            clusters: contents
                .list(Kind::Cluster)
                .map(|object| (object.clone(), u32::try_from(nodes(object)).unwrap_or(u32::MAX)))
                .collect(),
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

impl Teller {
    /// The conditions of a policy, and an event if it is refused.
    async fn policy(
        &mut self,
        source: &Source,
        reading: &Reading,
        outcome: &Result<Arc<axle_core::model::Policy>, Fault>,
        in_log: Option<&Object>,
        at: &Position,
        nodes: &[Held],
    ) {
        let verdict = of_policy(outcome, in_log, at, nodes);
        let accepted = &verdict.said[0];
        let key = (source.clone(), reading.uid.clone());
        if accepted.status == Truth::False {
            let fault = Fault { reason: accepted.reason.clone(), message: accepted.message.clone() };
            if self.announced.get(&key) != Some(&fault) && self.announce(source, reading, &fault).await {
                self.announced.insert(key, fault);
            }
        } else {
            self.announced.remove(&key);
        }
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

    async fn announce(&mut self, source: &Source, reading: &Reading, fault: &Fault) -> bool {
        let mut note = fault.message.clone();
        note.truncate(note.floor_char_boundary(LONGEST_NOTE));
        let event = Event {
            type_: EventType::Warning,
            reason: fault.reason.clone(),
            note: Some(note),
            action: "Accept".into(),
            secondary: None,
        };
        let regarding = ObjectReference {
            api_version: Some(source.api_version.clone()),
            kind: Some(source.kind.into()),
            namespace: source.namespace.clone(),
            name: Some(source.name.clone()),
            uid: Some(reading.uid.clone()),
            ..ObjectReference::default()
        };
        if self.away {
            return false;
        }
        let published = self.recorder.publish(&event, &regarding).await;
        self.note("an event", published).is_some()
    }

    /// Brings the mirrors of one kind to where they should be.
    async fn mirror<K: Kinded, S>(
        &mut self,
        wanted: &Mirrors<S>,
        watched: &mut Watched<Raw<K>>,
        status: impl Fn(&Value, &S) -> Option<Value>,
    ) {
        let there = {
            let Objects { objects, complete, trouble } = &*watched.borrow_and_update();
            if let Some(Trouble::Unknown(why) | Trouble::Forbidden(why)) = trouble {
                self.fail(why.clone());
            }
            if !complete {
                return;
            }
            objects.clone()
        };
        let mut written = BTreeMap::new();
        for step in mirrors::steps(wanted, &there) {
            if self.away {
                return;
            }
            match step {
                Step::Write(called) => {
                    let document = mirrors::document::<K, S>(called, &wanted[called]);
                    let api = K::api(&self.client, &called.0);
                    let patched = api.patch(&called.1, &manager(), &Patch::Apply(document)).await;
                    if let Some(object) = self.note(K::PLURAL, patched) {
                        written.insert(called, object.status);
                    }
                }
                Step::Delete(called, uid) => {
                    let preconditions = Preconditions { uid: uid.map(str::to_owned), resource_version: None };
                    let how = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
                    let deleted = K::api(&self.client, &called.0).delete(&called.1, &how).await;
                    self.note(K::PLURAL, deleted);
                }
            }
        }
        for (called, mirror) in wanted {
            let known = there.get(called).map(|object| &object.status);
            if let Some(before) = written.get(called).or(known) {
                self.write_status::<K>(called, "", status(before, &mirror.status)).await;
            }
        }
    }

    /// Writes a status, if there is one to write, to that incarnation of the object.
    async fn write_status<K: Kinded>(&mut self, called: &Called, uid: &str, status: Option<Value>) {
        let Some(status) = status.filter(|_| !self.away) else { return };
        let mut document = K::document(called);
        document["status"] = status;
        if !uid.is_empty() {
            document["metadata"]["uid"] = uid.into();
        }
        let api = K::api(&self.client, &called.0);
        let patched = api.patch_status(&called.1, &manager(), &Patch::Apply(document)).await;
        self.note(&format!("{}/status", K::PLURAL), patched);
    }

    /// The answer, unless the API server refused. What is gone or another by now needs nothing more.
    fn note<T: Debug>(&mut self, what: &str, answer: kube::Result<T>) -> Option<T> {
        match answer {
            Ok(answer) => return Some(answer),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(kube::Error::Api(status)) if status.code == 403 => self.fail(format!(
                "the API server does not let this agent write {what}: {}; give its service account a role with that verb \
                 and resource",
                status.message
            )),
            Err(error) => {
                self.away |= !matches!(error, kube::Error::Api(_));
                self.fail(format!("{what} cannot be written: {error}"));
            }
        }
        None
    }

    fn fail(&mut self, sentence: String) {
        if !self.failures.contains(&sentence) {
            self.failures.push(sentence);
        }
    }
}

fn manager() -> PatchParams {
    PatchParams::apply(MANAGER).force()
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
