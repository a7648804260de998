//! Sets of ports, and rows of verdicts by port class.
use std::ops::{BitAnd, BitOr, BitOrAssign, Not};

use crate::{
    model::{PortMatch, Protocol},
    policy::tables::{PortClass, PortTable, RowBits},
};

/// A set of ports, in one form only: sorted ranges that neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PortSet(Vec<(PortTable, u16, u16)>);

impl PortSet {
    /// The union of ranges, both ends included.
    pub(super) fn new(ranges: impl IntoIterator<Item = (PortTable, u16, u16)>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().collect();
        ranges.sort_unstable();
        let mut merged: Vec<(PortTable, u16, u16)> = Vec::with_capacity(ranges.len());
        for (table, first, last) in ranges {
            match merged.last_mut() {
                Some((of, _, end)) if *of == table && u32::from(first) <= u32::from(*end) + 1 => *end = last.max(*end),
                _ => merged.push((table, first, last)),
            }
        }
        Self(merged)
    }

    /// One port.
    pub(super) fn one(protocol: Protocol, port: u16) -> Self {
        Self(vec![(protocol.into(), port, port)])
    }

    /// Its ranges.
    pub(super) fn ranges(&self) -> &[(PortTable, u16, u16)] {
        &self.0
    }
}

/// The ports that a match means whoever the destination is; `None` for a named port.
pub(super) fn fixed_range(port: &PortMatch) -> Option<(PortTable, u16, u16)> {
    match port {
        PortMatch::Protocol(protocol) => Some(((*protocol).into(), 0, u16::MAX)),
        PortMatch::Range { protocol, first, last } => Some(((*protocol).into(), *first, *last)),
        PortMatch::IcmpType { protocol, kind, code } => {
            let [first, last] =
                [code.unwrap_or(0), code.unwrap_or(u8::MAX)].map(|code| u16::from_be_bytes([*kind, code]));
            Some(((*protocol).into(), first, last))
        }
        PortMatch::Named { .. } => None,
    }
}

/// A set of port classes; as a row, those that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Bits(pub(super) RowBits);

impl Bits {
    /// No port class.
    pub(super) const NONE: Self = Self([0; 8]);

    /// Whether this class is in it.
    pub(super) fn has(&self, class: PortClass) -> bool {
        self.0[usize::from(class) / 64] >> (class % 64) & 1 == 1
    }

    /// Adds this class or takes it out.
    pub(super) fn set(&mut self, class: PortClass, to: bool) {
        let (word, bit) = (&mut self.0[usize::from(class) / 64], 1 << (class % 64));
        if to { *word |= bit } else { *word &= !bit }
    }

    /// Whether it has none.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::NONE
    }
}

impl BitAnd for Bits {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }
}

impl BitOr for Bits {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }
}

impl BitOrAssign for Bits {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl Not for Bits {
    type Output = Self;
    fn not(self) -> Self {
        Self(self.0.map(|word| !word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_have_one_form() {
        use PortTable::{Tcp, Udp};
        let a = PortSet::new([(Tcp, 80, 90), (Udp, 1, 1), (Tcp, 85, 85), (Tcp, 91, 91), (Tcp, 0, 3)]);
        assert_eq!(a, PortSet::new([(Tcp, 0, 3), (Tcp, 80, 91), (Udp, 1, 1)]));
        assert_eq!(PortSet::new([(Tcp, 0, u16::MAX), (Tcp, 5, 5)]).ranges(), &[(Tcp, 0, u16::MAX)]);
    }

    #[test]
    fn icmp_types_without_a_code_mean_every_code() {
        let of = |code| fixed_range(&PortMatch::IcmpType { protocol: Protocol::Icmp, kind: 3, code });
        assert_eq!(of(Some(4)), Some((PortTable::Icmp, 0x0304, 0x0304)));
        assert_eq!(of(None), Some((PortTable::Icmp, 0x0300, 0x03ff)));
    }
}
