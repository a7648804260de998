//! The hub's state machine: a command, checked against the state, becomes a record; a record, applied, becomes state.
//!
//! Deciding changes nothing and depends on nothing but the state and the request, so every replica that has applied the
//! same records decides alike.
mod addresses;
mod claims;
mod clusters;
mod command;
mod draft;
mod imports;
mod intake;
mod owner;
mod policies;
mod quota;
mod rejection;
mod tests_of_policies;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
};

pub use addresses::RESTING;
pub use claims::{Endpoints, range_of_others};
pub use command::{Command, Decision, Request};
pub use owner::Owner;
pub use rejection::{Rejection, RejectionKind};
pub use tests_of_policies::CHANGED_SINCE;

use crate::{
    codec::Codec,
    log::{Applied, Contents, Delta, OutOfOrder, Position, Record},
    model::{Cluster, Fleet, Key, Kind, Name, Object, Resource, Scope, Uid},
    refusal::Refusal,
};
use addresses::{Addresses, Rested};
use draft::Draft;
use quota::Shares;

/// How many requests are remembered, to answer a repeated one.
const REMEMBERED_REQUESTS: usize = 65_536;

/// The hub's state: the log's objects, and what else follows from the records.
#[derive(Debug, Clone, Default)]
pub struct State {
    contents: Contents,
    intakes: BTreeMap<Uid, Position>,
    requests: HashMap<(String, String), u64>,
    /// The order in which `requests` came, to forget the oldest.
    request_order: VecDeque<(String, String)>,
    addresses: Addresses,
    endpoints: Endpoints,
    shares: Shares,
    /// The revision that last changed a policy or a test of policies.
    policies_changed: u64,
}

/// A record that was applied, so that it can be taken back.
#[derive(Debug)]
#[must_use = "it undoes the record"]
pub struct Undo {
    applied: Applied,
    intake: Option<(Uid, Option<Position>)>,
    request: Option<(String, String)>,
    rested: Rested,
    given_up: Vec<IpAddr>,
    policies_changed: u64,
}

impl Undo {
    /// The service addresses that the record gave up: they rest, also after a restart.
    #[must_use]
    pub fn given_up(&self) -> &[IpAddr] {
        &self.given_up
    }
}

/// What a command takes in besides what it writes.
#[derive(Debug, Default)]
struct Taken {
    refused: Vec<Refusal>,
    intake: Option<(Uid, Position)>,
}

/// Whether a record changes a policy or a test of policies.
fn is_about_policies(record: &Record) -> bool {
    record.changes.iter().any(|change| matches!(change.key().kind, Kind::Policy | Kind::PolicyTest))
}

impl State {
    /// An empty state of a new epoch.
    #[must_use]
    pub fn new(epoch: Uid) -> Self {
        Self { contents: Contents::new(epoch), ..Self::default() }
    }

