//! What can be asked of the hub's state.
use crate::{
    log::{Delta, Position, Record, Snapshot},
    model::{Cluster, Fleet, Name, Policy, PolicyTest, Uid},
    refusal::Refusal,
};

/// A request to change the state.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// Who asks: `user:alice`, `cluster:<uid>/relay`, `hub`.
    pub actor: String,
    /// The asker's own id of this request, may be empty. A repeated one is answered with the first one's revision.
    pub request_id: String,
    /// When it came, in milliseconds since 1970.
    pub time_ms: u64,
    /// Fresh random bytes, from which the uids of new objects are drawn.
    pub entropy: [u8; 32],
}

/// What is asked. One command becomes one revision.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// The fleet's settings, once, before anything else.
    Begin {
        /// The settings.
        fleet: Fleet,
    },
    /// A new member cluster.
    AddCluster {
        /// Its definition.
        cluster: Cluster,
    },
    /// A cluster leaves, with everything that it owns.
    RemoveCluster {
        /// Which.
        name: Name,
    },
    /// A cluster is about to leave, or stays after all: others lead nobody to its backends meanwhile.
    DrainCluster {
        /// Which.
        name: Name,
        /// About to leave?
        draining: bool,
    },
    /// A node is gone for good, with its endpoints.
    RemoveNode {
        /// Of which cluster.
        cluster: Name,
        /// Which.
        node: Name,
    },
    /// Fleet policies, written or replaced together.
    PutPolicies {
        /// Which.
        policies: Vec<Policy>,
    },
    /// A fleet policy goes out of effect, or back into it.
    DisablePolicy {
        /// Of which namespace, if of one.
        namespace: Option<Name>,
        /// Which.
        name: Name,
        /// Out of effect?
        disabled: bool,
    },
    /// A fleet policy goes.
    DeletePolicy {
        /// Of which namespace, if of one.
        namespace: Option<Name>,
        /// Which.
        name: Name,
    },
    /// Something was done that is not in the log: it changes no object, and is in the audit trail.
    Note {
        /// What, as people say it.
        action: String,
    },
    /// Tests of the fleet's policies, written or replaced together.
    PutTests {
        /// Which.
        tests: Vec<PolicyTest>,
    },
    /// A test of the fleet's policies goes.
    DeleteTest {
        /// Which.
        name: Name,
    },
    /// Several, as one revision: all or none.
    Together(Vec<Command>),
    /// A change of policies that somebody has looked at together with all policies and tests. It is refused, with
    /// [`CHANGED_SINCE`](crate::state::CHANGED_SINCE), if any of those has changed since.
    Checked {
        /// The change.
        command: Box<Command>,
        /// The revision at which it was looked at.
        at: u64,
        /// For the audit trail, behind the action; may be empty.
        note: String,
    },
    /// A cluster's own log went on.
    TakeDelta {
        /// Whose log, from its certificate.
        cluster: Uid,
        /// How far the session that brought it knows that log to be taken in; see [`State::intake`](super::State::intake).
        after: Option<Position>,
        /// How.
        delta: Delta,
    },
    /// A cluster's own log, whole: what it does not hold is gone.
    TakeSnapshot {
        /// Whose log, from its certificate.
        cluster: Uid,
        /// As in [`TakeDelta`](Self::TakeDelta).
        after: Option<Position>,
        /// All of it that can be read.
        snapshot: Snapshot,
        /// What of it cannot: it stays as it was.
        refused: Vec<Refusal>,
    },
}

/// The outcome of a request.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, and most are the large one")]
pub enum Decision {
    /// This record is to be written. What was left out of it is named.
    Write {
        /// Sealed: the next of the log.
        record: Record,
        /// Objects that were not taken.
        refused: Vec<Refusal>,
    },
    /// Everything is so already.
    Nothing {
        /// Objects that were not taken.
        refused: Vec<Refusal>,
    },
    /// The same request was answered by this revision.
    Repeated {
        /// Which.
        revision: u64,
    },
}

impl Command {
    /// The command as people say it, for the audit trail.
    #[must_use]
    pub fn action(&self) -> String {
        match self {
            Self::Begin { .. } => "fleet begin".into(),
            Self::AddCluster { cluster } => format!("cluster add {}", cluster.name),
            Self::RemoveCluster { name } => format!("cluster remove {name}"),
            Self::DrainCluster { name, draining: true } => format!("cluster drain {name}"),
            Self::DrainCluster { name, draining: false } => format!("cluster drain {name} --undo"),
            Self::RemoveNode { cluster, node } => format!("node remove {cluster}/{node}"),
            Self::PutPolicies { policies } => {
                let names: Vec<String> = policies.iter().map(Policy::title).collect();
                format!("policy apply {}", names.join(", "))
            }
            Self::DisablePolicy { namespace, name, disabled } => {
                let verb = if *disabled { "disable" } else { "enable" };
                format!("policy {verb} {}", title(namespace.as_ref(), name))
            }
            Self::DeletePolicy { namespace, name } => format!("policy delete {}", title(namespace.as_ref(), name)),
            Self::Note { action } => action.clone(),
            Self::PutTests { tests } => {
                let names: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
                format!("policy test apply {}", names.join(", "))
            }
            Self::DeleteTest { name } => format!("policy test delete {name}"),
            Self::Together(commands) => commands.iter().map(Self::action).collect::<Vec<_>>().join("; "),
            Self::Checked { command, note, .. } if note.is_empty() => command.action(),
            Self::Checked { command, note, .. } => format!("{} ({note})", command.action()),
            Self::TakeDelta { delta, .. } => format!("cluster sync to {}", delta.to.revision),
            Self::TakeSnapshot { snapshot, .. } => format!("cluster resync to {}", snapshot.at.revision),
        }
    }
}

fn title(namespace: Option<&Name>, name: &Name) -> String {
    namespace.map_or_else(|| name.to_string(), |namespace| format!("{namespace}/{name}"))
}
