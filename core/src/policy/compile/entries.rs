//! The entries of addresses and prefixes: which writes move them, and in which order.
use std::{cmp::Reverse, collections::BTreeSet, net::IpAddr, sync::Arc};

use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;

use super::{
    Compiler, Fit, Shortage,
    around::{Around, AroundId, Arounds},
    atom::DENIED,
    classes::Signature,
    digest::Meaning,
    moves::{Move, Numbering, Who},
};
use crate::policy::tables::{Class, Plan, Write};

/// What an address without entry leads to, up to the flip and in the end.
struct Cover {
    during: Class,
    after: Class,
}

/// The writes of one phase. What gets an entry of its own goes first, what loses it last: in between, prefixes change
/// under those that follow them, longer ones before shorter ones.
#[derive(Default)]
struct Phase {
    own: Vec<Write>,
    prefixes: Vec<(Reverse<u8>, Write)>,
    follow: Vec<Write>,
    gone: Vec<Write>,
}

impl Phase {
    fn address(&mut self, address: IpAddr, class: Option<Class>) {
        let list = if class.is_some() { &mut self.own } else { &mut self.follow };
        list.push(Write::Address { address, class });
    }

    fn prefix(&mut self, prefix: IpNet, class: Option<Class>) {
        let write = Write::Prefix { prefix, class };
        match class {
            Some(_) => self.prefixes.push((Reverse(prefix.prefix_len()), write)),
            None => self.gone.push(write),
        }
    }

    fn into_writes(mut self) -> impl Iterator<Item = Write> {
        self.prefixes.sort_by_key(|(length, _)| *length);
        let prefixes = self.prefixes.into_iter().map(|(_, write)| write);
        self.own.into_iter().chain(prefixes).chain(self.gone).chain(self.follow)
    }
}

impl Compiler {
    /// Adds the writes of the moves to a plan. Gives the entry that each has in the end.
    pub(super) fn write_moves(
        &self,
        (moves, arounds): (&[Move], &Arounds),
        numbering: &Numbering,
        flips: bool,
        plan: &mut Plan,
    ) -> Vec<Option<Class>> {
        let numbers: HashMap<IpNet, usize> = (0..)
            .zip(moves)
            .filter_map(|(at, each)| if let Who::Prefix(net) = each.who { Some((net, at)) } else { None })
            .collect();
        let covers: Vec<Cover> = arounds.iter().map(|around| cover(around, numbering, &numbers)).collect();
        let (mut before, mut after) = (Phase::default(), Phase::default());
        let mut finals = Vec::with_capacity(moves.len());
        for (at, each) in moves.iter().enumerate() {
            let (during, end) = (numbering.during[at], numbering.after[at]);
            finals.push(match each.who {
                Who::Address(address) => {
                    let cover = &covers[each.around as usize];
                    let end = (end != cover.after).then_some(end);
                    let mut now = each.entry;
                    if !flips && now != end {
                        before.address(address, end);
                        now = end;
                    } else if now.unwrap_or(cover.during) != during {
                        before.address(address, Some(during));
                        now = Some(during);
                    }
                    if now != end {
                        after.address(address, end);
                    }
                    end
                }
                Who::Prefix(net) => {
                    let is_gone = self.places.prefix(net).is_none_or(super::places::Prefix::is_gone);
                    let end = (!is_gone).then_some(end);
                    let mut now = each.entry;
                    if !flips && now != end {
                        before.prefix(net, end);
                        now = end;
                    } else if flips && now.unwrap_or(each.old) != during || (now.is_none() && !is_gone && during != 0) {
                        before.prefix(net, Some(during));
                        now = Some(during);
                    }
                    if now != end {
                        after.prefix(net, end);
                    }
                    end
                }
            });
        }
        plan.writes.extend(before.into_writes());
        plan.settle.extend(after.into_writes());
        finals
    }

