//! Port classes: ports that every rule in force treats alike share a number.
use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;

use super::{
    Fit, Shortage,
    portset::{Bits, PortSet},
};
use crate::policy::tables::{PortClass, PortTable, Write};

/// Number of a set of ports that rules in force name.
pub(super) type TermId = u32;

/// The terms that the ports of a class belong to, sorted.
pub(super) type Signature = Vec<TermId>;

/// Where each run of ports of one class begins, from 0.
type Runs = Vec<(u16, PortClass)>;

/// The port classes in the tables.
#[derive(Debug)]
pub(super) struct Ports {
    /// For each table.
    pub(super) runs: Vec<Runs>,
    /// Class 0 is what no rule names; it is always there.
    pub(super) signatures: BTreeMap<PortClass, Signature>,
    pub(super) by_signature: HashMap<Signature, PortClass>,
    pub(super) masks: HashMap<TermId, Bits>,
    /// How many ports each class has.
    pub(super) sizes: HashMap<PortClass, u32>,
    all: Bits,
    /// How many port classes there is room for. The last is kept for ports that could not get a class of their own: no
    /// row but the one that accepts everything ever accepts it.
    limit: PortClass,
}

/// What a change of the terms comes to.
#[derive(Debug)]
pub(super) struct PortsDraft {
    /// The classes while the change is under way; what takes the place of the ones before.
    pub(super) during: Ports,
    /// The classes once it is over.
    pub(super) after: Ports,
    /// New classes, each with the one whose verdicts it has so far.
    pub(super) splits: Vec<(PortClass, PortClass)>,
    /// Moves ports to classes of the same verdicts.
    pub(super) writes: Vec<Write>,
    /// After the flip: ports that are treated alike by now share a class.
    pub(super) settle: Vec<Write>,
}

/// Ports of one table that had one class and have one signature now.
struct Piece {
    table: usize,
    first: u16,
    last: u16,
    old: PortClass,
    signature: Signature,
}

impl Ports {
    pub(super) fn new(limit: PortClass) -> Self {
        Self::of(vec![vec![(0, 0)]; PortTable::ALL.len()], BTreeMap::from([(0, Signature::new())]), limit)
    }

    fn of(runs: Vec<Runs>, signatures: BTreeMap<PortClass, Signature>, limit: PortClass) -> Self {
        let (mut all, mut masks, mut sizes) = (Bits::NONE, HashMap::<TermId, Bits>::new(), HashMap::new());
        for (class, signature) in &signatures {
            all.set(*class, true);
            signature.iter().for_each(|term| masks.entry(*term).or_default().set(*class, true));
        }
        for runs in &runs {
            let ends = runs.iter().skip(1).map(|(next, _)| u32::from(*next)).chain([1 << 16]);
            for ((first, class), end) in runs.iter().zip(ends) {
                *sizes.entry(*class).or_default() += end - u32::from(*first);
            }
        }
        let by_signature = signatures.iter().map(|(class, signature)| (signature.clone(), *class)).collect();
        Self { runs, signatures, by_signature, masks, sizes, all, limit }
    }

    /// The classes that belong to a term.
    pub(super) fn mask(&self, term: TermId) -> Bits {
        self.masks.get(&term).copied().unwrap_or_default()
    }

    /// Every class that rules can judge.
    pub(super) fn all(&self) -> Bits {
        self.all
    }

    /// Every class that some port leads to.
    pub(super) fn live(&self) -> Bits {
        let mut live = self.all;
        live.set(self.unfit(), self.has_unfit());
        live
    }

    /// Whether some ports did not get a class of their own.
    pub(super) fn has_unfit(&self) -> bool {
        self.runs.iter().flatten().any(|(_, class)| *class == self.unfit())
    }

    fn unfit(&self) -> PortClass {
        self.limit.saturating_sub(1)
    }

    /// How many classes there are.
    pub(super) fn len(&self) -> usize {
        self.signatures.len()
    }

    /// The class of a port.
    pub(super) fn class(&self, table: PortTable, port: u16) -> PortClass {
        let runs = &self.runs[table as usize];
        runs[runs.partition_point(|(first, _)| *first <= port) - 1].1
    }

    /// Ranges that differ from fresh tables, in which every port is of class 0.
    pub(super) fn dump(&self) -> Vec<Write> {
        let fresh = Self::new(self.limit);
        self.writes_from(&fresh)
    }

    /// What it takes to classify these terms.
    pub(super) fn draft(&self, terms: &[(TermId, &PortSet)], fit: &mut Fit) -> Result<PortsDraft, Shortage> {
        let pieces = self.pieces(terms);
        let mut groups: BTreeMap<(PortClass, &Signature), u32> = BTreeMap::new();
        for piece in &pieces {
            *groups.entry((piece.old, &piece.signature)).or_default() += u32::from(piece.last - piece.first) + 1;
        }
        let (numbers, splits) = self.number(&groups, fit)?;
        let mut signatures = BTreeMap::from([(0, Signature::new())]);
        let mut home: HashMap<&Signature, PortClass> = HashMap::from([(EMPTY, 0)]);
        for ((_, signature), number) in numbers.iter().filter(|(_, number)| **number != self.unfit()) {
            signatures.insert(*number, (*signature).clone());
            // Of several classes of one signature, the one that had it before remains.
            if self.signatures.get(number) == Some(*signature) || !home.contains_key(signature) {
                home.insert(signature, *number);
            }
        }
        let runs = |class: &dyn Fn(&Piece) -> PortClass| {
            let mut runs: Vec<Runs> = vec![Vec::new(); PortTable::ALL.len()];
            for piece in &pieces {
                let class = class(piece);
                if runs[piece.table].last().is_none_or(|(_, before)| *before != class) {
                    runs[piece.table].push((piece.first, class));
                }
            }
            runs
        };
        let number = |piece: &Piece| numbers[&(piece.old, &piece.signature)];
        let during = Self::of(runs(&number), signatures.clone(), self.limit);
        let settled = runs(&|piece| home.get(&piece.signature).copied().unwrap_or_else(|| number(piece)));
        let kept: BTreeSet<PortClass> = home.values().copied().collect();
        signatures.retain(|class, _| kept.contains(class));
        let after = Self::of(settled, signatures, self.limit);
        let (writes, settle) = (during.writes_from(self), after.writes_from(&during));
        Ok(PortsDraft { during, after, splits, writes, settle })
    }

