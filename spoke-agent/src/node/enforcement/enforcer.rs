//! The compiler and the data plane in step.
//!
//! A revision's policies take effect together or not at all. If the node cannot hold them, or the kernel refuses a write,
//! the versions before stay in force, the rest of the revision takes effect, and what was refused is named and tried again
//! when something else has changed.
use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::Path,
    time::{Duration, Instant},
};

use axle_core::{
    log::{Change, Position},
    model::{Endpoint, Envelope, Kind, Object, Resource, Scope, Uid},
    policy::{
        Ruling,
        compile::{Compiler, Context, Outcome, Refused},
        tables::{Direction, Limits, Local, Plan, PortTable},
    },
    refusal::{Refusal, code},
};

use super::{
    Place, Revision, WriteCounts, attaching::Attaching, policies::Policies, report::Counters, translating::Translating,
};
use crate::{
    clock,
    dataplane::{self, DataPlane, Events},
    inventory::Interfaces,
};

/// The longest wait before what was refused is tried again.
const SLOWEST_RETRY: Duration = Duration::from_secs(300);
/// The first one.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// How often the kernel's tables are read back.
const VERIFY_EVERY: Duration = Duration::from_secs(300);

/// Why a policy is held back that could be read.
const UNREADABLE: &str = "its revision has policies that this version cannot read";

/// See the module.
pub struct Enforcer {
    place: Place,
    pub(super) compiler: Compiler,
    pub(super) plane: DataPlane,
    pub(super) policies: Policies,
    pub(super) endpoints: BTreeMap<Uid, Endpoint>,
    pub(super) attaching: Attaching,
    pub(super) translating: Translating,
    /// The hub's position that the compiler holds; the kernel too, unless `broken`.
    reached: Option<Position>,
    pub(super) applied: Option<Position>,
    /// Whether the kernel is yet to take what the compiler holds.
    pub(super) behind: bool,
    /// Why the kernel is not where the compiler is.
    pub(super) broken: Option<String>,
    retry: Option<(Instant, Duration)>,
    verify_at: Option<Instant>,
    pub(super) shortage: Option<String>,
    pub(super) writes: WriteCounts,
    pub(super) rebuilds: u64,
    pub(super) bypass_noted: bool,
    pub(super) counters: Counters,
}

impl Enforcer {
    /// An enforcer that leaves the kernel alone until [`Enforcer::begin`]. What was refused before is kept at `held`, what
    /// was in force in `in_force`; also what is wrong with these.
    ///
    /// # Errors
    /// If that cannot be read.
    pub fn new(
        place: Place,
        plane: DataPlane,
        translating: Translating,
        held: &Path,
        in_force: &Path,
    ) -> std::io::Result<(Self, Vec<String>)> {
        let (policies, damage) = Policies::open(held, in_force)?;
        let enforcer = Self {
            compiler: new_compiler(&place, plane.limits()),
            place,
            plane,
            policies,
            endpoints: BTreeMap::new(),
            attaching: Attaching::default(),
            translating,
            reached: None,
            applied: None,
            behind: true,
            broken: None,
            retry: None,
            verify_at: None,
            shortage: None,
            writes: WriteCounts::default(),
            rebuilds: 0,
            bypass_noted: false,
            counters: Counters::default(),
        };
        Ok((enforcer, damage))
    }

    /// Takes the first complete state. The policies are those that were in force before a restart, with what the log has
    /// instead, as one revision; what was refused before is tried when the kernel has these.
    /// Where no policy was ever in force, others stand in for the `unread`.
    pub fn begin(&mut self, objects: Vec<Object>, origin: Position, refused: &[Refusal], unread: &[Envelope]) {
        let (policies, others): (Vec<Object>, Vec<Object>) =
            objects.into_iter().partition(|object| object.key.kind == Kind::Policy);
        let others: Vec<Change> = others.into_iter().map(Change::Put).collect();
        self.note_endpoints(&others);
        let outcome = self.compiler.update(&others);
        self.note_shortage(&outcome);
        self.broken = Some("the tables are not built yet".into());
        let (before, newer) = self.policies.begin(policies, unread);
        self.load_policies(&before);
        let refused_before = self.policies.refused_before();
        let is_news = !self.policies.have_refused(refused);
        if self.policies.hold_unreadable(refused) && is_news {
            self.policies.hold_all(&newer, code::UNKNOWN_FEATURE, UNREADABLE);
        } else {
            self.carry_out(&newer, &newer);
        }
        self.reached = Some(origin);
        self.mend();
        self.translating.begin(&others);
        for revision in refused_before {
            self.carry_out(&revision, &revision);
        }
        self.policies.store();
        self.count();
    }

