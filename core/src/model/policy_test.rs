//! What people want to stay true of the fleet's policies.
use std::net::IpAddr;

use super::{Action, Labels, Name, Protocol};

/// Assertions about who may talk to whom, kept with the fleet's policies: a change of policies that would break one is
/// refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyTest {
    /// Unique in the fleet.
    pub name: Name,
    /// For people.
    pub description: String,
    /// What must hold, at least one.
    pub assertions: Vec<Assertion>,
}

/// One thing that must hold of every flow from one end to the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// For people; may be empty.
    pub name: String,
    /// Who sends.
    pub from: TestEnd,
    /// Who receives.
    pub to: TestEnd,
    /// Which protocol.
    pub protocol: Protocol,
    /// The destination's port; for ICMP type times 256 plus code.
    pub port: u16,
    /// What the flows must get: Accept or Deny.
    pub verdict: Action,
    /// Who must decide so, at one end at least.
    pub rule: Option<ExpectedRule>,
}

/// One end of the flows of an assertion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestEnd {
    /// A workload that runs.
    Workload {
        /// Its cluster.
        cluster: Name,
        /// Its namespace.
        namespace: Name,
        /// Its name.
        name: Name,
    },
    /// Every workload with these labels; where none runs, one that is imagined, with just these.
    Labels {
        /// In these clusters, by name; none stands for all.
        clusters: Vec<Name>,
        /// In this namespace.
        namespace: Name,
        /// With these labels at least.
        labels: Labels,
    },
    /// Whoever is at an address.
    Address(IpAddr),
}

/// A rule by the names that people gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedRule {
    /// The policy's name.
    pub policy: Name,
    /// The rule's name, or its place as `ingress[0]`; any of the policy if absent.
    pub rule: Option<String>,
}
