//! Addresses and prefixes that change their class, and the numbers of their classes meanwhile and afterwards.
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use ipnet::IpNet;

use super::{
    Fit, Shortage,
    around::AroundId,
    atom::DENIED,
    classes::{Classes, Signature},
};
use crate::policy::tables::Class;

/// Something with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Who {
    Address(IpAddr),
    Prefix(IpNet),
}

/// An address or prefix that an update may have changed.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) who: Who,
    /// Its entry so far.
    pub(super) entry: Option<Class>,
    /// The class that it leads to so far, by its entry or a prefix.
    pub(super) old: Class,
    /// What is around it.
    pub(super) around: AroundId,
    /// Its atoms from now on.
    pub(super) signature: Signature,
}

/// A class that did not exist.
#[derive(Debug)]
pub(super) struct Fresh {
    pub(super) class: Class,
    /// The class whose verdicts it has until the flip; 0: none, nothing leads to it before.
    pub(super) parent: Class,
    pub(super) signature: Signature,
}

/// Which class each move leads to.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    /// Up to the flip, when it has the verdicts of the old class; class 0 where that denies.
    pub(super) during: Vec<Class>,
    /// In the end.
    pub(super) after: Vec<Class>,
    pub(super) fresh: Vec<Fresh>,
    /// Classes that go on with other atoms.
    pub(super) changed: Vec<(Class, Signature)>,
}

/// Numbers not given out yet.
struct Supply<'c> {
    free: super::image::Available<'c>,
    given: u32,
    taken: u32,
    limit: u32,
}

impl Supply<'_> {
    /// A number; 0 where there is none.
    fn next(&mut self, fit: &mut Fit) -> Result<Class, Shortage> {
        if let Some(class) = self.free.next() {
            self.given += 1;
            return Ok(class);
        }
        let wanted = u64::from(self.taken + self.given + 1);
        fit.or(Shortage { what: "classes", wanted, limit: u64::from(self.limit) }, 0)
    }
}

impl Numbering {
    /// Without a flip each address moves by itself: straight to the class of its atoms.
    pub(super) fn direct(moves: &[Move], classes: &Classes, fit: &mut Fit) -> Result<Self, Shortage> {
        let mut supply = supply(classes);
        let mut numbering = Self::default();
        let mut new: HashMap<&Signature, Class> = HashMap::new();
        for each in moves {
            let known = classes.find(&each.signature).or_else(|| new.get(&each.signature).copied());
            let class = match known {
                Some(class) => class,
                None => {
                    let class = supply.next(fit)?;
                    new.insert(&each.signature, class);
                    if class != 0 {
                        let signature = Arc::clone(&each.signature);
                        numbering.fresh.push(Fresh { class, parent: each.old, signature });
                    }
                    class
                }
            };
            numbering.during.push(class);
            numbering.after.push(class);
        }
        Ok(numbering)
    }

    /// With a flip nothing may change before: those of one old class and equal new atoms share a number, which has the
    /// old class's verdicts in the slots of before and its own in those to come. Afterwards numbers of equal atoms are
    /// merged.
    pub(super) fn around_flip(moves: &[Move], classes: &Classes, fit: &mut Fit) -> Result<Self, Shortage> {
        let stays = |each: &Move| classes.signature(each.old) == Some(&each.signature);
        let mut left: HashMap<Class, i64> = HashMap::new();
        let mut groups: BTreeMap<(Class, &Signature), i64> = BTreeMap::new();
        for each in moves {
            let left = left.entry(each.old).or_insert_with(|| i64::from(classes.members(each.old)));
            match (stays(each), each.entry) {
                (true, None) => *left += 1,
                (false, Some(_)) => *left -= 1,
                _ => {}
            }
            if !stays(each) && *each.signature != [DENIED] {
                *groups.entry((each.old, &each.signature)).or_default() += 1;
            }
        }
        let mut numbering = Self::default();
        let numbers = numbering.number_groups(&groups, &left, classes, fit)?;
        let remains = |class: Class| left.get(&class).is_none_or(|left| *left > 0);
        let mut home: HashMap<&Signature, Class> = HashMap::new();
        let mut by_size: Vec<_> = groups.iter().map(|((old, signature), size)| (-size, *old, *signature)).collect();
        by_size.sort_unstable();
        for (_, old, signature) in &by_size {
            let kept = classes.find(signature).filter(|class| remains(*class));
            if let Some(class) = kept.or_else(|| numbers.get(&(*old, *signature)).copied()) {
                home.entry(signature).or_insert(class);
            }
        }
        // What was denied outright goes to its class after the flip, whatever else leads there.
        let mut supply = supply(classes);
        supply.free.by_ref().take(numbering.fresh.len()).for_each(drop);
        supply.given = numbering.fresh.len() as u32;
        for (_, _, signature) in &by_size {
            if !home.contains_key(signature) {
                let class = supply.next(fit)?;
                home.insert(signature, class);
                if class != 0 {
                    numbering.fresh.push(Fresh { class, parent: 0, signature: Arc::clone(signature) });
                }
            }
        }
        for each in moves {
            let (during, after) = if stays(each) {
                (each.old, each.old)
            } else if *each.signature == [DENIED] {
                (0, 0)
            } else {
                let during = numbers.get(&(each.old, &each.signature)).copied().unwrap_or(0);
                (during, home.get(&each.signature).copied().unwrap_or(0))
            };
            numbering.during.push(during);
            numbering.after.push(after);
        }
        Ok(numbering)
    }

    /// The number of each group that was not denied outright.
    fn number_groups<'m>(
        &mut self,
        groups: &BTreeMap<(Class, &'m Signature), i64>,
        left: &HashMap<Class, i64>,
        classes: &Classes,
        fit: &mut Fit,
    ) -> Result<HashMap<(Class, &'m Signature), Class>, Shortage> {
        let mut numbers = HashMap::new();
        let mut largest: BTreeMap<Class, (i64, &Signature)> = BTreeMap::new();
        for ((old, signature), size) in groups.iter().filter(|((old, _), _)| *old != 0) {
            if left.get(old).is_some_and(|left| *left <= 0) && largest.get(old).is_none_or(|(most, _)| size > most) {
                largest.insert(*old, (*size, signature));
            }
        }
        for (old, (_, signature)) in &largest {
            self.changed.push((*old, Arc::clone(signature)));
        }
        let mut supply = supply(classes);
        for (old, signature) in groups.keys().filter(|(old, _)| *old != 0) {
            let keeps = largest.get(old).is_some_and(|(_, keeper)| keeper == signature);
            let class = if keeps { *old } else { supply.next(fit)? };
            if !keeps && class != 0 {
                self.fresh.push(Fresh { class, parent: *old, signature: Arc::clone(signature) });
            }
            numbers.insert((*old, *signature), class);
        }
        Ok(numbers)
    }
}

fn supply(classes: &Classes) -> Supply<'_> {
    Supply { free: classes.ids.available(), given: 0, taken: classes.ids.taken(), limit: classes.ids.limit() }
}