    /// Sees to it that there is room for the entries. Without its own, an address would be judged as its prefix is: so
    /// where there is none, the prefix is denied.
    pub(super) fn make_room(
        &self,
        moves: &mut Vec<Move>,
        arounds: &mut Arounds,
        fit: &mut Fit,
    ) -> Result<(), Shortage> {
        let signatures: HashMap<IpNet, &Signature> = moves
            .iter()
            .filter_map(|each| if let Who::Prefix(net) = each.who { Some((net, &each.signature)) } else { None })
            .collect();
        // What an address without an entry is judged by.
        let followed = |around: &Around| {
            let net = around.lasting()?;
            let known = || self.classes.signature(self.class_of_prefix(net).1);
            signatures.get(&net).copied().or_else(known).cloned()
        };
        let followed: Vec<Option<Signature>> = arounds.iter().map(followed).collect();
        drop(signatures);
        let limits = [self.limits.addresses4, self.limits.addresses6, self.limits.prefixes, self.limits.prefixes];
        let what = ["IPv4 addresses", "IPv6 addresses", "IPv4 prefixes", "IPv6 prefixes"];
        let mut entries = self.entries;
        let mut denied: HashMap<Who, AroundId> = HashMap::new();
        for each in moves.iter().filter(|each| each.entry.is_none()) {
            let kind = match each.who {
                Who::Address(_) if followed[each.around as usize].as_ref() == Some(&each.signature) => continue,
                Who::Address(address) => usize::from(address.is_ipv6()),
                Who::Prefix(net) => 2 + usize::from(net.addr().is_ipv6()),
            };
            entries[kind] += 1;
            if entries[kind] > u64::from(limits[kind]) {
                let shortage = Shortage { what: what[kind], wanted: entries[kind], limit: u64::from(limits[kind]) };
                fit.or(shortage, ())?;
                denied.insert(each.who, each.around);
            }
        }
        if denied.is_empty() {
            return Ok(());
        }
        // The longest prefix with an entry around what shall have none is denied, and so is whatever follows it.
        let judge = |around: AroundId| {
            let mut nets = arounds.get(around).nets.iter().filter(|(.., is_gone)| !is_gone).map(|(net, ..)| *net);
            nets.find(|net| !denied.contains_key(&Who::Prefix(*net)))
        };
        let mut shut: BTreeSet<IpNet> = denied.values().filter_map(|around| judge(*around)).collect();
        moves.retain(|each| {
            let follows = || followed[each.around as usize].as_ref() == Some(&each.signature);
            let is_shut = || judge(each.around).is_none_or(|net| shut.contains(&net));
            let is_follower = matches!(each.who, Who::Address(_)) && each.entry.is_none() && follows();
            !denied.contains_key(&each.who) && !(is_follower && is_shut())
        });
        let nothing: Signature = Arc::new([DENIED]);
        for each in moves.iter_mut() {
            if let Who::Prefix(net) = each.who
                && shut.remove(&net)
            {
                each.signature = Arc::clone(&nothing);
            }
        }
        for net in shut {
            let (entry, old) = self.class_of_prefix(net);
            let around = arounds.of_prefix(net, self);
            moves.push(Move { who: Who::Prefix(net), entry, old, around, signature: Arc::clone(&nothing) });
        }
        Ok(())
    }

    /// Notes the entries that the moves have led to, and which classes came and went.
    pub(super) fn commit_moves(&mut self, moves: &[Move], numbering: Numbering, finals: &[Option<Class>]) {
        let mut ended: Vec<Class> = Vec::new();
        let renewed: HashSet<Class> = numbering.changed.iter().map(|(class, _)| *class).collect();
        let stays =
            |each: &Move, end: &Option<Class>| each.entry == *end && end.is_none_or(|end| !renewed.contains(&end));
        let lost: Vec<_> = moves
            .iter()
            .zip(finals)
            .filter(|(each, end)| !stays(each, end))
            .map(|(each, _)| each.entry.map(|class| (class, self.classes.meaning(class))))
            .collect();
        let lasting: HashSet<Class> = numbering.after.iter().copied().collect();
        for (class, signature) in
            numbering.fresh.into_iter().map(|fresh| (fresh.class, fresh.signature)).chain(numbering.changed)
        {
            ended.push(class);
            // A number that only serves up to the flip must not be found by its atoms.
            if lasting.contains(&class) {
                let meaning = Meaning::of_atoms(&signature, &self.peers.meanings);
                self.classes.set(class, signature, meaning);
            } else {
                self.classes.borrow(class);
            }
        }
        let changing = moves.iter().zip(finals).filter(|(each, end)| !stays(each, end));
        for ((each, end), lost) in changing.zip(lost) {
            if let Some((class, meaning)) = lost {
                self.classes.leave(class);
                ended.push(class);
                self.sum.take(&Meaning::of_entry(each.who, meaning));
            }
            if let Some(class) = end {
                self.classes.join(*class);
                self.sum.add(&Meaning::of_entry(each.who, self.classes.meaning(*class)));
            }
            let kind = match each.who {
                Who::Address(address) => {
                    self.places.set_entry(address, *end);
                    usize::from(address.is_ipv6())
                }
                Who::Prefix(net) => {
                    self.places.set_prefix_entry(net, *end);
                    2 + usize::from(net.addr().is_ipv6())
                }
            };
            self.entries[kind] = self.entries[kind] + u64::from(end.is_some()) - u64::from(each.entry.is_some());
        }
        ended.sort_unstable();
        ended.dedup();
        ended.retain(|class| self.classes.end(*class));
        self.image.kill(&ended);
    }
}

/// What an address without an entry leads to by the prefixes around it.
fn cover(around: &Around, numbering: &Numbering, numbers: &HashMap<IpNet, usize>) -> Cover {
    let number = |net: &IpNet, list: &[Class], entry: Option<Class>| numbers.get(net).map(|at| list[*at]).or(entry);
    let during = around.nets.iter().find_map(|(net, entry, _)| number(net, &numbering.during, *entry));
    let lasting = around.nets.iter().filter(|(.., is_gone)| !is_gone);
    let after = lasting.into_iter().find_map(|(net, entry, _)| number(net, &numbering.after, *entry));
    Cover { during: during.unwrap_or(0), after: after.unwrap_or(0) }
}