    /// Cuts the port spaces where classes or terms begin and end.
    fn pieces(&self, terms: &[(TermId, &PortSet)]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        for (table, runs) in self.runs.iter().enumerate() {
            // At each cut, the terms that begin and end there.
            let mut cuts: BTreeMap<u32, (Vec<TermId>, Vec<TermId>)> =
                runs.iter().map(|(first, _)| (u32::from(*first), Default::default())).collect();
            for (term, set) in terms {
                for (_, first, last) in set.ranges().iter().filter(|(of, ..)| *of as usize == table) {
                    cuts.entry(u32::from(*first)).or_default().0.push(*term);
                    cuts.entry(u32::from(*last) + 1).or_default().1.push(*term);
                }
            }
            let ends = cuts.keys().copied().skip(1).chain([1 << 16]);
            let mut open: BTreeSet<TermId> = BTreeSet::new();
            let mut at = 0;
            for ((first, (begin, end)), next) in cuts.iter().zip(ends.collect::<Vec<_>>()) {
                end.iter().for_each(|term| {
                    open.remove(term);
                });
                open.extend(begin);
                let (Ok(first), Ok(last)) = (u16::try_from(*first), u16::try_from(next - 1)) else { break };
                while runs.get(at + 1).is_some_and(|(begins, _)| *begins <= first) {
                    at += 1;
                }
                let signature = open.iter().copied().collect();
                pieces.push(Piece { table, first, last, old: runs[at].1, signature });
            }
        }
        pieces
    }

    /// Gives each group of ports of one old class and one signature its number while the change is under way.
    #[expect(clippy::type_complexity, reason = "a map and a list, used once")]
    fn number<'s>(
        &self,
        groups: &BTreeMap<(PortClass, &'s Signature), u32>,
        fit: &mut Fit,
    ) -> Result<(BTreeMap<(PortClass, &'s Signature), PortClass>, Vec<(PortClass, PortClass)>), Shortage> {
        let mut numbers = BTreeMap::new();
        let mut keeper: BTreeMap<PortClass, (u32, &Signature)> = BTreeMap::new();
        for ((old, signature), ports) in groups {
            // Who has the signature of before stays; else the most numerous. Class 0 never changes its meaning.
            let stays = self.signatures.get(old) == Some(*signature);
            let weight = if stays { u32::MAX } else { *ports };
            let may_keep = stays || (*old != 0 && *old != self.unfit());
            if may_keep && keeper.get(old).is_none_or(|(best, _)| weight > *best) {
                keeper.insert(*old, (weight, signature));
            }
        }
        for (old, (_, signature)) in &keeper {
            numbers.insert((*old, *signature), *old);
        }
        let mut free = (1..self.unfit()).filter(|class| !self.signatures.contains_key(class));
        let fresh: Vec<_> = groups.keys().filter(|group| !numbers.contains_key(group)).copied().collect();
        let limit = u64::from(self.unfit());
        let wanted = (self.signatures.len() + fresh.len()) as u64;
        let mut splits = Vec::new();
        for group in fresh {
            let class = match free.next() {
                Some(class) => class,
                None => fit.or(Shortage { what: "port classes", wanted, limit }, self.unfit())?,
            };
            splits.push((class, group.0));
            numbers.insert(group, class);
        }
        Ok((numbers, splits))
    }

    /// What leads from one state of the port tables to this.
    fn writes_from(&self, before: &Self) -> Vec<Write> {
        let mut writes: Vec<Write> = Vec::new();
        for (table, new, old) in
            PortTable::ALL.into_iter().zip(&self.runs).zip(&before.runs).map(|((table, new), old)| (table, new, old))
        {
            let mut cuts: Vec<u16> = new.iter().chain(old).map(|(first, _)| *first).collect();
            cuts.sort_unstable();
            cuts.dedup();
            for (at, first) in cuts.iter().enumerate() {
                let last = cuts.get(at + 1).map_or(u16::MAX, |next| next - 1);
                let class = self.class(table, *first);
                if before.class(table, *first) == class {
                    continue;
                }
                match writes.last_mut() {
                    Some(Write::Ports { table: of, last: end, class: same, .. })
                        if *of == table && *same == class && u32::from(*end) + 1 == u32::from(*first) =>
                    {
                        *end = last;
                    }
                    _ => writes.push(Write::Ports { table, first: *first, last, class }),
                }
            }
        }
        writes
    }
}

const EMPTY: &Signature = &Signature::new();