    /// All at once, which is what was in force before a restart; one by one if that does not fit.
    fn load_policies(&mut self, policies: &[Change]) {
        if self.compiler.update(policies).refused.is_empty() {
            self.policies.loaded(policies);
            return;
        }
        for policy in policies {
            let outcome = self.compiler.update(std::slice::from_ref(policy));
            self.policies.loaded_if_fit(policy, &outcome);
        }
    }

    /// Takes the next revision.
    pub fn revise(&mut self, revision: &Revision) {
        let (mut policies, others): (Vec<Change>, Vec<Change>) =
            revision.changes.iter().cloned().partition(|change| change.key().kind == Kind::Policy);
        policies.iter_mut().for_each(|change| self.policies.name_what_is_in_force(change));
        policies.extend(self.policies.gone(revision));
        let moved = self.note_endpoints(&others);
        // Of a whole copy, what could not be read before either was its own revision's matter.
        let is_news = !(revision.whole && self.policies.have_refused(&revision.refused));
        if self.policies.hold_unreadable(&revision.refused) && is_news {
            self.policies.hold_all(&policies, code::UNKNOWN_FEATURE, UNREADABLE);
            self.carry_out(&others, &[]);
        } else {
            policies.extend(self.policies.released(&policies));
            let changes: Vec<Change> = others.iter().chain(&policies).cloned().collect();
            self.carry_out(&changes, &policies);
        }
        if moved {
            self.attach();
        }
        // After the tables: a backend that sockets are led to has its entry.
        self.translating.revise(&others);
        if revision.origin.is_some() {
            self.reached = revision.origin;
        }
        self.behind = true;
        self.acknowledge();
        self.policies.store();
    }

    /// What the kernel holds is what was reached, unless some hook still judges by former tables.
    fn acknowledge(&mut self) {
        if self.is_up() && !self.attaching.stale {
            (self.applied, self.behind) = (self.reached, false);
        }
    }

    /// Whether the kernel's tables are the compiler's.
    fn is_up(&self) -> bool {
        self.rebuilds > 0 && self.broken.is_none()
    }

    /// Compiles `changes`, among them `policies`, and writes them.
    fn carry_out(&mut self, changes: &[Change], policies: &[Change]) {
        let outcome = self.compiler.update(changes);
        self.note_shortage(&outcome);
        match self.write(&outcome.plan) {
            Ok(()) => self.policies.judged(policies, &outcome),
            Err(error) => {
                tracing::warn!(%error, "the kernel did not take a revision");
                self.take_back(policies, &outcome, &error.to_string());
                self.broken = Some(error.to_string());
                self.mend();
            }
        }
    }

    /// Makes the compiler hold the versions of before, of those policies that it did take.
    fn take_back(&mut self, policies: &[Change], outcome: &Outcome, why: &str) {
        let (unfit, fit): (Vec<Change>, Vec<Change>) =
            policies.iter().cloned().partition(|change| is_refused(change, outcome));
        let undoing = self.policies.undoing(&fit);
        self.policies.judged(&unfit, outcome);
        let outcome = self.compiler.update(&undoing);
        self.note_shortage(&outcome);
        self.policies.judged(&[], &outcome);
        self.policies.hold_all(&fit, code::MAP_WRITE_FAILED, why);
    }

    fn write(&mut self, plan: &Plan) -> Result<(), dataplane::Error> {
        if self.broken.is_some() {
            return Ok(()); // The next mending builds everything anew.
        }
        self.plane.apply(plan)?;
        self.writes.add(plan);
        Ok(())
    }

    /// What does not have to be done before the revision counts as applied.
    pub fn settle(&mut self) {
        if self.is_up()
            && let Err(error) = self.plane.settle()
        {
            tracing::warn!(%error, "the kernel did not take the last writes of a revision");
            self.broken = Some(error.to_string());
            self.mend();
        }
    }

    /// Brings the kernel to where the compiler is, with a whole new set of tables.
    fn mend(&mut self) {
        let plan = self.compiler.rebuild();
        let attachments = self.attaching.wanted(&self.compiler, &self.endpoints);
        match self.plane.replace(&plan, &attachments) {
            Ok(failed) => {
                self.rebuilds += 1;
                self.attaching.replaced(&attachments, failed, &self.plane);
                self.broken = None;
                self.acknowledge();
            }
            Err(error) => {
                tracing::error!(%error, "the kernel does not take the tables; what was in force before stays");
                self.broken = Some(error.to_string());
            }
        }
    }

    /// Takes over where workloads are attached; if that is `complete`, all others are gone.
    pub fn place(&mut self, interfaces: Interfaces, complete: bool) {
        self.attaching.place(interfaces, complete, &self.endpoints);
        self.attach();
    }

    /// Attaches what is new, changed, or could not be attached before.
    pub fn attach(&mut self) {
        if self.is_up() {
            self.attaching.sync(&self.compiler, &self.endpoints, &mut self.plane);
            self.acknowledge();
        }
    }

