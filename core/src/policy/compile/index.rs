//! Selectors meet labels: each finds the other at the cost of the answer, not of everything there is.
use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::model::{LabelSelector, Labels, Operator};

/// A label that everything selected has, one of these: `key`, and one of `values`.
struct Anchor<'s> {
    key: &'s str,
    values: Vec<&'s str>,
}

/// What a selector can be found by; `None` if it also selects things without any particular label.
fn anchor(selector: &LabelSelector) -> Option<Anchor<'_>> {
    // The last key is as good as any; an In of many values is worse than an equality.
    if let Some((key, value)) = selector.match_labels.last_key_value() {
        return Some(Anchor { key, values: vec![value] });
    }
    selector.match_expressions.iter().find_map(|requirement| match &requirement.operator {
        Operator::In(values) => {
            Some(Anchor { key: &requirement.key, values: values.iter().map(String::as_str).collect() })
        }
        _ => None,
    })
}

/// Whether a selector selects everything that it can be found by.
pub(super) fn is_anchor_only(selector: &LabelSelector) -> bool {
    selector.match_labels.len() == 1 && selector.match_expressions.is_empty()
}

type Postings<Id> = HashMap<String, HashMap<String, BTreeSet<Id>>>;

fn insert<Id: Ord>(postings: &mut Postings<Id>, key: &str, value: &str, id: Id) {
    if !postings.contains_key(key) {
        postings.insert(key.to_owned(), HashMap::new());
    }
    if let Some(values) = postings.get_mut(key) {
        if let Some(ids) = values.get_mut(value) {
            ids.insert(id);
        } else {
            values.insert(value.to_owned(), BTreeSet::from([id]));
        }
    }
}

fn remove<Id: Ord>(postings: &mut Postings<Id>, key: &str, value: &str, id: &Id) {
    let Some(values) = postings.get_mut(key) else { return };
    if let Some(ids) = values.get_mut(value) {
        ids.remove(id);
        if ids.is_empty() {
            values.remove(value);
        }
    }
    if values.is_empty() {
        postings.remove(key);
    }
}

/// Selectors, found by labels that they may select.
#[derive(Debug)]
pub(super) struct SelectorIndex<Id> {
    anchored: Postings<Id>,
    free: BTreeSet<Id>,
}

impl<Id> Default for SelectorIndex<Id> {
    fn default() -> Self {
        Self { anchored: HashMap::new(), free: BTreeSet::new() }
    }
}

impl<Id: Ord + Copy> SelectorIndex<Id> {
    /// Adds a selector.
    pub(super) fn add(&mut self, selector: &LabelSelector, id: Id) {
        match anchor(selector) {
            Some(anchor) => {
                anchor.values.iter().for_each(|value| insert(&mut self.anchored, anchor.key, value, id));
            }
            None => {
                self.free.insert(id);
            }
        }
    }

    /// Removes a selector.
    pub(super) fn remove(&mut self, selector: &LabelSelector, id: Id) {
        match anchor(selector) {
            Some(anchor) => anchor.values.iter().for_each(|value| remove(&mut self.anchored, anchor.key, value, &id)),
            None => {
                self.free.remove(&id);
            }
        }
    }

    /// The selectors that may select these labels: all that do and perhaps some that do not.
    pub(super) fn candidates(&self, labels: &Labels) -> impl Iterator<Item = Id> {
        let anchored = labels.iter().filter_map(|(key, value)| self.anchored.get(key)?.get(value));
        anchored.flatten().chain(&self.free).copied()
    }
}

/// Sets of labels, found by selectors that may select them. A key is indexed from its first use on.
#[derive(Debug)]
pub(super) struct LabelIndex<Id> {
    postings: HashMap<String, HashMap<String, Vec<Id>>>,
}

impl<Id> Default for LabelIndex<Id> {
    fn default() -> Self {
        Self { postings: HashMap::new() }
    }
}

impl<Id: Ord + Copy> LabelIndex<Id> {
    /// Adds labels.
    pub(super) fn add(&mut self, labels: &Labels, id: Id) {
        if self.postings.is_empty() {
            return;
        }
        for (key, value) in labels {
            if let Some(values) = self.postings.get_mut(key) {
                post(values, value, id);
            }
        }
    }

