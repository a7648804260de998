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
};
use crate::{
    model::Uid,
    policy::tables::{BLOCK_CLASSES, Class, Local, Plan, Row, SLOT_ACCEPT, SLOT_DENY, Slot, Write},
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
                Ok(self.commit(change, &addresses))
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
            let used =
                (0..).zip(self.image.slot(*slot)).filter(|(_, block)| **block != crate::policy::tables::BLOCK_DENY);
            plan.settle.extend(used.map(|(index, _)| Write::SlotBlock {
                slot: *slot,
                index,
                block: crate::policy::tables::BLOCK_DENY,
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
        for net in prefixes.iter().filter(|net| self.places.prefix(**net).is_some()) {
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

/// Makes slots.
struct Builder<'b> {
    compiler: &'b Compiler,
    sight: Sight<'b>,
    numbering: &'b Numbering,
    flips: bool,
}

impl Builder<'_> {
    /// Tells the slots in force about new classes and builds the slots that programs have not got. Gives those and the
    /// slots that nothing uses any more.
    fn build(&self, draft: &mut Draft<'_>, fit: &mut Fit) -> Result<(BTreeMap<ProgramId, Slot>, Vec<Slot>), Shortage> {
        let compiler = self.compiler;
        let needed: BTreeSet<ProgramId> = compiler.policies.programs.iter().map(|(id, _)| id).collect();
        let (mut kept, mut retired): (Vec<_>, Vec<_>) =
            compiler.slots.iter().map(|(id, slot)| (*id, *slot)).partition(|(id, _)| needed.contains(id));
        // A slot in force cannot be told anything that changes a verdict before the flip: it is built anew.
        if self.flips {
            let rebuilt: Vec<_> = kept.extract_if(.., |(id, slot)| self.must_rebuild(*id, *slot, draft, fit)).collect();
            retired.extend(rebuilt);
        }
        kept.sort_unstable();
        retired.sort_unstable();
        self.extend(&kept, &retired, draft, fit)?;
        let is_kept = |id: &ProgramId| kept.binary_search_by_key(id, |(kept, _)| *kept).is_ok();
        let classes = self.classes();
        let mut built = BTreeMap::new();
        for id in needed.into_iter().filter(|id| !is_kept(id)) {
            let rows = self.rows(id, &classes, draft, fit)?;
            let slot = draft.slot(rows, fit)?;
            if slot != SLOT_DENY {
                built.insert(id, slot);
            }
        }
        Ok((built, retired.into_iter().map(|(_, slot)| slot).collect()))
    }

    /// Every class that an address may lead to meanwhile, with its atoms from the flip on.
    fn classes(&self) -> Vec<(Class, &Signature)> {
        let changed: HashMap<Class, &Signature> =
            self.numbering.changed.iter().map(|(class, signature)| (*class, signature)).collect();
        let known = self
            .compiler
            .classes
            .iter()
            .map(|(class, signature)| (class, changed.get(&class).copied().unwrap_or(signature)));
        let mut classes: Vec<_> =
            known.chain(self.numbering.fresh.iter().map(|fresh| (fresh.class, &fresh.signature))).collect();
        classes.sort_unstable_by_key(|(class, _)| *class);
        classes
    }

    fn must_rebuild(&self, id: ProgramId, slot: Slot, draft: &Draft<'_>, fit: &Fit) -> bool {
        // What did not fit is tried again, unless nothing more is to be tried.
        if self.compiler.is_degraded && !fit.denies() {
            return true;
        }
        let relevant = self.sight.relevant(id);
        let grown = self.numbering.fresh.iter().filter(|fresh| fresh.parent != 0);
        let changes = grown
            .map(|fresh| (fresh.parent, &fresh.signature))
            .chain(self.numbering.changed.iter().map(|(class, signature)| (*class, signature)));
        changes.into_iter().any(|(parent, signature)| {
            self.differ(parent, signature, &relevant)
                && self.sight.row(id, signature) & self.sight.ports.live()
                    != draft.bits(self.compiler.image.cell(slot, parent))
        })
    }

    /// Whether a program that asks for these atoms may see a difference between a class so far and a signature.
    fn differ(&self, class: Class, signature: &Signature, relevant: &[AtomId]) -> bool {
        let Some(before) = self.compiler.classes.signature(class) else { return true };
        relevant.iter().any(|atom| before.binary_search(atom).is_ok() != signature.binary_search(atom).is_ok())
    }

    /// The rows of new classes in the slots in force: those of the class that they come from, which in `kept` slots are
    /// also their own.
    fn extend(
        &self,
        kept: &[(ProgramId, Slot)],
        retired: &[(ProgramId, Slot)],
        draft: &mut Draft<'_>,
        fit: &mut Fit,
    ) -> Result<(), Shortage> {
        let relevant: Vec<_> = kept.iter().map(|(id, _)| self.sight.relevant(*id)).collect();
        let mut fresh: Vec<_> = self.numbering.fresh.iter().collect();
        fresh.sort_unstable_by_key(|fresh| fresh.class);
        for group in fresh.chunk_by(|a, b| a.class / BLOCK_CLASSES == b.class / BLOCK_CLASSES) {
            let mut rows: Vec<(Slot, Vec<Row>)> = Vec::new();
            for ((id, slot), relevant) in kept.iter().zip(&relevant) {
                let mut own = Vec::with_capacity(group.len());
                for fresh in group {
                    own.push(if fresh.parent != 0 && !self.differ(fresh.parent, &fresh.signature, relevant) {
                        self.compiler.image.cell(*slot, fresh.parent)
                    } else {
                        draft.row(self.sight.row(*id, &fresh.signature), fit)?
                    });
                }
                rows.push((*slot, own));
            }
            for (_, slot) in retired {
                let cell = |parent: Class| match parent {
                    0 => crate::policy::tables::ROW_DENY,
                    parent => self.compiler.image.cell(*slot, parent),
                };
                rows.push((*slot, group.iter().map(|fresh| cell(fresh.parent)).collect()));
            }
            let classes: Vec<Class> = group.iter().map(|fresh| fresh.class).collect();
            draft.extend(&classes, rows, &|class| self.compiler.classes.is_alive(class), fit)?;
        }
        Ok(())
    }

    /// The rows of a program for these classes. Classes that it sees alike share a row.
    fn rows(
        &self,
        id: ProgramId,
        classes: &[(Class, &Signature)],
        draft: &mut Draft<'_>,
        fit: &mut Fit,
    ) -> Result<Vec<(Class, Row)>, Shortage> {
        let relevant = self.sight.relevant(id);
        let base = draft.row(self.sight.row(id, &[]), fit)?;
        let mut known: HashMap<Vec<AtomId>, Row> = HashMap::new();
        let mut rows = Vec::with_capacity(classes.len());
        for (class, signature) in classes {
            let seen: Vec<AtomId> =
                signature.iter().copied().filter(|atom| relevant.binary_search(atom).is_ok()).collect();
            let row = match known.get(&seen) {
                _ if seen.is_empty() => base,
                Some(row) => *row,
                None => {
                    let row = draft.row(self.sight.row(id, &seen), fit)?;
                    known.insert(seen, row);
                    row
                }
            };
            rows.push((*class, row));
        }
        Ok(rows)
    }
}
