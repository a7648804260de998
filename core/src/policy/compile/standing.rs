//! The slots in force: which program each is of, and what it asks, so that a change finds the slots that it concerns.
use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::{
    atom::{Atom, AtomId, PortName},
    code::ProgramId,
    digest::Meaning,
    intern::Interned,
};
use crate::policy::tables::Slot;

/// What a program asks about the other side.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// Sorted.
    pub(super) atoms: Vec<AtomId>,
    /// Which ports it calls so.
    pub(super) names: Vec<PortName>,
}

/// Atoms that a program sees, sorted.
pub(super) type Seen = SmallVec<[AtomId; 8]>;

impl Questions {
    /// Whether an atom is the answer to one of them.
    pub(super) fn ask(&self, atom: AtomId, known: &Interned<Atom>) -> bool {
        self.atoms.binary_search(&atom).is_ok()
            || (!self.names.is_empty()
                && matches!(known.get(atom).as_ref(), Atom::Named(name, _) if self.names.contains(name)))
    }

    /// Those of an address's atoms that the program asks for.
    pub(super) fn seen(&self, atoms: &[AtomId], known: &Interned<Atom>) -> Seen {
        atoms.iter().copied().filter(|atom| self.ask(*atom, known)).collect()
    }
}

/// A slot in force.
#[derive(Debug)]
pub(super) struct Stand {
    pub(super) slot: Slot,
    pub(super) questions: Questions,
    pub(super) meaning: Meaning,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Standing {
    stands: BTreeMap<ProgramId, Stand>,
    askers: HashMap<AtomId, BTreeSet<ProgramId>>,
    askers_by_name: HashMap<PortName, BTreeSet<ProgramId>>,
}

impl Standing {
    pub(super) fn get(&self, id: ProgramId) -> Option<&Stand> {
        self.stands.get(&id)
    }

    pub(super) fn slot(&self, id: ProgramId) -> Option<Slot> {
        Some(self.get(id)?.slot)
    }

    /// All, in the order of their programs.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ProgramId, &Stand)> {
        self.stands.iter().map(|(id, stand)| (*id, stand))
    }

    /// The programs that ask for an atom.
    pub(super) fn askers(&self, atom: AtomId, known: &Interned<Atom>) -> impl Iterator<Item = ProgramId> {
        let by_name = match known.get(atom).as_ref() {
            Atom::Named(name, _) => self.askers_by_name.get(name),
            _ => None,
        };
        self.askers.get(&atom).into_iter().chain(by_name).flatten().copied()
    }

    /// Puts a program's slot in force, in the place of the one before.
    pub(super) fn put(&mut self, id: ProgramId, stand: Stand) {
        self.remove(id);
        for atom in &stand.questions.atoms {
            self.askers.entry(*atom).or_default().insert(id);
        }
        for name in &stand.questions.names {
            self.askers_by_name.entry(name.clone()).or_default().insert(id);
        }
        self.stands.insert(id, stand);
    }

    /// Takes a program's slot out of force.
    pub(super) fn remove(&mut self, id: ProgramId) {
        let Some(stand) = self.stands.remove(&id) else { return };
        for atom in &stand.questions.atoms {
            if let Some(askers) = self.askers.get_mut(atom)
                && askers.remove(&id)
                && askers.is_empty()
            {
                self.askers.remove(atom);
            }
        }
        for name in &stand.questions.names {
            if let Some(askers) = self.askers_by_name.get_mut(name)
                && askers.remove(&id)
                && askers.is_empty()
            {
                self.askers_by_name.remove(name);
            }
        }
    }
}
