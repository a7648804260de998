//! From objects to tables: which writes make the packet path of one node decide as the policies say.
//!
//! ```text
//! objects ─ nouns ┬ peers: workloads by profile ─┐                              ┌ ports: port classes
//!                 ├ places: addresses, prefixes ─┼ atoms of an address = class ─┤
//!                 └ policies ─ codes ─ programs ─┘ (what rules in force ask)    └ draft: rows, blocks, slots
//! ```
//! An update takes objects over, finds what they touch (each of the boxes knows), and drafts the writes; only a draft
//! that fits is carried out.
mod around;
mod atom;
mod attribute;
mod changes;
mod classes;
mod code;
mod digest;
mod draft;
mod entries;
mod image;
mod index;
mod intern;
mod locals;
mod moves;
mod nouns;
mod peers;
mod places;
mod plan;
mod policies;
mod ports;
mod portset;
mod profiles;
mod relabel;
mod sight;
mod slots;
mod spots;
mod standing;
#[cfg(test)]
pub(super) mod tests;
mod workloads;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    log::Change,
    model::{Key, Kind, Name, Uid},
    policy::tables::{BLOCK_DENY, Limits, Local, Plan, SLOT_DENY, Slot, Write},
};
use changes::is_of_policy;
use digest::Sum;
use image::{DEAD, Numbers};

/// Whose tables these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The node's cluster.
    pub cluster: Uid,
    /// The node's name.
    pub node: Name,
}

/// What an update comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// How to bring the tables there.
    pub plan: Plan,
    /// What did not fit. Empty: everything is in the plan.
    pub refused: Vec<Refusal>,
}

/// Something that the tables have no room for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject} does not fit on this node: {shortage}")]
pub struct Refusal {
    /// What was refused.
    pub subject: Refused,
    /// What there is too little of.
    pub shortage: Shortage,
}

/// What can be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A policy of this or an earlier update: none of that update's policy changes takes effect, the versions before
    /// stay in force. It is tried again with every further update and named each time until it fits.
    Policy {
        /// Its name.
        key: Key,
        /// Its incarnation.
        uid: Uid,
        /// The revision that wrote it; 0 if it was to be removed.
        revision: u64,
    },
    /// Something that cannot be turned away, such as workloads: what does not fit is denied, never let through.
    State,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy { key, revision, .. } => write!(f, "{key} of revision {revision}"),
            Self::State => write!(f, "the present state"),
        }
    }
}

/// A table that is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} {what} are needed and there is room for {limit}")]
pub struct Shortage {
    /// Of what, in the plural.
    pub what: &'static str,
    /// How many are needed, while the change is under way.
    pub wanted: u64,
    /// How many there is room for.
    pub limit: u64,
}

/// A workload of this node and where the tables have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalWorkload {
    /// Its endpoint.
    pub endpoint: Uid,
    /// Its number.
    pub local: Local,
    /// Its slot for what reaches it.
    pub ingress: Slot,
    /// Its slot for what it sends.
    pub egress: Slot,
}

/// How full the tables are, in the fields of [`Limits`].
pub type Usage = Limits;

/// How strictly a plan must fit.
#[derive(Debug)]
pub(super) struct Fit {
    denies: bool,
    shortages: Vec<Shortage>,
}

impl Fit {
    /// Everything must fit, or nothing is done.
    fn whole() -> Self {
        Self { denies: false, shortages: Vec::new() }
    }

    /// What does not fit is denied.
    fn denying() -> Self {
        Self { denies: true, shortages: Vec::new() }
    }

    fn denies(&self) -> bool {
        self.denies
    }

    fn is_short(&self) -> bool {
        !self.shortages.is_empty()
    }

    /// Where something does not fit: `denied`, which lets nothing through, if that will do.
    fn or<T>(&mut self, shortage: Shortage, denied: T) -> Result<T, Shortage> {
        if !self.denies {
            return Err(shortage);
        }
        match self.shortages.iter_mut().find(|known| known.what == shortage.what) {
            Some(known) => *known = shortage,
            None => self.shortages.push(shortage),
        }
        Ok(denied)
    }
}

