//! The slots of programs: those in force told about new classes, the others built.
use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::{
    Compiler, Fit, Shortage,
    atom::AtomId,
    classes::Signature,
    code::ProgramId,
    draft::Draft,
    moves::{Fresh, Numbering},
    sight::Sight,
    standing::{Seen, Stand},
};
use crate::policy::tables::{BLOCK_CLASSES, Class, Row, SLOT_DENY, Slot};

/// Makes slots.
pub(super) struct Builder<'b> {
    compiler: &'b Compiler,
    sight: Sight<'b>,
    numbering: &'b Numbering,
    flips: bool,
    /// The classes that are new or change their atoms, with what holds for them from the flip on.
    renewed: HashMap<Class, &'b Signature>,
    /// Those of them that each atom holds for.
    renewed_with: HashMap<AtomId, Vec<Class>>,
}

impl<'b> Builder<'b> {
    pub(super) fn new(compiler: &'b Compiler, sight: Sight<'b>, numbering: &'b Numbering, flips: bool) -> Self {
        let fresh = numbering.fresh.iter().map(|fresh| (fresh.class, &fresh.signature));
        let changed = numbering.changed.iter().map(|(class, signature)| (*class, signature));
        let renewed: HashMap<_, _> = fresh.chain(changed).collect();
        let mut renewed_with: HashMap<AtomId, Vec<Class>> = HashMap::new();
        for (class, signature) in &renewed {
            signature.iter().for_each(|atom| renewed_with.entry(*atom).or_default().push(*class));
        }
        Self { compiler, sight, numbering, flips, renewed, renewed_with }
    }

    /// Tells the slots in force about new classes and builds the slots that programs have not got. Gives those and the
    /// programs whose slots nothing uses any more.
    pub(super) fn build(
        &self,
        draft: &mut Draft<'_>,
        fit: &mut Fit,
    ) -> Result<(BTreeMap<ProgramId, Slot>, BTreeSet<ProgramId>), Shortage> {
        let (standing, programs) = (&self.compiler.standing, &self.compiler.policies.programs);
        let changed = &self.compiler.policies.changed_programs;
        let (mut missing, mut retired): (BTreeSet<_>, BTreeSet<_>) =
            changed.iter().copied().partition(|id| programs.is_needed(*id));
        if self.compiler.is_degraded {
            missing.extend(programs.iter().map(|(id, _)| id));
        }
        // A slot in force cannot be told anything that changes a verdict before the flip: it is built anew.
        let rebuilt = if self.flips { self.to_rebuild(draft, fit) } else { BTreeSet::new() };
        missing.retain(|id| standing.get(*id).is_none());
        missing.extend(rebuilt.iter().filter(|id| programs.is_needed(**id)));
        retired.extend(rebuilt);
        retired.retain(|id| standing.get(*id).is_some());
        self.extend(&retired, draft, fit)?;
        let mut built = BTreeMap::new();
        for id in missing {
            let slot = self.slot(id, draft, fit)?;
            if slot != SLOT_DENY {
                built.insert(id, slot);
            }
        }
        Ok((built, retired))
    }

    /// The programs of slots in force that judge some address otherwise from the flip on.
    fn to_rebuild(&self, draft: &Draft<'_>, fit: &Fit) -> BTreeSet<ProgramId> {
        let standing = &self.compiler.standing;
        // What did not fit is tried again, unless nothing more is to be tried.
        if self.compiler.is_degraded && !fit.denies() {
            return standing.iter().map(|(id, _)| id).collect();
        }
        let mut rebuilt = BTreeSet::new();
        let grown = self.numbering.fresh.iter().filter(|fresh| fresh.parent != 0);
        let grown = grown.map(|fresh| (fresh.parent, &fresh.signature));
        let changed = self.numbering.changed.iter().map(|(class, signature)| (*class, signature));
        for (parent, signature) in grown.chain(changed) {
            let before = self.compiler.classes.signature(parent).map_or(&[][..], |before| before);
            for atom in difference(before, signature) {
                for id in standing.askers(atom, &self.sight.peers.atoms) {
                    if let Some(stand) = standing.get(id)
                        && !rebuilt.contains(&id)
                        && self.sight.row(id, signature) & self.sight.ports.live()
                            != draft.bits(self.compiler.image.cell(stand.slot, parent))
                    {
                        rebuilt.insert(id);
                    }
                }
            }
        }
        rebuilt
    }

