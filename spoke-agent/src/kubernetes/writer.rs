//! Writing to the API server what differs from what is there, under one name.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use k8s_openapi::api::{
    core::v1::{ObjectReference, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions},
    core::Status,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde_json::Value;

use super::{
    exports::Missing,
    mirrors::{self, Mirrors, Step},
    policies::{Fault, Source},
    raw::{Kinded, Raw},
    slices::{Write, selector},
    trouble::Trouble,
    watch::{Called, Held, Watched},
};

/// Who owns what is written.
const MANAGER: &str = "axle-agent";
/// The longest note of an event, in bytes.
const LONGEST_NOTE: usize = 1000;

/// As rules of RBAC call slices.
const SLICES: &str = "endpointslices.discovery.k8s.io";

/// What became of a slice.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It needs nothing more.
    Done,
    /// It is to be tried again.
    Failed,
    /// Something that is not ours has this name.
    Taken(String),
}

/// See the module.
pub(super) struct Writer {
    client: Client,
    recorder: Recorder,
    /// What events said last, by the incarnation of the object.
    announced: BTreeMap<(Source, String), Fault>,
    /// What could not be written in this round, each sentence once.
    failures: Vec<String>,
    /// The API server does not answer: the rest of the round can be left.
    away: bool,
}

impl Writer {
    /// One that events name as `instance`.
    pub(super) fn new(client: Client, instance: String) -> Self {
        let reporter = Reporter { controller: MANAGER.into(), instance: Some(instance) };
        let recorder = Recorder::new(client.clone(), reporter);
        Self { client, recorder, announced: BTreeMap::new(), failures: Vec::new(), away: false }
    }

    /// Ends a round: what could not be written in it.
    pub(super) fn failures(&mut self) -> Vec<String> {
        self.away = false;
        std::mem::take(&mut self.failures)
    }

    /// What was announced of incarnations that are gone is forgotten.
    pub(super) fn forget(&mut self, is_there: impl Fn(&Source, &str) -> bool) {
        self.announced.retain(|(source, uid), _| is_there(source, uid));
    }

    /// An event for that incarnation of an object, if it is about something new; `None`: there is nothing wrong with it.
    pub(super) async fn announce(&mut self, source: &Source, uid: &str, fault: Option<Fault>) {
        let key = (source.clone(), uid.to_owned());
        let Some(fault) = fault else {
            self.announced.remove(&key);
            return;
        };
        if self.away || self.announced.get(&key) == Some(&fault) {
            return;
        }
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
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let published = self.recorder.publish(&event, &regarding).await;
        if self.note("events.events.k8s.io", published).is_some() {
            self.announced.insert(key, fault);
        }
    }

    /// Brings the mirrors of one kind to where they should be. Of others, those that are `ours` go; what is not stays as it
    /// is.
    pub(super) async fn mirror<K: Kinded, S>(
        &mut self,
        wanted: &Mirrors<S>,
        watched: &mut Watched<Raw<K>>,
        ours: impl Fn(&Raw<K>) -> bool,
        status: impl Fn(&Value, &S) -> Option<Value>,
    ) {
        let there = {
            let Held { objects, complete, trouble } = &*watched.borrow_and_update();
            self.note_trouble(trouble.as_ref());
            if !complete {
                return;
            }
            objects.clone()
        };
        let (mut written, mut left) = (BTreeMap::new(), BTreeSet::new());
        for step in mirrors::steps(wanted, &there, ours) {
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
                Step::Leave(called) => {
                    left.insert(called);
                    let (namespace, name) = called;
                    self.fail(format!(
                        "{} {namespace}/{name} is somebody else's and stays as it is, so what the fleet has by that name is not \
                         here: remove it, and it is written",
                        K::KIND
                    ));
                }
            }
        }
        for (called, mirror) in wanted.iter().filter(|(called, _)| !left.contains(called)) {
            let known = there.get(called).map(|object| &object.status);
            if let Some(before) = written.get(called).or(known) {
                self.write_status::<K>(called, "", status(before, &mirror.status)).await;
            }
        }
    }

    /// Writes a slice.
    pub(super) async fn slice(&mut self, write: Write) -> Written {
        let api = |namespace: &Option<String>| {
            Api::<EndpointSlice>::namespaced(self.client.clone(), namespace.as_deref().unwrap_or_default())
        };
        if self.away {
            return Written::Failed;
        }
        let (others, mut taken) = (std::mem::take(&mut self.failures), None);
        let written = match write {
            Write::Create(slice) => {
                let api = api(&slice.metadata.namespace);
                match api.create(&PostParams::default(), &slice).await {
                    Err(kube::Error::Api(status)) if status.code == 409 && !is_ending(&status) => {
                        let name = slice.metadata.name.unwrap_or_default();
                        let ours =
                            ListParams::default().fields(&format!("metadata.name={name}")).labels(&selector(true));
                        // One of ours is only not seen yet.
                        match api.list_metadata(&ours).await {
                            Ok(found) if found.items.is_empty() => taken = Some(name),
                            Ok(_) => {}
                            Err(error) => drop(self.note::<()>(SLICES, Err(error))),
                        }
                        Ok(())
                    }
                    created => created.map(drop),
                }
            }
            Write::Replace(slice) => {
                let name = slice.metadata.name.clone().unwrap_or_default();
                api(&slice.metadata.namespace).replace(&name, &PostParams::default(), &slice).await.map(drop)
            }
            Write::Delete((namespace, name), uid) => {
                let how = DeleteParams {
                    preconditions: Some(Preconditions { uid, resource_version: None }),
                    ..DeleteParams::default()
                };
                api(&Some(namespace)).delete(&name, &how).await.map(drop)
            }
        };
        self.note(SLICES, written);
        let failed = !self.failures.is_empty();
        others.into_iter().for_each(|sentence| self.fail(sentence));
        match taken {
            Some(name) => Written::Taken(name),
            None if failed => Written::Failed,
            None => Written::Done,
        }
    }

    /// What cannot be read cannot be kept right.
    pub(super) fn note_trouble(&mut self, trouble: Option<&Trouble>) {
        if let Some(Trouble::Unknown(why) | Trouble::Forbidden(why)) = trouble {
            self.fail(why.clone());
        }
    }

    /// Why there is no export of that Service.
    pub(super) async fn look_for(&mut self, (namespace, name): &Called) -> Missing {
        if self.away {
            return Missing::Pending;
        }
        let found = Api::<Service>::namespaced(self.client.clone(), namespace).get_opt(name).await;
        let Some(found) = self.note("services", found) else { return Missing::Pending };
        let Some(service) = found else { return Missing::NoService };
        match service.spec.and_then(|spec| spec.type_).as_deref() {
            Some("ExternalName") => Missing::ExternalName,
            _ => Missing::Pending,
        }
    }

    /// Writes a status, if there is one to write, to that incarnation of the object.
    pub(super) async fn write_status<K: Kinded>(&mut self, called: &Called, uid: &str, status: Option<Value>) {
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
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) || is_ending(&status) => {}
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

    pub(super) fn fail(&mut self, sentence: String) {
        if !self.failures.contains(&sentence) {
            self.failures.push(sentence);
        }
    }
}

/// Whether the namespace is about to go, and all of it.
fn is_ending(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

fn manager() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}