/// Keeps the tables of one node in step with the objects that it knows.
#[derive(Debug)]
pub struct Compiler {
    context: Context,
    limits: Limits,
    nouns: nouns::Nouns,
    peers: peers::Peers,
    places: places::Places,
    policies: policies::Policies,
    locals: BTreeMap<Uid, locals::LocalState>,
    local_labels: index::LabelIndex<Uid>,
    /// Workloads whose policies may have changed.
    dirty: BTreeSet<Uid>,
    /// Numbers of workloads that are gone.
    departed: Vec<Local>,
    ports: ports::Ports,
    classes: classes::Classes,
    image: image::Image,
    standing: standing::Standing,
    /// Workloads whose words in the tables may not be what they shall be.
    unsettled: BTreeSet<Uid>,
    local_ids: Numbers,
    /// Entries of IPv4 and IPv6 addresses, then of prefixes.
    entries: [u64; 4],
    sum: Sum,
    generation: u8,
    /// Whether something is denied because it did not fit.
    is_degraded: bool,
    /// Changes of policies that did not fit.
    waiting: BTreeMap<Key, (Change, Shortage)>,
}

impl Compiler {
    /// A compiler of empty tables, which know nothing and accept nothing.
    #[must_use]
    pub fn new(context: Context, limits: Limits) -> Self {
        let mut places = places::Places::default();
        for everything in [ipnet::IpNet::V4(ipnet::Ipv4Net::default()), ipnet::IpNet::V6(ipnet::Ipv6Net::default())] {
            places.add_prefix(everything);
        }
        Self {
            context,
            nouns: nouns::Nouns::default(),
            peers: peers::Peers::new(),
            places,
            policies: policies::Policies::default(),
            locals: BTreeMap::new(),
            local_labels: index::LabelIndex::default(),
            dirty: BTreeSet::new(),
            departed: Vec::new(),
            ports: ports::Ports::new(limits.port_classes),
            classes: classes::Classes::new(limits.classes),
            image: image::Image::new(&limits),
            standing: standing::Standing::default(),
            unsettled: BTreeSet::new(),
            local_ids: Numbers::new(0, limits.locals),
            entries: [0; 4],
            sum: Sum::default(),
            generation: 0,
            is_degraded: false,
            waiting: BTreeMap::new(),
            limits,
        }
    }

    /// Takes the changes of one revision over and says which writes bring the tables there. The caller makes all of
    /// them, or starts again from [`Compiler::rebuild`] on empty tables.
    ///
    /// If the policies do not fit, the versions before stay in force and everything else takes effect. If even that does
    /// not fit, what does not is denied.
    pub fn update(&mut self, changes: &[Change]) -> Outcome {
        let (policies, nouns): (Vec<&Change>, Vec<_>) = changes.iter().partition(|change| is_of_policy(change));
        let workloads = nouns.iter().filter(|change| change.key().kind == Kind::Endpoint).count();
        if workloads > self.nouns.workloads.len() {
            self.nouns.workloads.reserve(workloads);
            self.peers.reserve(workloads);
        }
        nouns.into_iter().for_each(|change| self.apply_noun(change));
        let policies = self.telling(policies);
        let mut waiting = std::mem::take(&mut self.waiting);
        if !waiting.is_empty() {
            policies.iter().for_each(|change| drop(waiting.remove(change.key())));
        }
        let all: Vec<&Change> = waiting.values().map(|(change, _)| change).chain(policies.iter().copied()).collect();
        let plan = match self.attempt(&all) {
            Ok(plan) => return Outcome { plan, refused: Vec::new() },
            Err(shortage) if all.is_empty() => return self.deny_rest(shortage),
            Err(_) if !waiting.is_empty() && !policies.is_empty() => self.attempt(&policies),
            Err(shortage) => Err(shortage),
        };
        self.waiting = waiting;
        match plan {
            Ok(plan) => Outcome { plan, refused: self.refusals() },
            Err(shortage) => {
                let refused = policies.into_iter().map(|change| (change.key().clone(), (change.clone(), shortage)));
                self.waiting.extend(refused);
                match self.attempt(&[]) {
                    Ok(plan) => Outcome { plan, refused: self.refusals() },
                    Err(shortage) => self.deny_rest(shortage),
                }
            }
        }
    }