    /// The stream of events, once there are tables.
    #[must_use]
    pub fn events(&self) -> Option<Events> {
        self.is_up().then_some(())?;
        self.plane.events().inspect_err(|error| tracing::warn!(%error, "no verdict events")).ok()
    }

    /// Why the tables judge a packet as they do.
    #[must_use]
    pub fn attribute(
        &self,
        local: Local,
        direction: Direction,
        peer: IpAddr,
        table: PortTable,
        port: u16,
    ) -> Option<Ruling> {
        self.compiler.attribute(local, direction, peer, table, port)
    }

    /// Says whether workloads of this node are among the changes.
    fn note_endpoints(&mut self, changes: &[Change]) -> bool {
        let mut moved = false;
        for change in changes {
            match change {
                Change::Put(object) => {
                    if let Resource::Endpoint(endpoint) = &*object.resource
                        && object.key.scope == Scope::Cluster(self.place.cluster)
                        && endpoint.node == self.place.node
                    {
                        self.endpoints.insert(object.uid, endpoint.clone());
                        moved = true;
                    }
                }
                Change::Delete { uid, .. } => moved |= self.endpoints.remove(uid).is_some(),
            }
        }
        moved
    }

    fn note_shortage(&mut self, outcome: &Outcome) {
        let short = outcome.refused.iter().find(|refusal| refusal.subject == Refused::State);
        self.shortage = short.map(ToString::to_string);
    }

    /// Compares what the kernel's tables mean with what the compiler means; what is not as it should be is built anew.
    fn verify(&mut self, now: Instant) {
        let due = *self.verify_at.get_or_insert(now + VERIFY_EVERY);
        if now < due || self.broken.is_some() {
            return;
        }
        self.verify_at = Some(now + VERIFY_EVERY);
        self.settle();
        match self.plane.verify(&self.compiler.rebuild()) {
            Ok(None) => {}
            Ok(Some(difference)) => {
                tracing::error!(%difference, "the kernel's tables are not what they should be; they are built anew");
                self.broken = Some(difference);
                self.mend();
            }
            Err(error) => tracing::warn!(%error, "the kernel's tables cannot be read back"),
        }
    }

    /// What is due by the clock: interfaces that came, went or changed, idle flows, and what failed before.
    pub fn tick(&mut self, now: Instant) {
        if self.reached.is_none() {
            return;
        }
        let lost = self.plane.lost();
        if !lost.is_empty() {
            let why = format!("somebody removed the pins of the hooks at {}", lost.join(", "));
            tracing::error!(%why, "workloads were not enforced; everything is attached anew");
            self.broken = Some(why);
            self.mend();
        }
        if self.broken.is_some() || !self.policies.refused_by_kernel().is_empty() {
            let (due, pause) = *self.retry.get_or_insert((now + FIRST_RETRY, FIRST_RETRY));
            if now >= due {
                self.retry = Some((now + pause * 2, (pause * 2).min(SLOWEST_RETRY)));
                if self.broken.is_some() {
                    self.mend();
                }
                self.retry_refused();
                self.policies.store();
            }
        } else {
            self.retry = None;
        }
        self.translating.retry();
        if let (None, Err(error)) = (&self.broken, self.plane.collect()) {
            tracing::warn!(%error, "idle flows cannot be collected");
        }
        self.verify(now);
        self.count();
    }

    fn retry_refused(&mut self) {
        for revision in self.policies.refused_by_kernel() {
            if self.broken.is_none() {
                self.carry_out(&revision, &revision);
            }
        }
    }

    /// Lets denied packets pass for so many seconds, or (0) ends that. Until when, in milliseconds since 1970.
    ///
    /// # Errors
    /// Why the kernel refused.
    pub fn bypass(&mut self, seconds: u64) -> Result<Option<u64>, String> {
        let lasting = (seconds > 0).then(|| Duration::from_secs(seconds));
        self.plane.bypass(lasting).map_err(|error| error.to_string())?;
        self.bypass_noted |= seconds > 0;
        let until = lasting.map(|_| clock::now_ms() + seconds * 1000);
        self.count();
        tracing::warn!(seconds, "bypass: {}", if seconds > 0 { "denied packets pass" } else { "ended" });
        Ok(until)
    }
}

fn new_compiler(place: &Place, limits: Limits) -> Compiler {
    Compiler::new(Context { cluster: place.cluster, node: place.node.clone() }, limits)
}

/// Whether the policy of this change does not fit.
pub(super) fn is_refused(change: &Change, outcome: &Outcome) -> bool {
    let names = |subject: &Refused| matches!(subject, Refused::Policy { key, .. } if key == change.key());
    outcome.refused.iter().any(|refusal| names(&refusal.subject))
}

#[cfg(test)]
mod tests;
