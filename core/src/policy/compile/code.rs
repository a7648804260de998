//! Policies as the tables' builder reads them: peers and ports are numbers, and a verdict is a few word operations.
use std::collections::BTreeSet;

use super::{
    atom::{ANY_PORT, AtomId, CLUSTER_SERVICE, OWN_NODE, PortName},
    ports::TermId,
    portset::Bits,
};
use crate::{
    model::Action,
    policy::{evaluate::Step, tables::Direction},
};

/// Number of a [`Code`].
pub(super) type CodeId = u32;

/// What a policy says, without its name: policies of equal rules have equal code.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Code {
    pub(super) ingress: Option<Vec<RuleCode>>,
    pub(super) egress: Option<Vec<RuleCode>>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RuleCode {
    pub(super) action: Action,
    pub(super) peers: PeerCode,
    pub(super) ports: PortCode,
}

/// Which addresses a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum PeerCode {
    Any,
    /// Those with one of the atoms `yes`; those with one of `maybe` may or may not be.
    Of {
        yes: Vec<AtomId>,
        maybe: Vec<AtomId>,
    },
}

/// Which ports a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum PortCode {
    Any,
    Of {
        /// The same for every destination.
        fixed: TermId,
        /// What the destination calls so.
        named: Vec<PortName>,
        /// Every port that a destination of unknown port names may call so. Only in rules that do not accept: in one
        /// that does, what may match is as good as what does not.
        unknown: Option<TermId>,
    },
}

impl Code {
    /// The rules of a direction.
    pub(super) fn rules(&self, direction: Direction) -> Option<&[RuleCode]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }

    fn all_rules(&self) -> impl Iterator<Item = &RuleCode> {
        self.ingress.iter().chain(&self.egress).flatten()
    }

    /// The atoms of its peers.
    pub(super) fn atoms(&self) -> BTreeSet<AtomId> {
        let of = |rule: &RuleCode| match &rule.peers {
            PeerCode::Any => Vec::new(),
            PeerCode::Of { yes, maybe } => [yes.as_slice(), maybe].concat(),
        };
        self.all_rules().flat_map(of).collect()
    }

    /// The port terms that it names.
    pub(super) fn terms(&self) -> BTreeSet<TermId> {
        let of = |rule: &RuleCode| match &rule.ports {
            PortCode::Any => Vec::new(),
            PortCode::Of { fixed, unknown, .. } => std::iter::once(*fixed).chain(*unknown).collect(),
        };
        self.all_rules().flat_map(of).collect()
    }

    /// Whether it asks for destinations whose port names are not known.
    pub(super) fn asks_for_any_port(&self) -> bool {
        self.egress.iter().flatten().any(|rule| matches!(rule.ports, PortCode::Of { unknown: Some(_), .. }))
    }

    /// The names of ports that one direction uses.
    pub(super) fn port_names(&self, direction: Direction) -> BTreeSet<&PortName> {
        let rules = self.rules(direction).into_iter().flatten();
        rules
            .flat_map(|rule| match &rule.ports {
                PortCode::Any => &[],
                PortCode::Of { named, .. } => named.as_slice(),
            })
            .collect()
    }
}

/// Number of a [`Program`].
pub(super) type ProgramId = u32;

/// One direction of the policy of a workload: what a slot is built from. Workloads of equal programs share the slot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Program {
    pub(super) direction: Direction,
    /// Whether what nobody decides is denied.
    pub(super) default_deny: bool,
    /// In the order of decision.
    pub(super) policies: Vec<Ranked>,
    /// Ingress: the workload's own ports, as far as rules name them.
    pub(super) named: Vec<(PortName, u16)>,
}

/// A policy at its place in the order of decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ranked {
    pub(super) step: Step,
    pub(super) priority: u16,
    pub(super) code: CodeId,
}

impl Program {
    /// Whether it asks if the other side is the workload's own node.
    pub(super) fn asks_for_own_node(&self) -> bool {
        self.default_deny || self.policies.iter().any(|policy| policy.step == Step::Namespace)
    }
}

/// What a program is judged with: the numbers behind its atoms and terms.
pub(super) trait Lookup {
    /// A code.
    fn code(&self, id: CodeId) -> &Code;
    /// The port classes of a term.
    fn mask(&self, term: TermId) -> Bits;
    /// Those of a single port, if some rule in force names it.
    fn port_mask(&self, name: &PortName, port: u16) -> Bits;
    /// Every port class that rules can judge.
    fn all(&self) -> Bits;
    /// What the other side's atoms say about a name for ports: the ports it calls so.
    fn named(&self, atoms: &[AtomId], name: &PortName) -> Bits;
}

/// Where a rule matches, by port class.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matched {
    pub(super) yes: Bits,
    pub(super) maybe: Bits,
}

/// What a step may come to, by port class.
struct Outcomes {
    deny: Bits,
    next: Bits,
}

/// What the first rules of one or more policies may come to, by port class.
#[derive(Clone, Copy)]
struct Hits {
    deny: Bits,
    pass: Bits,
    accept: Bits,
    none: Bits,
}

