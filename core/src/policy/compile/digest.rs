//! What the tables mean, without the numbers that happen to stand for it.
use std::{
    hash::{Hash, Hasher},
    net::IpAddr,
};

use ipnet::IpNet;
use smallvec::SmallVec;

use super::{
    Compiler,
    atom::AtomId,
    code::{Code, PeerCode, PortCode, Program, RuleCode},
    image::finalise,
    locals::Course,
    moves::Who,
};
use crate::policy::tables::{Direction, SLOT_ACCEPT, SLOT_DENY};

/// A hash of something's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Meaning(pub(super) [u8; 32]);

/// Feeds a value to BLAKE3, the same on every machine.
struct Feed(blake3::Hasher);

impl Hasher for Feed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn write_u16(&mut self, number: u16) {
        self.write(&number.to_le_bytes());
    }

    fn write_u32(&mut self, number: u32) {
        self.write(&number.to_le_bytes());
    }

    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }

    fn write_u128(&mut self, number: u128) {
        self.write(&number.to_le_bytes());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    /// Not used: a meaning has 256 bits.
    fn finish(&self) -> u64 {
        0
    }
}

impl Meaning {
    /// The meaning of a value that contains no numbers of this compiler.
    pub(super) fn of(value: &impl Hash) -> Self {
        let mut feed = Feed(blake3::Hasher::new());
        value.hash(&mut feed);
        Self(*feed.0.finalize().as_bytes())
    }

    /// The meaning of several, in any order.
    fn of_set(set: impl IntoIterator<Item = Self>) -> Self {
        let mut set: SmallVec<[Self; 8]> = set.into_iter().collect();
        set.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for meaning in set {
            hasher.update(&meaning.0);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The meaning of a set of atoms, whose own meanings are `known` by their numbers.
    pub(super) fn of_atoms(atoms: &[AtomId], known: &[Self]) -> Self {
        Self::of_set(atoms.iter().map(|atom| known.get(*atom as usize).copied().unwrap_or_default()))
    }

    /// The meaning of an entry. Its class has been hashed well; where it is goes in by the finaliser of splitmix64, since
    /// a node may have a million of them. That finds whatever went wrong, not somebody who looks for equal sums.
    pub(super) fn of_entry(who: Who, class: Self) -> Self {
        let (kind, net) = match who {
            Who::Address(address) => (0, IpNet::from(address)),
            Who::Prefix(net) => (1, net),
        };
        let (family, bits) = match net.addr() {
            IpAddr::V4(address) => (0, u128::from(address.to_bits())),
            IpAddr::V6(address) => (1, address.to_bits()),
        };
        let place = [bits as u64, (bits >> 64) as u64, kind << 16 | family << 8 | u64::from(net.prefix_len())];
        let mut meaning = class;
        for (lane, bytes) in (1u64..).zip(meaning.0.as_chunks_mut().0) {
            let start = u64::from_le_bytes(*bytes) ^ lane;
            *bytes = place.iter().fold(start, |hash, part| finalise(hash ^ part)).to_le_bytes();
        }
        meaning
    }
}

/// A sum of meanings: the same whatever the order, and one can be taken out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sum([u64; 4]);

impl Sum {
    pub(super) fn add(&mut self, meaning: &Meaning) {
        self.each(meaning, u64::wrapping_add);
    }

    pub(super) fn take(&mut self, meaning: &Meaning) {
        self.each(meaning, u64::wrapping_sub);
    }

    fn each(&mut self, meaning: &Meaning, operation: fn(u64, u64) -> u64) {
        for (sum, bytes) in self.0.iter_mut().zip(meaning.0.as_chunks().0) {
            *sum = operation(*sum, u64::from_le_bytes(*bytes));
        }
    }
}

impl Compiler {
    /// A digest over what the tables mean, without the numbers in them: equal states have equal digests, whatever
    /// happened on the way.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut parts = vec![Meaning::of(&(self.sum.0, self.is_degraded)).0];
        for (uid, local) in &self.locals {
            let Some(words) = local.words else { continue };
            let course = |at: usize| match (words[at], local.courses[at]) {
                (SLOT_DENY, _) => Meaning::of(&"deny"),
                (SLOT_ACCEPT, _) => Meaning::of(&"accept"),
                (_, Course::Program(id)) => self.standing.get(id).map(|stand| stand.meaning).unwrap_or_default(),
                _ => Meaning::default(),
            };
            parts.push(Meaning::of(&(uid.0, course(0).0, course(1).0)).0);
        }
        Meaning::of(&parts).0
    }

    pub(super) fn meaning_of_program(&self, program: &Program) -> Meaning {
        let mut policies: Vec<_> = program
            .policies
            .iter()
            .map(|policy| {
                let code = self.policies.codes.get(policy.code);
                (policy.step, policy.priority, self.meaning_of_code(code, program.direction).0)
            })
            .collect();
        policies.sort_unstable();
        Meaning::of(&(program.direction, program.default_deny, policies, &program.named))
    }

    fn meaning_of_code(&self, code: &Code, direction: Direction) -> Meaning {
        let rules = code.rules(direction).unwrap_or_default();
        Meaning::of(&rules.iter().map(|rule| self.meaning_of_rule(rule).0).collect::<Vec<_>>())
    }

    fn meaning_of_rule(&self, rule: &RuleCode) -> Meaning {
        let peers = match &rule.peers {
            PeerCode::Any => None,
            PeerCode::Of { yes, maybe } => {
                Some([yes, maybe].map(|atoms| Meaning::of_atoms(atoms, &self.peers.meanings).0))
            }
        };
        let ports = match &rule.ports {
            PortCode::Any => None,
            PortCode::Of { fixed, named, unknown } => {
                let unknown = unknown.map(|term| self.policies.terms.get(term).as_ref());
                Some((self.policies.terms.get(*fixed).as_ref(), named, unknown))
            }
        };
        Meaning::of(&(rule.action, peers, ports))
    }
}