    /// The rows of new classes in the slots in force: those of the class that they come from, which in slots that stay
    /// are also their own.
    fn extend(&self, retired: &BTreeSet<ProgramId>, draft: &mut Draft<'_>, fit: &mut Fit) -> Result<(), Shortage> {
        let mut fresh: Vec<&Fresh> = self.numbering.fresh.iter().collect();
        fresh.sort_unstable_by_key(|fresh| fresh.class);
        for group in fresh.chunk_by(|a, b| a.class / BLOCK_CLASSES == b.class / BLOCK_CLASSES) {
            let index = (group[0].class / BLOCK_CLASSES) as u8;
            let group: Vec<(&Fresh, Seen, BTreeSet<ProgramId>)> =
                group.iter().map(|fresh| (*fresh, self.news(fresh), self.concerned(fresh))).collect();
            let mut told: Vec<(Slot, Vec<(Class, Row)>)> = Vec::new();
            for (id, stand) in self.compiler.standing.iter() {
                let stays = !retired.contains(&id);
                let (cells, base) = self.compiler.image.cells(stand.slot, index);
                let mut rows = Vec::new();
                for (fresh, news, concerned) in &group {
                    let cell = cells[(fresh.class % BLOCK_CLASSES) as usize];
                    // A slot that knows nothing of either class says what it says of all such, mostly already.
                    let row = if concerned.contains(&id) {
                        self.row_of(fresh, news, (id, stand), stays, draft, fit)?
                    } else {
                        Some(base)
                    };
                    rows.extend(row.filter(|row| *row != cell).map(|row| (fresh.class, row)));
                }
                if !rows.is_empty() {
                    told.push((stand.slot, rows));
                }
            }
            draft.extend(index, told, &|class| self.compiler.classes.is_alive(class), fit)?;
        }
        Ok(())
    }

    /// The atoms of the class that a new one comes from.
    fn before(&self, fresh: &Fresh) -> &[AtomId] {
        let parent = self.compiler.classes.signature(fresh.parent).filter(|_| fresh.parent != 0);
        parent.map_or(&[][..], |parent| parent)
    }

    /// In which atoms a new class differs from the one that it comes from.
    fn news(&self, fresh: &Fresh) -> Seen {
        difference(self.before(fresh), &fresh.signature).collect()
    }

    /// The programs that know something of a new class or of the one that it comes from.
    fn concerned(&self, fresh: &Fresh) -> BTreeSet<ProgramId> {
        let atoms = self.before(fresh).iter().chain(fresh.signature.iter());
        atoms.flat_map(|atom| self.compiler.standing.askers(*atom, &self.sight.peers.atoms)).collect()
    }

    /// The row of a new class in a slot in force; `None` where nobody will look.
    fn row_of(
        &self,
        fresh: &Fresh,
        news: &[AtomId],
        (id, stand): (ProgramId, &Stand),
        stays: bool,
        draft: &mut Draft<'_>,
        fit: &mut Fit,
    ) -> Result<Option<Row>, Shortage> {
        let (image, atoms) = (&self.compiler.image, &self.sight.peers.atoms);
        let like_parent = || image.cell(stand.slot, fresh.parent);
        if !stays {
            return Ok((fresh.parent != 0).then(like_parent));
        }
        Ok(Some(if news.iter().any(|atom| stand.questions.ask(*atom, atoms)) {
            draft.row(self.sight.row(id, &stand.questions.seen(&fresh.signature, atoms)), fit)?
        } else if fresh.parent != 0 {
            like_parent()
        } else {
            image.base(stand.slot)
        }))
    }

    /// A new slot. Only classes that the program knows something about take a look; those that it sees alike share a row.
    fn slot(&self, id: ProgramId, draft: &mut Draft<'_>, fit: &mut Fit) -> Result<Slot, Shortage> {
        let relevant = self.sight.relevant(&self.sight.questions(id));
        let known = &self.compiler.classes;
        let mut classes: Vec<(Class, &Signature)> = Vec::new();
        for atom in &relevant {
            let lasting = known.with(*atom).filter(|class| !self.renewed.contains_key(class));
            classes.extend(lasting.filter_map(|class| Some((class, known.signature(class)?))));
            let renewed = self.renewed_with.get(atom).into_iter().flatten();
            classes.extend(renewed.filter_map(|class| Some((*class, *self.renewed.get(class)?))));
        }
        classes.sort_unstable_by_key(|(class, _)| *class);
        classes.dedup_by_key(|(class, _)| *class);
        let base = draft.row(self.sight.row(id, &[]), fit)?;
        let mut rows: Vec<(Class, Row)> = Vec::with_capacity(classes.len());
        let mut by_seen: HashMap<Seen, Row> = HashMap::new();
        for (class, signature) in classes {
            let seen: Seen = signature.iter().copied().filter(|atom| relevant.binary_search(atom).is_ok()).collect();
            let row = match by_seen.get(&seen) {
                Some(row) => *row,
                None => {
                    let row = draft.row(self.sight.row(id, &seen), fit)?;
                    by_seen.insert(seen, row);
                    row
                }
            };
            rows.push((class, row));
        }
        let end = self.numbering.fresh.iter().map(|fresh| fresh.class + 1).max().unwrap_or(0);
        draft.slot(base, &rows, end.max(known.end_of_numbers()), fit)
    }
}

/// The atoms in one of two sorted lists only.
fn difference<'a>(a: &'a [AtomId], b: &'a [AtomId]) -> impl Iterator<Item = AtomId> {
    let only = |a: &'a [AtomId], b: &'a [AtomId]| a.iter().copied().filter(|atom| b.binary_search(atom).is_err());
    only(a, b).chain(only(b, a))
}
