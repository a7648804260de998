//! The slots of programs: those in force told about new classes, the others built.
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{
    Compiler, Fit, Shortage, atom::AtomId, classes::Signature, code::ProgramId, draft::Draft, moves::Numbering,
    sight::Sight,
};
use crate::policy::tables::{BLOCK_CLASSES, Class, ROW_DENY, Row, SLOT_DENY, Slot};

/// Makes slots.
pub(super) struct Builder<'b> {
    pub(super) compiler: &'b Compiler,
    pub(super) sight: Sight<'b>,
    pub(super) numbering: &'b Numbering,
    pub(super) flips: bool,
}

impl Builder<'_> {
    /// Tells the slots in force about new classes and builds the slots that programs have not got. Gives those and the
    /// slots that nothing uses any more.
    pub(super) fn build(
        &self,
        draft: &mut Draft<'_>,
        fit: &mut Fit,
    ) -> Result<(BTreeMap<ProgramId, Slot>, Vec<Slot>), Shortage> {
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
                    0 => ROW_DENY,
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
