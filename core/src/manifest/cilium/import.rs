//! What an import comes to: policies, and where they are not exactly what the documents say.
use serde::Serialize;

use crate::model::{ClusterSelector, InvalidName, Name, Peer, Peers, Policy};

/// What an import comes to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Import {
    /// What was carried over: meant for the inventory of the cluster whose policies they were.
    pub policies: Vec<Policy>,
    /// Where that is not exactly what the documents say, in the order of the text.
    pub notes: Vec<Note>,
}

impl Import {
    /// The same for the hub, where many clusters' policies are: with the cluster before every policy's name, and in every
    /// selector that means the policy's own.
    ///
    /// # Errors
    /// A name becomes too long.
    pub fn of_cluster(mut self, name: &Name) -> Result<Self, InvalidName> {
        for policy in &mut self.policies {
            policy.name = Name::new(format!("{name}.{}", policy.name))?;
            let rules = policy.ingress.iter_mut().chain(&mut policy.egress).flatten();
            let peers = rules.flat_map(|rule| match &mut rule.peers {
                Peers::Any => Default::default(),
                Peers::Of(peers) => peers.as_mut_slice(),
            });
            let selectors = peers.filter_map(Peer::clusters_mut).chain([&mut policy.subject.clusters]);
            selectors.filter(|clusters| **clusters == ClusterSelector::Own).for_each(|clusters| {
                *clusters = ClusterSelector::Names(vec![name.clone()]);
            });
        }
        Ok(self)
    }

    /// Whether nothing is weaker for what could not be said, so that the policies stand for the documents.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.notes.iter().all(|note| note.effect != Effect::Refused)
    }

    /// Whether the policies mean exactly what the documents do.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.notes.iter().all(|note| note.effect == Effect::None)
    }
}

/// A part of a document that was not carried over as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Note {
    /// Line in the text, from 1.
    pub line: u64,
    /// Column in the line, from 1.
    pub column: u64,
    /// Its document: kind, namespace and name.
    pub document: String,
    /// The field's path.
    pub field: String,
    /// What became of it.
    pub effect: Effect,
    /// Why, and what to do.
    pub why: String,
}

/// What an inexact part does to the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// No verdict differs.
    None,
    /// Less is allowed than the document allows.
    Stricter,
    /// It cannot be said, and without it more would be allowed. A rule that denies denies more instead, whatever that may
    /// cut off; anything else was not carried over.
    Refused,
    /// A workload reaches its own node, which the document does not allow.
    Wider,
}