    /// Plans with these changes of policies, or leaves the policies as they were.
    fn attempt(&mut self, changes: &[&Change]) -> Result<Plan, Shortage> {
        let before: Vec<_> = changes.iter().filter_map(|change| self.apply_policy(change)).collect();
        self.plan(&mut Fit::whole()).inspect_err(|_| {
            before.into_iter().rev().for_each(|(key, old)| self.set_policy(&key, old));
        })
    }

    /// Plans so that what does not fit is denied.
    fn deny_rest(&mut self, shortage: Shortage) -> Outcome {
        let mut fit = Fit::denying();
        let plan = self.plan(&mut fit).unwrap_or_default();
        let shortages = if fit.is_short() { fit.shortages } else { vec![shortage] };
        let mut refused = self.refusals();
        refused.extend(shortages.into_iter().map(|shortage| Refusal { subject: Refused::State, shortage }));
        Outcome { plan, refused }
    }

    fn refusals(&self) -> Vec<Refusal> {
        let refusal = |(key, (change, shortage)): (&Key, &(Change, Shortage))| {
            let (uid, revision) = match change {
                Change::Put(object) => (object.uid, object.revision),
                Change::Delete { uid, .. } => (*uid, 0),
            };
            Refusal { subject: Refused::Policy { key: key.clone(), uid, revision }, shortage: *shortage }
        };
        self.waiting.iter().map(refusal).collect()
    }

    /// The writes that bring empty tables to the present state.
    #[must_use]
    pub fn rebuild(&self) -> Plan {
        let mut writes: Vec<Write> =
            self.image.rows().map(|(row, bits)| Write::Row { row, bits: Box::new(bits.0) }).collect();
        writes.extend(self.image.blocks().map(|(block, state)| {
            let rows = state.cells.map(|row| if row == DEAD { SLOT_DENY } else { row });
            Write::Block { block, rows: Box::new(rows) }
        }));
        for slot in self.standing.iter().map(|(_, stand)| stand.slot) {
            let used = (0..).zip(self.image.slot(slot)).filter(|(_, block)| **block != BLOCK_DENY);
            writes.extend(used.map(|(index, block)| Write::SlotBlock { slot, index, block: *block }));
        }
        writes.extend(self.ports.dump());
        let prefixes = self.places.prefixes().filter(|(_, prefix)| prefix.entry.is_some());
        writes.extend(prefixes.map(|(prefix, state)| Write::Prefix { prefix, class: state.entry }));
        let addresses = self.places.entries();
        writes.extend(addresses.map(|(address, class)| Write::Address { address, class: Some(class) }));
        for local in self.locals() {
            let LocalWorkload { local, ingress, egress, .. } = local;
            writes.extend([0, 1].map(|generation| Write::Workload { local, generation, ingress, egress }));
        }
        if self.generation != 0 {
            writes.push(Write::Flip { generation: self.generation });
        }
        Plan { writes, settle: Vec::new() }
    }

    /// This node's workloads, in the order of their uids. One that is missing has no number for want of room: nothing
    /// may reach or leave it.
    pub fn locals(&self) -> impl Iterator<Item = LocalWorkload> {
        self.locals.iter().filter_map(|(endpoint, state)| {
            let [ingress, egress] = state.words?;
            Some(LocalWorkload { endpoint: *endpoint, local: state.number?, ingress, egress })
        })
    }

    /// How full the tables are.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let [addresses4, addresses6, prefixes4, prefixes6] = self.entries.map(|count| count as u32);
        Usage {
            classes: self.classes.ids.taken(),
            port_classes: self.ports.len() as u16,
            rows: self.image.row_ids.taken(),
            blocks: self.image.block_ids.taken(),
            slots: self.image.slot_ids.taken(),
            locals: self.local_ids.taken(),
            addresses4,
            addresses6,
            prefixes: prefixes4.max(prefixes6),
        }
    }

    /// How full they were at most since this was asked last, with what exists only while a change is under way.
    pub fn peak(&mut self) -> Usage {
        Usage {
            classes: self.classes.ids.most(),
            rows: self.image.row_ids.most(),
            blocks: self.image.block_ids.most(),
            slots: self.image.slot_ids.most(),
            locals: self.local_ids.most(),
            ..self.usage()
        }
    }
}
