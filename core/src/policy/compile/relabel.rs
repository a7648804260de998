//! Terms that come and go without moving any port: what most changes of policies are.
use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};

use super::{
    intern::Interned,
    ports::{Ports, Signature, TermId},
    portset::{Bits, PortSet},
};
use crate::policy::tables::PortClass;

impl Ports {
    /// Takes over that these terms came or went, if every port can keep its class: each of the terms holds classes whole,
    /// and no two classes come to be treated alike. Tells whether it did; the tables need no write then.
    pub(super) fn relabel(&mut self, terms: &Interned<PortSet>, changed: &BTreeSet<TermId>) -> bool {
        if self.has_unfit() {
            return false;
        }
        let mut masks: BTreeMap<TermId, Bits> = BTreeMap::new();
        for term in changed {
            let mask = if terms.is_needed(*term) { self.whole_classes(terms.get(*term)) } else { Some(Bits::NONE) };
            let Some(mask) = mask else { return false };
            masks.insert(*term, mask);
        }
        let Some(labels) = self.labels(&masks) else { return false };
        for (class, signature) in &labels {
            if let Some(before) = self.signatures.insert(*class, signature.clone())
                && self.by_signature.get(&before) == Some(class)
            {
                self.by_signature.remove(&before);
            }
            self.by_signature.insert(signature.clone(), *class);
        }
        for (term, mask) in masks {
            if mask.is_empty() {
                self.masks.remove(&term);
            } else {
                self.masks.insert(term, mask);
            }
        }
        true
    }

    /// The classes that a set of ports is made of; `None` if it holds only some ports of one, or ports that no rule named.
    fn whole_classes(&self, set: &PortSet) -> Option<Bits> {
        let mut held: HashMap<PortClass, u32> = HashMap::new();
        for (table, first, last) in set.ranges() {
            let runs = &self.runs[*table as usize];
            let mut at = runs.partition_point(|(begins, _)| begins <= first) - 1;
            while let Some((begins, class)) = runs.get(at).filter(|(begins, _)| begins <= last) {
                let end = runs.get(at + 1).map_or(u16::MAX, |(next, _)| next - 1);
                *held.entry(*class).or_default() += u32::from(end.min(*last) - (*begins).max(*first)) + 1;
                at += 1;
            }
        }
        let mut mask = Bits::NONE;
        for (class, ports) in held {
            if class == 0 || self.sizes.get(&class) != Some(&ports) {
                return None;
            }
            mask.set(class, true);
        }
        Some(mask)
    }

    /// The signatures of the classes that these terms are about; `None` if two classes would have one.
    fn labels(&self, masks: &BTreeMap<TermId, Bits>) -> Option<BTreeMap<PortClass, Signature>> {
        let about =
            |class: &PortClass| masks.iter().any(|(term, mask)| mask.has(*class) || self.mask(*term).has(*class));
        let mut labels = BTreeMap::new();
        for (class, before) in self.signatures.iter().filter(|(class, _)| about(class)) {
            let mut signature: Signature = before.iter().copied().filter(|term| !masks.contains_key(term)).collect();
            signature.extend(masks.iter().filter(|(_, mask)| mask.has(*class)).map(|(term, _)| *term));
            signature.sort_unstable();
            labels.insert(*class, signature);
        }
        let is_taken = |signature: &Signature| {
            signature.is_empty() || self.by_signature.get(signature).is_some_and(|other| !labels.contains_key(other))
        };
        let mut seen = HashSet::new();
        let unique = labels.values().all(|signature| !is_taken(signature) && seen.insert(signature));
        unique.then(|| labels.clone())
    }
}
