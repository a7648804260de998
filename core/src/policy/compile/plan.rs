//! From what has changed to the writes that make it so.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

use super::{
    Compiler, Fit, Shortage,
    atom::AtomId,
    classes::Signature,
    code::ProgramId,
    draft::{Deeds, Draft},
    locals::Course,
    moves::{Move, Numbering, Who},
    ports::PortsDraft,
    sight::Sight,
    slots::Builder,
};
use crate::{
    model::Uid,
    policy::tables::{BLOCK_DENY, Class, Local, Plan, SLOT_ACCEPT, SLOT_DENY, Slot, Write},
};

/// Everything that an update comes to, before it is made.
struct Change {
    ports: Option<PortsDraft>,
    moves: Vec<Move>,
    numbering: Numbering,
    /// The entry of each move in the end.
    finals: Vec<Option<Class>>,
    deeds: Deeds,
    /// Slots that programs have from now on.
    built: BTreeMap<ProgramId, Slot>,
    /// Slots that nothing uses any more.
    retired: Vec<Slot>,
    /// New words of workloads, with their numbers.
    words: Vec<(Uid, Local, [Slot; 2])>,
    plan: Plan,
}

impl Compiler {
    /// Brings the tables to the present state of the objects, or leaves everything as it is and says what is too small.
    pub(super) fn plan(&mut self, fit: &mut Fit) -> Result<Plan, Shortage> {
        self.refresh_locals();
        if self.is_degraded {
            self.places.touch_all();
        }
        let (addresses, prefixes) = self.places.take_touched();
        match self.draft(&addresses, &prefixes, fit) {
            Ok(change) => {
                self.is_degraded = fit.is_short();
                let plan = self.commit(change, &addresses);
                prefixes.iter().for_each(|net| self.places.forget_gone(*net));
                Ok(plan)
            }
            Err(shortage) => {
                self.places.touch_again(addresses, prefixes);
                Err(shortage)
            }
        }
    }

    fn draft(&self, addresses: &[IpAddr], prefixes: &BTreeSet<IpNet>, fit: &mut Fit) -> Result<Change, Shortage> {
        let ports = if self.policies.terms_changed {
            let terms: Vec<_> = self.policies.terms.iter().map(|(id, set)| (id, set.as_ref())).collect();
            Some(self.ports.draft(&terms, fit)?)
        } else {
            None
        };
        let now = ports.as_ref().map_or(&self.ports, |ports| &ports.during);
        let mut moves = self.moves(addresses, prefixes);
        self.make_room(&mut moves, fit)?;
        let flips = self.flips();
        let numbering = if flips {
            Numbering::around_flip(&moves, &self.classes, fit)?
        } else {
            Numbering::direct(&moves, &self.classes, fit)?
        };
        let splits = ports.as_ref().map(|ports| ports.splits.as_slice()).unwrap_or_default();
        let mut draft = Draft::new(&self.image, now.live(), splits, ports.is_some());
        let builder = Builder {
            compiler: self,
            sight: Sight { policies: &self.policies, peers: &self.peers, ports: now },
            numbering: &numbering,
            flips,
        };
        let (built, retired) = builder.build(&mut draft, fit)?;
        let words = self.words(&built, fit)?;
        let mut change = Change {
            deeds: std::mem::take(&mut draft.deeds),
            plan: Plan::default(),
            moves,
            numbering,
            finals: Vec::new(),
            built,
            retired,
            words,
            ports: None,
        };
        let mut plan = Plan { writes: draft.writes, settle: Vec::new() };
        // Rows know the new port classes before ports lead to them.
        let at = plan.writes.iter().position(|write| !matches!(write, Write::Row { .. })).unwrap_or(plan.writes.len());
        if let Some(ports) = &ports {
            plan.writes.splice(at..at, ports.writes.iter().cloned());
        }
        change.finals = self.write_moves(&change.moves, &change.numbering, flips, &mut plan);
        self.write_words(&change, &mut plan);
        if let Some(ports) = &ports {
            plan.settle.extend(ports.settle.iter().cloned());
        }
        for slot in &change.retired {
            // Also what it was told in this very plan: the next one to get its number expects it to lead nowhere.
            let before = (0..).zip(self.image.slot(*slot)).filter(|(_, block)| **block != BLOCK_DENY).map(|(at, _)| at);
            let told = change.deeds.slot_blocks.iter().filter(|(told, ..)| told == slot).map(|(_, at, _)| *at);
            let used: BTreeSet<u8> = before.chain(told).collect();
            plan.settle.extend(used.into_iter().map(|index| Write::SlotBlock {
                slot: *slot,
                index,
                block: BLOCK_DENY,
            }));
        }
        change.plan = plan;
        change.ports = ports;
        Ok(change)
    }

    /// Whether a workload that is in the tables will be judged by something else.
    fn flips(&self) -> bool {
        let changes = |course: &Course, word: Slot| match course {
            Course::Deny => word != SLOT_DENY,
            Course::Accept => word != SLOT_ACCEPT,
            Course::Program(id) => self.slots.get(id) != Some(&word),
        };
        self.is_degraded
            || self.locals.values().any(|local| {
                local
                    .words
                    .is_some_and(|words| local.courses.iter().zip(words).any(|(course, word)| changes(course, word)))
            })
    }

