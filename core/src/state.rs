//! The hub's state machine: a command, checked against the state, becomes a record; a record, applied, becomes state.
//!
//! Deciding changes nothing and depends on nothing but the state and the request, so every replica that has applied the
//! same records decides alike.
mod clusters;
mod command;
mod draft;
mod imports;
mod intake;
mod owner;
mod policies;
mod rejection;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

pub use command::{Command, Decision, Request};
pub use owner::Owner;
pub use rejection::{Rejection, RejectionKind};

use crate::{
    codec::Codec,
    log::{Applied, Contents, Delta, Entry, OutOfOrder, Position, Record},
    model::{Cluster, Fleet, Key, Kind, Name, Object, Resource, Scope, Uid},
};
use draft::Draft;

/// How many requests are remembered, to answer a repeated one.
const REMEMBERED_REQUESTS: usize = 65_536;

/// How many service addresses rest before they are given out again.
const RETIRED_ADDRESSES: usize = 4_096;

/// The hub's state: the log's objects, and what else follows from the records.
#[derive(Debug, Clone, Default)]
pub struct State {
    contents: Contents,
    intakes: BTreeMap<Uid, Position>,
    requests: HashMap<(String, String), u64>,
    /// The order in which `requests` came, to forget the oldest.
    request_order: VecDeque<(String, String)>,
    /// Service addresses that were given up lately, oldest first: not given out again while there are others.
    retired: VecDeque<IpAddr>,
    /// Where the endpoint of each name is filed: its name is its uid, which is one object's in the whole fleet.
    endpoints: HashMap<Name, Key>,
}

/// A record that was applied, so that it can be taken back.
#[derive(Debug)]
#[must_use = "it undoes the record"]
pub struct Undo {
    applied: Applied,
    intake: Option<(Uid, Option<Position>)>,
    request: Option<(String, String)>,
    retired: usize,
}

impl State {
    /// An empty state of a new epoch.
    #[must_use]
    pub fn new(epoch: Uid) -> Self {
        Self { contents: Contents::new(epoch), ..Self::default() }
    }

    /// The state as a store keeps it: the objects, how far each spoke's log is taken in, and the newest records (oldest
    /// first, ending at `position`), from which readers resume and repeated requests are known.
    #[must_use]
    pub fn load(position: Position, objects: Vec<Object>, intakes: BTreeMap<Uid, Position>, recent: &[Record]) -> Self {
        let mut state = Self { contents: Contents::load(position, objects, recent), intakes, ..Self::default() };
        for record in recent {
            state.remember_request(record);
        }
        state.endpoints =
            state.list(Kind::Endpoint).map(|object| (object.key.name.clone(), object.key.clone())).collect();
        state
    }

    /// The objects and their log.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Where the log stands.
    #[must_use]
    pub fn position(&self) -> Position {
        self.contents.position()
    }