    /// The state as a store keeps it: the objects, how far each spoke's log is taken in, the service addresses that were
    /// given up (with the revision that did), and the newest records (oldest first, ending at `position`), from which
    /// readers resume and repeated requests are known.
    #[must_use]
    pub fn load(
        position: Position,
        objects: Vec<Object>,
        intakes: BTreeMap<Uid, Position>,
        given_up: &[(IpAddr, u64)],
        recent: &[Record],
    ) -> Self {
        let mut state = Self { contents: Contents::load(position, objects, recent), intakes, ..Self::default() };
        for record in recent {
            state.remember_request(record);
        }
        state.endpoints = Endpoints::of(&state.contents);
        state.shares = Shares::of(&state.contents);
        let used = state.list(Kind::ServiceImport).flat_map(|object| vips(&object.resource));
        state.addresses = Addresses::load(used.copied(), given_up);
        let held = [Kind::Policy, Kind::PolicyTest].into_iter().flat_map(|kind| state.list(kind));
        let lately = recent.iter().filter(|record| is_about_policies(record)).map(|record| record.revision);
        state.policies_changed = held.map(|object| object.revision).chain(lately).max().unwrap_or_default();
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

    /// How far a spoke's own log is taken in. Of several sessions that a cluster may have for a while, on one hub or on
    /// several, only one knows this; what the others still bring is refused.
    #[must_use]
    pub fn intake(&self, cluster: Uid) -> Option<Position> {
        self.intakes.get(&cluster).copied()
    }

    /// How many objects a cluster has, and how many bytes these have.
    #[must_use]
    pub fn share(&self, cluster: Uid) -> (usize, usize) {
        let share = self.shares.of_cluster(cluster);
        (share.objects, share.bytes)
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
        let mut taken = Taken::default();
        self.draft(&request.command, &mut draft, &mut taken)?;
        imports::merge(self, &mut draft);
        let Taken { refused, intake } = taken;
        // The intake moves also where nothing changes: it is what tells a session that goes on from one that was replaced.
        if draft.is_empty() && intake.is_none_or(|(cluster, at)| self.intake(cluster) == Some(at)) {
            return Ok(Decision::Nothing { refused });
        }
        Ok(draft.decided(request, refused, intake))
    }

    fn draft(&self, command: &Command, draft: &mut Draft<'_>, taken: &mut Taken) -> Result<(), Rejection> {
        match command {
            Command::Begin { fleet } => clusters::begin(self, draft, fleet)?,
            Command::AddCluster { cluster } => clusters::add(self, draft, cluster)?,
            Command::RemoveCluster { name } => clusters::remove(self, draft, name)?,
            Command::DrainCluster { name, draining } => clusters::drain(self, draft, name, *draining)?,
            Command::RemoveNode { cluster, node } => clusters::remove_node(self, draft, cluster, node)?,
            Command::PutPolicies { policies } => policies::put(self, draft, policies)?,
            Command::DisablePolicy { namespace, name, disabled } => {
                policies::disable(draft, &policies::key(namespace.as_ref(), name), *disabled)?;
            }
            Command::DeletePolicy { namespace, name } => {
                policies::delete(draft, &policies::key(namespace.as_ref(), name))?;
            }
            Command::Note { .. } => draft.keep(),
            Command::PutTests { tests } => tests_of_policies::put(draft, tests)?,
            Command::DeleteTest { name } => tests_of_policies::delete(draft, name)?,
            Command::Together(commands) => commands.iter().try_for_each(|each| self.draft(each, draft, taken))?,
            Command::Checked { command, at, .. } => {
                tests_of_policies::unchanged(self, *at)?;
                self.draft(command, draft, taken)?;
            }
            Command::TakeDelta { cluster, after, delta } => {
                taken.refused = intake::delta(self, draft, (*cluster, *after), delta)?;
                taken.intake = Some((*cluster, delta.to));
            }
            Command::TakeSnapshot { cluster, after, snapshot, refused: kept } => {
                taken.refused = intake::snapshot(self, draft, (*cluster, *after), snapshot, kept)?;
                taken.intake = Some((*cluster, snapshot.at));
            }
        }
        Ok(())
    }

    /// Moves on by one record.
    ///
    /// # Errors
    /// [`OutOfOrder`] if it is not the next one; nothing is changed then.
    pub fn apply(&mut self, record: &Record) -> Result<Undo, OutOfOrder> {
        let applied = self.contents.apply(&Delta::of(record, self.position().epoch))?;
        let intake = match record.intake {
            Some(intake) => Some((intake.cluster, self.intakes.insert(intake.cluster, intake.position))),
            None => record.removed_cluster().map(|cluster| (cluster, self.intakes.remove(&cluster))),
        };
        self.shares.step(&applied.replaced, &self.contents, true);
        let (before, now) = self.vips(&applied);
        let (rested, given_up) = self.addresses.change(&before, &now, record.revision);
        self.endpoints.follow(applied.replaced.iter().map(|(key, _)| &**key), &self.contents);
        let request = self.remember_request(record);
        let policies_changed = self.policies_changed;
        if is_about_policies(record) {
            self.policies_changed = record.revision;
        }
        Ok(Undo { applied, intake, request, rested, given_up, policies_changed })
    }

    /// Takes back the record that was applied last, because the store did not take it.
    pub fn undo(&mut self, undo: Undo) {
        let keys = undo.applied.keys();
        self.shares.step(&undo.applied.replaced, &self.contents, false);
        let (before, now) = self.vips(&undo.applied);
        self.addresses.undo(&before, &now, undo.rested);
        self.contents.undo(undo.applied);
        self.endpoints.follow(keys.iter().map(|key| &**key), &self.contents);
        if let Some((cluster, before)) = undo.intake {
            match before {
                Some(position) => self.intakes.insert(cluster, position),
                None => self.intakes.remove(&cluster),
            };
        }
        self.policies_changed = undo.policies_changed;
        if let Some(request) = undo.request {
            self.requests.remove(&request);
            self.request_order.pop_back();
        }
    }

    /// The addresses that imports had before that step, and those that they have since.
    fn vips(&self, applied: &Applied) -> (Vec<IpAddr>, Vec<IpAddr>) {
        let imports = || applied.replaced.iter().filter(|(key, _)| key.kind == Kind::ServiceImport);
        let before = imports().filter_map(|(_, before)| before.as_ref()).flat_map(|entry| vips(&entry.object.resource));
        let now = imports().filter_map(|(key, _)| self.get(key)).flat_map(|object| vips(&object.resource));
        (before.copied().collect(), now.copied().collect())
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

/// The addresses of an import; nothing else has any.
fn vips(resource: &Resource) -> &[IpAddr] {
    if let Resource::ServiceImport(import) = resource { &import.vips } else { &[] }
}