    /// Everything whose atoms may have changed, with its atoms from now on.
    fn moves(&self, addresses: &[IpAddr], prefixes: &BTreeSet<IpNet>) -> Vec<Move> {
        let mut moves = Vec::new();
        let mut interned: HashMap<Vec<AtomId>, Signature> = HashMap::new();
        let mut signature = |atoms: Vec<AtomId>| -> Signature {
            if let Some(class) = self.classes.find(&atoms)
                && let Some(known) = self.classes.signature(class)
            {
                return Arc::clone(known);
            }
            Arc::clone(interned.entry(atoms).or_insert_with_key(|atoms| atoms.as_slice().into()))
        };
        let mut also = Vec::new();
        // A prefix that is gone without ever having got an entry is none.
        let is_there =
            |net: &&IpNet| self.places.prefix(**net).is_some_and(|prefix| !prefix.is_gone() || prefix.entry.is_some());
        for net in prefixes.iter().filter(is_there) {
            let (entry, old) = self.class_of_prefix(*net);
            let signature = signature(self.atoms_of_prefix(*net));
            if self.classes.signature(old) != Some(&signature) {
                also.extend(self.places.addresses_within(*net));
            }
            moves.push(Move { who: Who::Prefix(*net), entry, old, signature });
        }
        also.extend(addresses);
        also.sort_unstable();
        also.dedup();
        let mut atoms = Vec::new();
        for address in also {
            let entry = self.places.place(address).and_then(|place| place.entry);
            let old = entry.unwrap_or_else(|| self.class_of_prefix(address.into()).1);
            atoms.clear();
            self.atoms_of_address(address, &mut atoms);
            let signature = signature(atoms.clone());
            moves.push(Move { who: Who::Address(address), entry, old, signature });
        }
        moves
    }

    /// The entry of a prefix and the class that its addresses without entry lead to.
    pub(super) fn class_of_prefix(&self, net: IpNet) -> (Option<Class>, Class) {
        let entry = self.places.prefix(net).and_then(|prefix| prefix.entry);
        let old = entry.or_else(|| self.places.covering(net).find_map(|(_, prefix)| prefix.entry));
        (entry, old.unwrap_or(0))
    }

    /// The words of workloads that are new or get other slots.
    fn words(
        &self,
        built: &BTreeMap<ProgramId, Slot>,
        fit: &mut Fit,
    ) -> Result<Vec<(Uid, Local, [Slot; 2])>, Shortage> {
        let slot = |course: Course| match course {
            Course::Deny => SLOT_DENY,
            Course::Accept => SLOT_ACCEPT,
            Course::Program(id) => built.get(&id).or_else(|| self.slots.get(&id)).copied().unwrap_or(SLOT_DENY),
        };
        let mut free = self.local_ids.available();
        let mut words = Vec::new();
        let mut missing = 0;
        for (uid, local) in &self.locals {
            let now = local.courses.map(slot);
            if local.words == Some(now) {
                continue;
            }
            match local.number.or_else(|| free.next()) {
                Some(number) => words.push((*uid, number, now)),
                None => missing += 1,
            }
        }
        if missing > 0 {
            let wanted = u64::from(self.local_ids.limit()) + missing;
            fit.or(Shortage { what: "workloads", wanted, limit: u64::from(self.local_ids.limit()) }, ())?;
        }
        Ok(words)
    }

    fn write_words(&self, change: &Change, plan: &mut Plan) {
        let next = 1 - self.generation;
        let write = |local: Local, generation: u8, [ingress, egress]: [Slot; 2]| Write::Workload {
            local,
            generation,
            ingress,
            egress,
        };
        for local in &self.departed {
            plan.writes.extend([0, 1].map(|generation| write(*local, generation, [SLOT_DENY; 2])));
        }
        let is_new = |uid: &Uid| self.locals.get(uid).is_none_or(|local| local.words.is_none());
        for (_, local, words) in change.words.iter().filter(|(uid, ..)| is_new(uid)) {
            plan.writes.extend([0, 1].map(|generation| write(*local, generation, *words)));
        }
        let mut flips = false;
        for (_, local, words) in change.words.iter().filter(|(uid, ..)| !is_new(uid)) {
            flips = true;
            plan.writes.push(write(*local, next, *words));
            plan.settle.insert(0, write(*local, self.generation, *words));
        }
        if flips {
            plan.writes.push(Write::Flip { generation: next });
        }
    }

    /// Carries a change out in the compiler's own books.
    fn commit(&mut self, change: Change, addresses: &[IpAddr]) -> Plan {
        let Change { ports, moves, numbering, finals, deeds, built, retired, words, plan } = change;
        self.image.carry_out(deeds);
        if let Some(ports) = ports {
            self.image.set_live(ports.after.live());
            self.ports = ports.after;
            self.policies.terms_changed = false;
        }
        for slot in retired {
            self.image.retire(slot);
        }
        self.slots.retain(|id, _| self.policies.programs.is_needed(*id));
        self.meanings.retain(|id, _| self.policies.programs.is_needed(*id));
        for id in built.keys() {
            let meaning = self.meaning_of_program(self.policies.programs.get(*id));
            self.meanings.insert(*id, meaning);
        }
        self.slots.extend(built);
        for local in std::mem::take(&mut self.departed) {
            self.local_ids.give(local);
        }
        for (uid, number, words) in words {
            self.local_ids.take(number);
            if let Some(local) = self.locals.get_mut(&uid) {
                local.number = Some(number);
                local.words = Some(words);
            }
        }
        self.commit_moves(&moves, numbering, &finals);
        addresses.iter().for_each(|address| self.places.forget_bare(*address));
        if plan.writes.iter().any(|write| matches!(write, Write::Flip { .. })) {
            self.generation = 1 - self.generation;
        }
        self.policies.sweep();
        self.peers.sweep();
        plan
    }
}