/// The verdicts of a program on an address with these atoms, by port class.
pub(super) fn row(program: &Program, atoms: &[AtomId], lookup: &impl Lookup) -> Bits {
    // Whoever is told anything may be told something of one of its backends, at a port that this packet does not show.
    if atoms.contains(&CLUSTER_SERVICE) {
        return Bits::NONE;
    }
    let all = lookup.all();
    let own_node = atoms.contains(&OWN_NODE);
    let (mut denied, mut live) = (Bits::NONE, all);
    for step in program.policies.chunk_by(|a, b| a.step == b.step) {
        let outcomes = match step {
            [Ranked { step: Step::Namespace, .. }, ..] => namespace_step(program, step, atoms, own_node, lookup),
            _ => tier_step(program, step, atoms, lookup),
        };
        denied |= live & outcomes.deny;
        live = live & outcomes.next;
    }
    if program.default_deny && !own_node {
        denied |= live;
    }
    all & !denied
}

/// What any policy certainly accepts; the rest is denied, but for the workload's own node.
fn namespace_step(
    program: &Program,
    policies: &[Ranked],
    atoms: &[AtomId],
    own_node: bool,
    lookup: &impl Lookup,
) -> Outcomes {
    let mut accept = Bits::NONE;
    for policy in policies {
        let rules = lookup.code(policy.code).rules(program.direction).unwrap_or_default();
        for rule in rules.iter().filter(|rule| rule.action == Action::Accept) {
            accept |= matched(program, rule, atoms, lookup).yes;
        }
    }
    let rest = lookup.all() & !accept;
    if own_node { Outcomes { deny: Bits::NONE, next: rest } } else { Outcomes { deny: rest, next: Bits::NONE } }
}

/// By priority; of equals the strongest action.
fn tier_step(program: &Program, policies: &[Ranked], atoms: &[AtomId], lookup: &impl Lookup) -> Outcomes {
    let mut outcomes = Outcomes { deny: Bits::NONE, next: Bits::NONE };
    let mut live = lookup.all();
    for equals in policies.chunk_by(|a, b| a.priority == b.priority) {
        let each = equals.iter().map(|policy| first_hits(program, policy.code, atoms, lookup));
        let Some(hits) = each.reduce(strongest) else { continue };
        outcomes.deny |= live & hits.deny;
        outcomes.next |= live & hits.pass;
        live = live & hits.none;
    }
    outcomes.next |= live;
    outcomes
}

/// What the first matching rule of a policy may say.
fn first_hits(program: &Program, code: CodeId, atoms: &[AtomId], lookup: &impl Lookup) -> Hits {
    let mut hits = Hits { deny: Bits::NONE, pass: Bits::NONE, accept: Bits::NONE, none: lookup.all() };
    for rule in lookup.code(code).rules(program.direction).unwrap_or_default() {
        let matched = matched(program, rule, atoms, lookup);
        let reached = hits.none & (matched.yes | matched.maybe);
        match rule.action {
            Action::Deny => hits.deny |= reached,
            Action::Pass => hits.pass |= reached,
            Action::Accept => hits.accept |= reached,
        }
        hits.none = hits.none & !matched.yes;
        if hits.none.is_empty() {
            break;
        }
    }
    hits
}

/// What two policies of equal priority may come to: Deny before Pass before Accept before nothing.
fn strongest(a: Hits, b: Hits) -> Hits {
    let not_deny = |hits: Hits| hits.pass | hits.accept | hits.none;
    let weaker_than_pass = |hits: Hits| hits.accept | hits.none;
    Hits {
        deny: a.deny | b.deny,
        pass: (a.pass & not_deny(b)) | (b.pass & not_deny(a)),
        accept: (a.accept & weaker_than_pass(b)) | (b.accept & weaker_than_pass(a)),
        none: a.none & b.none,
    }
}

/// Where a rule matches a packet from or to an address with these atoms.
pub(super) fn matched(program: &Program, rule: &RuleCode, atoms: &[AtomId], lookup: &impl Lookup) -> Matched {
    let (certain, possible) = match &rule.peers {
        PeerCode::Any => (true, true),
        PeerCode::Of { yes, maybe } => {
            let certain = yes.iter().any(|atom| atoms.binary_search(atom).is_ok());
            (certain, certain || maybe.iter().any(|atom| atoms.binary_search(atom).is_ok()))
        }
    };
    if !possible {
        return Matched { yes: Bits::NONE, maybe: Bits::NONE };
    }
    let (yes, maybe) = match &rule.ports {
        PortCode::Any => (lookup.all(), Bits::NONE),
        PortCode::Of { fixed, named, unknown } => {
            let mut yes = lookup.mask(*fixed);
            for name in named {
                yes |= match program.direction {
                    Direction::Egress => lookup.named(atoms, name),
                    Direction::Ingress => own_ports(program, name, lookup),
                };
            }
            let unknown = unknown.filter(|_| program.direction == Direction::Egress && atoms.contains(&ANY_PORT));
            (yes, unknown.map_or(Bits::NONE, |term| lookup.mask(term)))
        }
    };
    if certain { Matched { yes, maybe } } else { Matched { yes: Bits::NONE, maybe: yes | maybe } }
}

fn own_ports(program: &Program, name: &PortName, lookup: &impl Lookup) -> Bits {
    let own = program.named.iter().filter(|(own, _)| own == name);
    own.fold(Bits::NONE, |bits, (name, port)| bits | lookup.port_mask(name, *port))
}
