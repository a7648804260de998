//! Verdicts and who decided them.
use crate::{model::Uid, policy::tables::Direction};

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It vanishes. Less than [`Verdict::Accept`], so that the least is the strictest.
    Deny,
    /// It goes on.
    Accept,
}

/// A rule, named the same in every cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId {
    /// Its policy's uid.
    pub policy: Uid,
    /// The revision that last wrote the policy.
    pub revision: u64,
    /// In which of the policy's two lists it stands.
    pub direction: Direction,
    /// Where in the list, from 0.
    pub index: u32,
}

/// Why a verdict is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// This rule decided.
    Rule(RuleId),
    /// A policy of the namespace tier selects this direction (the first by name is given) and none there accepts.
    Isolated {
        /// The policy's uid.
        policy: Uid,
        /// The revision that last wrote it.
        revision: u64,
        /// The direction that it selects.
        direction: Direction,
    },
    /// No policy decided: the default action of the workload's cluster did.
    Default,
    /// No policy decided, and a workload is never cut off from its own node by default.
    OwnNode,
    /// The other side is the workload itself: that never leaves it, nothing can block it. Source: NetworkPolicy.
    Itself,
    /// The other side is a service address: policy judges backends, no packet may carry the service's own address. Of a
    /// service of the cluster itself, none to or from a workload about which any policy says anything in that direction.
    ServiceAddress,
    /// The other side's cluster is not known here (yet): denied until it is.
    UnknownCluster,
    /// The labels of the workload's own namespace are not known here (yet): denied until they are.
    UnknownNamespace,
}

/// A verdict with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ruling {
    /// What happens.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
}

/// What one end says to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Side {
    /// What is enforced.
    pub ruling: Ruling,
    /// What would be enforced if the policies in audit did decide, where that differs in verdict.
    pub audit: Option<Ruling>,
}

/// What both ends say to a flow. An end that is no workload of the mesh says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decision {
    /// The sender's end.
    pub egress: Option<Side>,
    /// The receiver's end.
    pub ingress: Option<Side>,
}

impl Decision {
    /// Accepted if both ends do.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let ends = [self.egress, self.ingress];
        ends.iter().flatten().map(|side| side.ruling.verdict).min().unwrap_or(Verdict::Accept)
    }
}