    /// Removes labels.
    pub(super) fn remove(&mut self, labels: &Labels, id: Id) {
        for (key, value) in labels {
            if let Some(values) = self.postings.get_mut(key)
                && let Some(ids) = values.get_mut(value)
                && let Ok(at) = ids.binary_search(&id)
            {
                ids.remove(at);
                if ids.is_empty() {
                    values.remove(value);
                }
            }
        }
    }

    /// Those that a selector may select: all that it does and perhaps some that it does not; `None` stands for all
    /// there are. `everything` is asked only at the first use of a key.
    pub(super) fn candidates<'l>(
        &mut self,
        selector: &LabelSelector,
        everything: impl Iterator<Item = (Id, &'l Labels)>,
    ) -> Option<Vec<Id>> {
        let anchor = anchor(selector)?;
        if !self.postings.contains_key(anchor.key) {
            let mut values = HashMap::new();
            for (id, labels) in everything {
                if let Some(value) = labels.get(anchor.key) {
                    post(&mut values, value, id);
                }
            }
            self.postings.insert(anchor.key.to_owned(), values);
        }
        let values = &self.postings[anchor.key];
        Some(anchor.values.iter().filter_map(|value| values.get(*value)).flatten().copied().collect())
    }
}

/// Adds to a sorted list, mostly at its end.
fn post<Id: Ord>(values: &mut HashMap<String, Vec<Id>>, value: &str, id: Id) {
    let ids = values.entry_ref(value).or_default();
    if ids.last().is_none_or(|last| *last < id) {
        ids.push(id);
    } else if let Err(at) = ids.binary_search(&id) {
        ids.insert(at, id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Requirement;

    fn labels() -> impl Strategy<Value = Labels> {
        prop::collection::btree_map("[abc]", "[xyz]", 0..3)
    }

    fn selector() -> impl Strategy<Value = LabelSelector> {
        let values = prop::collection::vec("[xyz]", 1..3);
        let operator = prop_oneof![
            values.clone().prop_map(Operator::In),
            values.prop_map(Operator::NotIn),
            Just(Operator::Exists),
            Just(Operator::DoesNotExist),
        ];
        let requirement = ("[abc]", operator).prop_map(|(key, operator)| Requirement { key, operator });
        (prop::collection::btree_map("[abc]", "[xyz]", 0..2), prop::collection::vec(requirement, 0..2))
            .prop_map(|(match_labels, match_expressions)| LabelSelector { match_labels, match_expressions })
    }

    proptest! {
        /// Both indexes find everything that the plain reading of the selectors finds, also after removals.
        #[test]
        fn nothing_selected_is_missed(
            things in prop::collection::vec(labels(), 1..12),
            selectors in prop::collection::vec(selector(), 1..12),
            gone in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let mut things: Vec<Option<Labels>> = things.into_iter().map(Some).collect();
            let (mut by_labels, mut by_selector) = (LabelIndex::default(), SelectorIndex::default());
            let all = |things: &[Option<Labels>]| -> Vec<(usize, Labels)> {
                things.iter().cloned().enumerate().filter_map(|(id, labels)| Some((id, labels?))).collect()
            };
            for (id, labels) in all(&things) {
                by_labels.add(&labels, id);
            }
            let check = |by_labels: &mut LabelIndex<usize>, selector: &LabelSelector, things: &[Option<Labels>]| {
                let all = all(things);
                let found = by_labels.candidates(selector, all.iter().map(|(id, labels)| (*id, labels)));
                all.iter().filter(|(_, labels)| selector.matches(labels)).all(|(id, _)| {
                    found.as_ref().is_none_or(|found| found.contains(id))
                })
            };
            for (id, selector) in selectors.iter().enumerate() {
                by_selector.add(selector, id);
                prop_assert!(check(&mut by_labels, selector, &things));
            }
            for index in gone {
                let at = index.index(things.len());
                if let Some(labels) = things[at].take() {
                    by_labels.remove(&labels, at);
                }
            }
            let dropped = selectors.len() / 2;
            by_selector.remove(&selectors[dropped], dropped);
            for (id, selector) in selectors.iter().enumerate() {
                prop_assert!(check(&mut by_labels, selector, &things));
                for (_, labels) in all(&things) {
                    let found: Vec<_> = by_selector.candidates(&labels).collect();
                    prop_assert_eq!(found.contains(&id), (id != dropped && selector.matches(&labels)) || found.contains(&id));
                    prop_assert!(id != dropped || !found.contains(&id));
                    prop_assert!(id == dropped || !selector.matches(&labels) || found.contains(&id));
                }
            }
        }
    }
}
