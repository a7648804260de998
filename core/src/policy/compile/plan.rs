//! From what has changed to the writes that make it so.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use hashbrown::HashSet;
use ipnet::IpNet;

use super::{
    Compiler, Fit, Shortage,
    around::Arounds,
    atom::AtomId,
    classes::Signature,
    code::ProgramId,
    draft::{Deeds, Draft},
    locals::{Course, LocalState},
    moves::{Move, Numbering, Who},
    policies::Policies,
    ports::PortsDraft,
    sight::Sight,
    slots::Builder,
    standing::Stand,
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
    /// Programs whose slots nothing uses any more.
    retired: BTreeSet<ProgramId>,
    /// New words of workloads, with their numbers.
    words: Vec<(Uid, Local, [Slot; 2])>,
    plan: Plan,
}

impl Compiler {
    /// Brings the tables to the present state of the objects, or leaves everything as it is and says what is too small.
    pub(super) fn plan(&mut self, fit: &mut Fit) -> Result<Plan, Shortage> {
        self.refresh_locals();
        let Policies { terms, changed_terms, .. } = &mut self.policies;
        if self.ports.relabel(terms, changed_terms) {
            changed_terms.clear();
        }
        if self.is_degraded {
            self.places.touch_all();
        }
        let (addresses, prefixes) = self.places.take_touched();
        match self.draft(&addresses, &prefixes, fit) {
            Ok(change) => {
                self.is_degraded = fit.is_short();
                let plan = self.commit(change);
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
        let ports = if self.policies.changed_terms.is_empty() {
            None
        } else {
            let terms: Vec<_> = self.policies.terms.iter().map(|(id, set)| (id, set.as_ref())).collect();
            Some(self.ports.draft(&terms, fit)?)
        };
        let now = ports.as_ref().map_or(&self.ports, |ports| &ports.during);
        let mut arounds = Arounds::default();
        let mut moves = self.moves(addresses, prefixes, &mut arounds);
        self.make_room(&mut moves, &mut arounds, fit)?;
        let flips = self.flips();
        let numbering = if flips {
            Numbering::around_flip(&moves, &self.classes, fit)?
        } else {
            Numbering::direct(&moves, &self.classes, fit)?
        };
        let splits = ports.as_ref().map(|ports| ports.splits.as_slice()).unwrap_or_default();
        let mut draft = Draft::new(&self.image, now.live(), splits, ports.is_some());
        let sight = Sight { policies: &self.policies, peers: &self.peers, ports: now };
        let (built, retired) = Builder::new(self, sight, &numbering, flips).build(&mut draft, fit)?;
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
        change.finals = self.write_moves((&change.moves, &arounds), &change.numbering, flips, &mut plan);
        self.write_words(&change, &mut plan);
        if let Some(ports) = &ports {
            plan.settle.extend(ports.settle.iter().cloned());
        }
        for slot in change.retired.iter().filter_map(|id| self.standing.slot(*id)) {
            // Also what it was told in this very plan: the next one to get its number expects it to lead nowhere.
            let before = (0..).zip(self.image.slot(slot)).filter(|(_, block)| **block != BLOCK_DENY).map(|(at, _)| at);
            let told = change.deeds.slot_blocks.iter().filter(|(told, ..)| *told == slot).map(|(_, at, _)| *at);
            let used: BTreeSet<u8> = before.chain(told).collect();
            plan.settle.extend(used.into_iter().map(|index| Write::SlotBlock { slot, index, block: BLOCK_DENY }));
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
            Course::Program(id) => self.standing.slot(*id) != Some(word),
        };
        let changes_any = |local: &LocalState| {
            local.words.is_some_and(|words| local.courses.iter().zip(words).any(|(course, word)| changes(course, word)))
        };
        self.is_degraded || self.unsettled.iter().filter_map(|uid| self.locals.get(uid)).any(changes_any)
    }

    /// Everything whose atoms may have changed, with its atoms from now on.
    fn moves(&self, addresses: &[IpAddr], prefixes: &BTreeSet<IpNet>, arounds: &mut Arounds) -> Vec<Move> {
        let mut moves = Vec::with_capacity(addresses.len() + prefixes.len());
        let mut interned: HashSet<Signature> = HashSet::new();
        let mut signature = |atoms: &[AtomId]| -> Signature {
            let known = self.classes.find(atoms).and_then(|class| self.classes.signature(class));
            Arc::clone(known.unwrap_or_else(|| interned.get_or_insert_with(atoms, |atoms| atoms.into())))
        };
        let (mut also, mut outer) = (Vec::new(), None);
        // A prefix that is gone without ever having got an entry is none.
        let is_there =
            |net: &&IpNet| self.places.prefix(**net).is_some_and(|prefix| !prefix.is_gone() || prefix.entry.is_some());
        for net in prefixes.iter().filter(is_there) {
            let (entry, old) = self.class_of_prefix(*net);
            let around = arounds.of_prefix(*net, self);
            let signature = signature(&self.atoms_of_prefix(arounds.get(around)));
            // Prefixes come in order, the longer after those around them.
            if self.classes.signature(old) != Some(&signature) && !outer.is_some_and(|outer: IpNet| outer.contains(net))
            {
                also.extend(self.places.addresses_within(*net));
                outer = Some(*net);
            }
            moves.push(Move { who: Who::Prefix(*net), entry, old, around, signature });
        }
        if !also.is_empty() {
            also.extend(addresses);
            // Two sorted lists: not the unstable sort, which would not see it.
            also.sort();
            also.dedup();
        }
        let mut atoms = Vec::new();
        for address in if also.is_empty() { addresses } else { &also } {
            let around = arounds.of_address(*address, self);
            let spot = self.places.spot(*address);
            let old = spot.entry().unwrap_or_else(|| arounds.get(around).class());
            atoms.clear();
            self.atoms_of_address(*address, spot.holder(), arounds.get(around), &mut atoms);
            let (entry, signature) = (spot.entry(), signature(&atoms));
            moves.push(Move { who: Who::Address(*address), entry, old, around, signature });
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
            Course::Program(id) => built.get(&id).copied().or_else(|| self.standing.slot(id)).unwrap_or(SLOT_DENY),
        };
        // A slot in force that was built anew may be anybody's.
        let is_anybody = self.is_degraded || built.keys().any(|id| self.standing.get(*id).is_some());
        let concerned: Vec<(&Uid, &LocalState)> = if is_anybody {
            self.locals.iter().collect()
        } else {
            self.unsettled.iter().filter_map(|uid| Some((uid, self.locals.get(uid)?))).collect()
        };
        let mut free = self.local_ids.available();
        let mut words = Vec::new();
        let mut missing = 0;
        for (uid, local) in concerned {
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
    fn commit(&mut self, change: Change) -> Plan {
        let Change { ports, moves, numbering, finals, deeds, built, retired, words, plan } = change;
        self.image.carry_out(deeds);
        if let Some(ports) = ports {
            self.image.set_live(ports.after.live());
            self.ports = ports.after;
            self.policies.changed_terms.clear();
        }
        for id in retired {
            self.standing.slot(id).into_iter().for_each(|slot| self.image.retire(slot));
            self.standing.remove(id);
        }
        for (id, slot) in built {
            let sight = Sight { policies: &self.policies, peers: &self.peers, ports: &self.ports };
            let meaning = self.meaning_of_program(self.policies.programs.get(id));
            self.standing.put(id, Stand { slot, questions: sight.questions(id), meaning });
        }
        self.policies.changed_programs.clear();
        self.unsettled.clear();
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
        if plan.writes.iter().any(|write| matches!(write, Write::Flip { .. })) {
            self.generation = 1 - self.generation;
        }
        self.policies.sweep();
        self.peers.sweep();
        plan
    }
}
