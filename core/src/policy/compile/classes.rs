//! Classes: addresses whose atoms are the same share a number.
use std::{collections::BTreeSet, sync::Arc};

use hashbrown::HashMap;

use super::{
    atom::{AtomId, DENIED},
    digest::Meaning,
    image::Numbers,
};
use crate::policy::tables::Class;

/// The atoms that hold for an address, sorted.
pub(super) type Signature = Arc<[AtomId]>;

/// The classes in the tables.
#[derive(Debug)]
pub(super) struct Classes {
    states: Vec<Option<ClassState>>,
    by_signature: HashMap<Signature, Class>,
    /// The classes that each atom holds for.
    by_atom: Vec<BTreeSet<Class>>,
    pub(super) ids: Numbers,
}

#[derive(Debug, Clone)]
struct ClassState {
    signature: Signature,
    meaning: Meaning,
    /// How many addresses and prefixes have an entry with this class.
    members: u32,
}

impl Classes {
    /// No class but 0, which is denied.
    pub(super) fn new(limit: u32) -> Self {
        let denied: Signature = Arc::new([DENIED]);
        Self {
            states: vec![Some(ClassState {
                signature: Arc::clone(&denied),
                meaning: Meaning::of(&"denied"),
                members: 1,
            })],
            by_signature: HashMap::from([(denied, 0)]),
            by_atom: Vec::new(),
            ids: Numbers::new(1, limit),
        }
    }

    /// The class of a signature.
    pub(super) fn find(&self, atoms: &[AtomId]) -> Option<Class> {
        self.by_signature.get(atoms).copied()
    }

    pub(super) fn signature(&self, class: Class) -> Option<&Signature> {
        Some(&self.states.get(class as usize)?.as_ref()?.signature)
    }

    pub(super) fn members(&self, class: Class) -> u32 {
        self.states.get(class as usize).and_then(Option::as_ref).map_or(0, |state| state.members)
    }

    /// Whether a class exists.
    pub(super) fn is_alive(&self, class: Class) -> bool {
        self.signature(class).is_some()
    }

    /// The classes that an atom holds for, but for class 0.
    pub(super) fn with(&self, atom: AtomId) -> impl Iterator<Item = Class> {
        self.by_atom.get(atom as usize).into_iter().flatten().copied()
    }

    /// One more than the highest number ever given out.
    pub(super) fn end_of_numbers(&self) -> Class {
        self.states.len() as Class
    }

    /// What a class means, in a form without numbers.
    pub(super) fn meaning(&self, class: Class) -> Meaning {
        self.states.get(class as usize).and_then(Option::as_ref).map_or_else(Meaning::default, |state| state.meaning)
    }

    /// Gives a class, new or not, a signature.
    pub(super) fn set(&mut self, class: Class, signature: Signature, meaning: Meaning) {
        let members = self.members(class);
        let state = ClassState { signature: Arc::clone(&signature), meaning, members };
        if let Some(before) = self.put(class, state) {
            self.forget(class, &before.signature);
        }
        for atom in signature.iter().map(|atom| *atom as usize) {
            if self.by_atom.len() <= atom {
                self.by_atom.resize_with(atom + 1, BTreeSet::new);
            }
            self.by_atom[atom].insert(class);
        }
        self.by_signature.insert(signature, class);
    }

    fn forget(&mut self, class: Class, signature: &Signature) {
        for atom in signature.iter() {
            self.by_atom[*atom as usize].remove(&class);
        }
        if self.find(signature) == Some(class) {
            self.by_signature.remove(signature);
        }
    }

    /// Takes a number that is in use up to the flip only, unless it is in use already.
    pub(super) fn borrow(&mut self, class: Class) {
        if !self.is_alive(class) {
            self.put(class, ClassState { signature: Arc::new([]), meaning: Meaning::default(), members: 0 });
        }
    }

    fn put(&mut self, class: Class, state: ClassState) -> Option<ClassState> {
        self.ids.take(class);
        if self.states.len() <= class as usize {
            self.states.resize(class as usize + 1, None);
        }
        self.states[class as usize].replace(state)
    }

    /// Notes that the tables say so of one more address or prefix.
    pub(super) fn join(&mut self, class: Class) {
        if let Some(Some(state)) = self.states.get_mut(class as usize) {
            state.members += 1;
        }
    }

    /// Notes that they say so of one less.
    pub(super) fn leave(&mut self, class: Class) {
        if let Some(Some(state)) = self.states.get_mut(class as usize) {
            state.members -= 1;
        }
    }

    /// Ends a class that nothing leads to. Tells whether it did.
    pub(super) fn end(&mut self, class: Class) -> bool {
        if class == 0 || self.members(class) > 0 {
            return false;
        }
        let Some(state) = self.states.get_mut(class as usize).and_then(Option::take) else { return false };
        self.forget(class, &state.signature);
        self.ids.give(class);
        true
    }
}
