//! Small numbers for values, with a count of who needs them.
use std::{hash::Hash, sync::Arc};

use hashbrown::{Equivalent, HashMap};

/// Gives every value a number. A number that nobody needs any more keeps its value until [`Interned::sweep`]: what is
/// let go and taken up again within one update never changes its number, and no number changes its value in between.
#[derive(Debug)]
pub(super) struct Interned<K> {
    numbers: HashMap<Arc<K>, u32>,
    entries: Vec<(Arc<K>, u32)>,
    free: Vec<u32>,
    idle: Vec<u32>,
}

impl<K: Eq + Hash> Default for Interned<K> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), entries: Vec::new(), free: Vec::new(), idle: Vec::new() }
    }
}

impl<K: Eq + Hash> Interned<K> {
    /// The number of a value, a new one if it has none. Whoever needs it longer than this update acquires it.
    pub(super) fn number(&mut self, value: K) -> u32 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let value = Arc::new(value);
        let entry = (Arc::clone(&value), 0);
        let number = if let Some(number) = self.free.pop() {
            self.entries[number as usize] = entry;
            number
        } else {
            self.entries.push(entry);
            self.entries.len() as u32 - 1
        };
        self.numbers.insert(value, number);
        self.idle.push(number);
        number
    }

    /// The number of what is equivalent to this; of the value that is made if there is none.
    pub(super) fn number_of<Q: Hash + Equivalent<Arc<K>>>(&mut self, like: &Q, make: impl FnOnce() -> K) -> u32 {
        match self.numbers.get(like) {
            Some(number) => *number,
            None => self.number(make()),
        }
    }

    /// The number of a value that somebody needs.
    pub(super) fn needed(&self, value: &K) -> Option<u32> {
        self.numbers.get(value).copied().filter(|number| self.entries[*number as usize].1 > 0)
    }

    /// Whether somebody needs the value of this number.
    pub(super) fn is_needed(&self, number: u32) -> bool {
        self.entries.get(number as usize).is_some_and(|(_, needs)| *needs > 0)
    }

    /// The value of a number.
    pub(super) fn get(&self, number: u32) -> &Arc<K> {
        &self.entries[number as usize].0
    }

    /// Notes one more need. Tells whether it is the first.
    pub(super) fn acquire(&mut self, number: u32) -> bool {
        let needs = &mut self.entries[number as usize].1;
        *needs += 1;
        *needs == 1
    }

    /// Notes one need less. Tells whether it was the last.
    pub(super) fn release(&mut self, number: u32) -> bool {
        let needs = &mut self.entries[number as usize].1;
        *needs -= 1;
        if *needs == 0 {
            self.idle.push(number);
        }
        *needs == 0
    }

    /// The values that somebody needs, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Arc<K>)> {
        (0..).zip(&self.entries).filter(|(_, (_, needs))| *needs > 0).map(|(number, (value, _))| (number, value))
    }

    /// Forgets the values that nobody needs.
    pub(super) fn sweep(&mut self) {
        for number in std::mem::take(&mut self.idle) {
            let (value, needs) = &self.entries[number as usize];
            if *needs == 0 && self.numbers.get(value) == Some(&number) {
                self.numbers.remove(value);
                self.free.push(number);
            }
        }
    }
}
