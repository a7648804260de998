//! Keeps the EndpointSlices of imports as they should be: those whose backends changed, or that somebody changed, are looked
//! at again.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axle_core::{
    log::Change,
    model::{Name, Uid},
    service::{Imported, Shares},
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client, ResourceExt, api::ListParams};
use parking_lot::Mutex;
use tokio::sync::watch::error::RecvError;

use super::{
    crd::ServiceImport,
    imports,
    raw::Raw,
    slices::{Write, deletes, import_of, selector, writes},
    watch::{Called, Watched, follow},
    writer::{Writer, Written},
};
use crate::{
    merged_log::MergedLog,
    shared_log::{Follower, SharedLog, Step},
};

/// See the module.
pub(super) struct SliceKeeper {
    backends: Backends,
    there: Watched<EndpointSlice>,
    /// Imports with their slices as they were when nothing was left to do about their backends.
    settled: BTreeMap<Called, Seen>,
    dirty: BTreeSet<Called>,
    /// Names that an import's slices would have and that something has which is not ours.
    taken: BTreeMap<Called, BTreeSet<String>>,
}

type Imports = BTreeMap<Called, Arc<Raw<ServiceImport>>>;
type Slices = BTreeMap<Called, Vec<Arc<EndpointSlice>>>;

/// The import's incarnation, and its slices with their versions.
type Seen = (Option<String>, Vec<(String, Option<String>)>);

impl SliceKeeper {
    /// Follows the log, which must have begun, and the API server.
    pub(super) fn new(client: Client, cluster: Uid, log: &SharedLog) -> Self {
        let backends = Backends::new(cluster);
        log.follow(Box::new(backends.clone()));
        let there = follow(Api::all(client), ListParams::default().labels(&selector(true)), |_| {});
        Self { backends, there, settled: BTreeMap::new(), dirty: BTreeSet::new(), taken: BTreeMap::new() }
    }

    /// Resolves when somebody changed a slice of ours. (Whoever waits hears of the log by itself.)
    pub(super) async fn changed(&mut self) -> Result<(), RecvError> {
        self.there.changed().await
    }

    /// Brings all slices to where they should be. An import that is not in `imports`, or another implementation's, has none.
    pub(super) async fn bring(&mut self, imports: &Watched<Raw<ServiceImport>>, writer: &mut Writer) {
        self.dirty.extend(self.backends.dirty());
        let Some((mut ours, there)) = self.known(imports, writer) else { return };
        ours.retain(|_, import| imports::is_ours(import));
        self.settled.retain(|called, _| ours.contains_key(called) || there.contains_key(called));
        self.taken.retain(|called, _| ours.contains_key(called));
        let names: BTreeSet<&Called> = ours.keys().chain(there.keys()).collect();
        for called in names {
            let slices = there.get(called).map_or(&[][..], Vec::as_slice);
            let import = ours.get(called);
            let versions = slices.iter().map(|slice| (slice.name_any(), slice.resource_version())).collect();
            let seen = (import.and_then(|import| import.metadata.uid.clone()), versions);
            if !self.dirty.contains(called) && self.settled.get(called) == Some(&seen) {
                continue;
            }
            let taken = self.taken.entry(called.clone()).or_default();
            let (written, nothing_left) = loop {
                let steps = match import {
                    Some(import) => writes(import, &self.backends.of(called), slices, taken),
                    None => deletes(slices),
                };
                let nothing_left = steps.is_empty();
                match all_of(steps, writer).await {
                    // Under the next name, then.
                    Written::Taken(name) if taken.insert(name.clone()) => {}
                    written => break (written, nothing_left),
                }
            };
            // What was written is looked at again once it is seen: somebody may have changed it before.
            self.settled.remove(called);
            if written == Written::Done {
                self.dirty.remove(called);
                self.settled.extend(nothing_left.then(|| (called.clone(), seen)));
            }
        }
        // What is left is of imports that are not here.
        self.dirty.retain(|called| ours.contains_key(called));
    }

    /// All imports, and our slices by theirs; `None` until both were listed whole.
    fn known(&mut self, imports: &Watched<Raw<ServiceImport>>, writer: &mut Writer) -> Option<(Imports, Slices)> {
        let imports = imports.borrow();
        let held = self.there.borrow_and_update();
        writer.note_trouble(held.trouble.as_ref());
        let mut there = Slices::new();
        for slice in held.objects.values() {
            there.entry(import_of(slice)).or_default().push(slice.clone());
        }
        (held.complete && imports.complete).then(|| (imports.objects.clone(), there))
    }
}

/// Carries the steps out up to the first whose name is taken: before another name is found nothing goes.
async fn all_of(steps: Vec<Write>, writer: &mut Writer) -> Written {
    let mut all = Written::Done;
    for step in steps {
        match writer.slice(step).await {
            Written::Done => {}
            Written::Failed => all = Written::Failed,
            taken @ Written::Taken(_) => return taken,
        }
    }
    all
}

/// The backends of the log's imports. Cheap to clone.
#[derive(Clone)]
struct Backends(Arc<Mutex<Known>>);

struct Known {
    imported: Imported,
    dirty: BTreeSet<(Name, Name)>,
    begun: bool,
}

impl Backends {
    /// None, until it follows a log.
    fn new(cluster: Uid) -> Self {
        let imported = Imported::new(cluster);
        Self(Arc::new(Mutex::new(Known { imported, dirty: BTreeSet::new(), begun: false })))
    }

    /// Whose backends may differ since it was asked last.
    fn dirty(&self) -> BTreeSet<Called> {
        let dirty = std::mem::take(&mut self.0.lock().dirty);
        dirty.into_iter().map(|(namespace, name)| (namespace.to_string(), name.to_string())).collect()
    }

    /// The backends of an import.
    fn of(&self, (namespace, name): &Called) -> Shares {
        let name = Name::new(namespace.clone()).ok().zip(Name::new(name.clone()).ok());
        name.map_or_else(Shares::new, |name| self.0.lock().imported.backends(&name))
    }
}

impl Follower for Backends {
    fn follow(&mut self, log: &MergedLog, step: &Step<'_>) {
        let mut known = self.0.lock();
        let Known { imported, dirty, begun } = &mut *known;
        match (&*begun, step.delta) {
            (true, delta) => dirty.extend(imported.apply(delta.iter().flat_map(|delta| &delta.changes))),
            (false, _) => {
                *begun = true;
                let all: Vec<Change> = log.contents().iter().cloned().map(Change::Put).collect();
                dirty.extend(imported.apply(&all));
            }
        }
    }
}
