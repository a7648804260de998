//! From objects to tables: which writes make the packet path of one node decide as the policies say.
use crate::{
    log::Change,
    model::{Key, Name, Uid},
    policy::{
        decision::Ruling,
        tables::{Direction, Limits, Local, Plan, PortTable, Slot},
    },
};

/// Whose tables these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The node's cluster.
    pub cluster: Uid,
    /// The node's name.
    pub node: Name,
}

/// What an update comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// How to bring the tables there.
    pub plan: Plan,
    /// What did not fit. Empty: everything is in the plan.
    pub refused: Vec<Refusal>,
}

/// Something that the tables have no room for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject} does not fit on this node: {shortage}")]
pub struct Refusal {
    /// What was refused.
    pub subject: Refused,
    /// What there is too little of.
    pub shortage: Shortage,
}

/// What can be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A policy of the update: none of the update's policy changes takes effect, the versions before stay in force.
    Policy {
        /// Its name.
        key: Key,
        /// Its incarnation.
        uid: Uid,
        /// The revision that wrote it.
        revision: u64,
    },
    /// Something that cannot be turned away, such as workloads: what does not fit is denied, never let through.
    State,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Policy { key, revision, .. } => write!(f, "{key} of revision {revision}"),
            Self::State => write!(f, "the present state"),
        }
    }
}

/// A table that is too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} {what} are needed and there is room for {limit}")]
pub struct Shortage {
    /// Of what, in the plural.
    pub what: &'static str,
    /// How many are needed, while the change is under way.
    pub wanted: u64,
    /// How many there is room for.
    pub limit: u64,
}

/// A workload of this node and where the tables have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalWorkload {
    /// Its endpoint.
    pub endpoint: Uid,
    /// Its number.
    pub local: Local,
    /// Its slot for what reaches it.
    pub ingress: Slot,
    /// Its slot for what it sends.
    pub egress: Slot,
}

/// How full the tables are, in the fields of [`Limits`].
pub type Usage = Limits;

/// Keeps the tables of one node in step with the objects that it knows.
#[derive(Debug)]
pub struct Compiler {
    context: Context,
    limits: Limits,
}

impl Compiler {
    /// A compiler of empty tables, which know nothing and accept nothing.
    #[must_use]
    pub fn new(context: Context, limits: Limits) -> Self {
        Self { context, limits }
    }

    /// Takes the changes of one revision over and says which writes bring the tables there. The caller makes all of
    /// them, or starts again from [`Compiler::rebuild`] on empty tables.
    pub fn update(&mut self, changes: &[Change]) -> Outcome {
        let _ = (changes, &self.context, self.limits);
        Outcome::default()
    }

    /// The writes that bring empty tables to the present state.
    #[must_use]
    pub fn rebuild(&self) -> Plan {
        Plan::default()
    }

    /// This node's workloads, in the order of their uids.
    pub fn locals(&self) -> impl Iterator<Item = LocalWorkload> {
        std::iter::empty()
    }

    /// Why the tables judge a packet as they do; see [`super::tables::Tables::verdict`]. `None` where no workload has
    /// this number.
    #[must_use]
    pub fn attribute(
        &self,
        local: Local,
        direction: Direction,
        peer: std::net::IpAddr,
        table: PortTable,
        port: u16,
    ) -> Option<Ruling> {
        let _ = (local, direction, peer, table, port);
        None
    }

    /// A digest over what the tables mean, without the numbers in them: equal states have equal digests, whatever
    /// happened on the way.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        [0; 32]
    }

    /// How full the tables are.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.limits
    }
}