    /// The object of that name.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Object> {
        self.contents.get(key)
    }

    /// The objects of one kind.
    pub fn list(&self, kind: Kind) -> impl Iterator<Item = &Object> + '_ {
        self.contents.list(kind)
    }

    /// The fleet's settings; absent before [`Command::Begin`].
    #[must_use]
    pub fn fleet(&self) -> Option<&Fleet> {
        let key = Key { kind: Kind::Fleet, scope: Scope::Fleet, namespace: String::new(), name: Name::fleet() };
        match &*self.get(&key)?.resource {
            Resource::Fleet(fleet) => Some(fleet),
            _ => None,
        }
    }

    /// Every cluster, in the order of their names.
    pub fn clusters(&self) -> impl Iterator<Item = (Uid, &Cluster)> + '_ {
        self.list(Kind::Cluster).filter_map(|object| match &*object.resource {
            Resource::Cluster(cluster) => Some((object.uid, cluster)),
            _ => None,
        })
    }

    /// The cluster of that name.
    #[must_use]
    pub fn cluster(&self, name: &Name) -> Option<(Uid, &Cluster)> {
        self.clusters().find(|(_, cluster)| cluster.name == *name)
    }

    /// How far a spoke's own log is taken in.
    #[must_use]
    pub fn intake(&self, cluster: Uid) -> Option<Position> {
        self.intakes.get(&cluster).copied()
    }

    /// The revision that answered this request before, if it is remembered. An empty id is never remembered.
    #[must_use]
    pub fn answered(&self, actor: &str, request_id: &str) -> Option<u64> {
        self.requests.get(&(actor.to_owned(), request_id.to_owned())).copied()
    }

    /// Checks a request and says what it would write.
    ///
    /// # Errors
    /// A [`Rejection`] says what is wrong; nothing of the request is done then.
    pub fn decide(&self, request: &Request, codec: &dyn Codec) -> Result<Decision, Rejection> {
        if let Some(revision) = self.answered(&request.actor, &request.request_id) {
            return Ok(Decision::Repeated { revision });
        }
        let mut draft = Draft::new(&self.contents, codec, request.entropy);
        let mut refused = Vec::new();
        let mut intake = None;
        match &request.command {
            Command::Begin { fleet } => clusters::begin(self, &mut draft, fleet)?,
            Command::AddCluster { cluster } => clusters::add(self, &mut draft, cluster)?,
            Command::RemoveCluster { name } => clusters::remove(self, &mut draft, name)?,
            Command::RemoveNode { cluster, node } => clusters::remove_node(self, &mut draft, cluster, node)?,
            Command::PutPolicies { policies } => policies::put(self, &mut draft, policies)?,
            Command::DisablePolicy { name, disabled } => policies::disable(&mut draft, name, *disabled)?,
            Command::DeletePolicy { name } => policies::delete(&mut draft, name)?,
            Command::TakeDelta { cluster, delta } => {
                refused = intake::delta(self, &mut draft, *cluster, delta)?;
                intake = Some((*cluster, delta.to));
            }
            Command::TakeSnapshot { cluster, snapshot, refused: kept } => {
                refused = intake::snapshot(self, &mut draft, *cluster, snapshot, kept)?;
                intake = Some((*cluster, snapshot.at));
            }
        }
        imports::merge(self, &mut draft);
        Ok(draft.decided(request, refused, intake))
    }

    /// Moves on by one record.
    ///
    /// # Errors
    /// [`OutOfOrder`] if it is not the next one; nothing is changed then.
    pub fn apply(&mut self, record: &Record) -> Result<Undo, OutOfOrder> {
        let applied = self.contents.apply(&Delta::of(record, self.position().epoch))?;
        let intake = record.intake.map(|intake| (intake.cluster, self.intakes.insert(intake.cluster, intake.position)));
        let given_up: Vec<IpAddr> =
            applied.replaced.iter().flat_map(|(key, before)| self.given_up(key, before)).collect();
        let retired = given_up.len();
        self.retired.extend(given_up);
        self.file_endpoints(&applied.keys());
        while self.retired.len() > RETIRED_ADDRESSES {
            self.retired.pop_front();
        }
        let request = self.remember_request(record);
        Ok(Undo { applied, intake, request, retired })
    }

    /// Takes back the record that was applied last, because the store did not take it.
    pub fn undo(&mut self, undo: Undo) {
        let keys = undo.applied.keys();
        self.contents.undo(undo.applied);
        self.file_endpoints(&keys);
        if let Some((cluster, before)) = undo.intake {
            match before {
                Some(position) => self.intakes.insert(cluster, position),
                None => self.intakes.remove(&cluster),
            };
        }
        self.retired.truncate(self.retired.len().saturating_sub(undo.retired));
        if let Some(request) = undo.request {
            self.requests.remove(&request);
            self.request_order.pop_back();
        }
    }

    /// Brings `endpoints` up to date where these keys changed.
    fn file_endpoints(&mut self, keys: &[Arc<Key>]) {
        for key in keys.iter().filter(|key| key.kind == Kind::Endpoint) {
            if self.contents.get(key).is_some() {
                self.endpoints.insert(key.name.clone(), Key::clone(key));
            } else if self.endpoints.get(&key.name) == Some(&**key) {
                self.endpoints.remove(&key.name);
            }
        }
    }

    /// The addresses of an import that is gone.
    fn given_up(&self, key: &Key, before: &Option<Entry>) -> Vec<IpAddr> {
        match before.as_ref().map(|entry| &*entry.object.resource) {
            Some(Resource::ServiceImport(import)) if self.get(key).is_none() => import.vips.clone(),
            _ => Vec::new(),
        }
    }

    fn remember_request(&mut self, record: &Record) -> Option<(String, String)> {
        if record.request_id.is_empty() {
            return None;
        }
        let request = (record.actor.clone(), record.request_id.clone());
        self.requests.insert(request.clone(), record.revision);
        self.request_order.push_back(request.clone());
        if self.request_order.len() > REMEMBERED_REQUESTS
            && let Some(oldest) = self.request_order.pop_front()
        {
            self.requests.remove(&oldest);
        }
        Some(request)
    }
}
