//! A verdict for every protocol and port, before and after a change.
use std::collections::BTreeSet;

use crate::{
    model::{NamedPort, PortMatch, Ports, Protocol},
    policy::{Target, Verdict, tables::PortTable},
};

/// Two verdicts for every protocol and port: what is said before and after.
///
/// Ports of all tables stand in one row, one table after the other; each step says what holds from there on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Curve(Vec<(u32, [Verdict; 2])>);

/// Ports of one table, first and last, and the verdict that they get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Which protocol.
    pub table: PortTable,
    /// The first port; for ICMP type times 256 plus code.
    pub first: u16,
    /// The last one, included.
    pub last: u16,
}

const TABLE: u32 = 1 << 16;

fn at(table: PortTable, number: u16) -> u32 {
    table as u32 * TABLE + u32::from(number)
}

/// The protocol and port at a place of the row.
pub(super) fn target(place: u32) -> Target {
    let table = PortTable::ALL[(place / TABLE) as usize];
    Target { table, number: (place % TABLE) as u16 }
}

/// Where verdicts may change, gathered from the ports of rules.
#[derive(Debug, Clone)]
pub(super) struct Cuts(BTreeSet<u32>);

impl Cuts {
    /// Between tables only.
    pub(super) fn new() -> Self {
        Self(PortTable::ALL.map(|table| at(table, 0)).into())
    }

    fn range(&mut self, protocol: Protocol, first: u16, last: u16) {
        self.0.extend([at(protocol.into(), first), at(protocol.into(), last) + 1]);
    }

    /// At the ports of a rule, which names some of `named`.
    pub(super) fn add(&mut self, ports: &Ports, named: &[NamedPort]) {
        let Ports::Of(ports) = ports else { return };
        for port in ports {
            match port {
                // The tables are cut apart already.
                PortMatch::Protocol(_) => {}
                PortMatch::Range { protocol, first, last } => self.range(*protocol, *first, *last),
                PortMatch::Named { name, .. } => {
                    for known in named.iter().filter(|known| known.name == *name) {
                        self.range(known.protocol, known.port, known.port);
                    }
                }
                PortMatch::IcmpType { protocol, kind, code } => {
                    let [first, last] = [code.unwrap_or(0), code.unwrap_or(u8::MAX)];
                    self.range(*protocol, u16::from_be_bytes([*kind, first]), u16::from_be_bytes([*kind, last]));
                }
            }
        }
    }

    /// The curve of a question asked wherever the answer may change.
    pub(super) fn curve(&self, mut ask: impl FnMut(Target) -> [Verdict; 2]) -> Curve {
        // Past the last table there is nothing.
        let places = self.0.iter().filter(|place| **place < PortTable::ALL.len() as u32 * TABLE);
        let mut steps: Vec<(u32, [Verdict; 2])> = Vec::with_capacity(self.0.len());
        for place in places {
            let verdicts = ask(target(*place));
            if steps.last().is_none_or(|(_, last)| *last != verdicts) {
                steps.push((*place, verdicts));
            }
        }
        Curve(steps)
    }

    /// A place of every stretch between two cuts.
    pub(super) fn targets(&self) -> impl Iterator<Item = Target> + '_ {
        self.0.iter().filter(|place| **place < PortTable::ALL.len() as u32 * TABLE).map(|place| target(*place))
    }
}

impl Curve {
    /// Who has no say accepts.
    pub(super) fn accept() -> Self {
        Self(vec![(0, [Verdict::Accept; 2])])
    }

    /// Whether anything changes.
    pub(super) fn changes(&self) -> bool {
        self.0.iter().any(|(_, [before, after])| before != after)
    }

    /// What changes for a flow if its other end says `other`: ports that become accepted and ports that become denied.
    pub(super) fn with(&self, other: &Self) -> [Vec<Span>; 2] {
        let mut changed = [Vec::new(), Vec::new()];
        let places: BTreeSet<u32> = self.0.iter().chain(&other.0).map(|(place, _)| *place).collect();
        let mut places = places.into_iter().peekable();
        while let Some(first) = places.next() {
            let end = places.peek().copied().unwrap_or(PortTable::ALL.len() as u32 * TABLE);
            let (ours, theirs) = (self.at(first), other.at(first));
            let [before, after] = [ours[0].min(theirs[0]), ours[1].min(theirs[1])];
            match (before, after) {
                (Verdict::Deny, Verdict::Accept) => add(&mut changed[0], first, end),
                (Verdict::Accept, Verdict::Deny) => add(&mut changed[1], first, end),
                _ => {}
            }
        }
        changed
    }

    fn at(&self, place: u32) -> [Verdict; 2] {
        let next = self.0.partition_point(|(step, _)| *step <= place);
        next.checked_sub(1).map_or([Verdict::Deny; 2], |last| self.0[last].1)
    }
}

/// Adds the places from `first` to before `end`, cut where tables end.
fn add(spans: &mut Vec<Span>, mut first: u32, end: u32) {
    while first < end {
        let stop = end.min((first / TABLE + 1) * TABLE);
        let (from, to) = (target(first), target(stop - 1));
        let follows = |last: &&mut Span| last.table == from.table && last.last.checked_add(1) == Some(from.number);
        match spans.last_mut().filter(follows) {
            Some(last) => last.last = to.number,
            None => spans.push(Span { table: from.table, first: from.number, last: to.number }),
        }
        first = stop;
    }
}

impl Span {
    /// Whether a packet is meant.
    #[must_use]
    pub fn has(&self, target: Target) -> bool {
        self.table == target.table && (self.first..=self.last).contains(&target.number)
    }
}
