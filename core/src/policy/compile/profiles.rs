//! Profiles: workloads that no selector can tell apart share one.
use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use hashbrown::Equivalent;

use super::{
    atom::{By, Clusters, PodSelector},
    index::is_anchor_only,
    nouns::Nouns,
    workloads,
};
use crate::{
    identity::Identity,
    model::{Endpoint, IdentityId, LabelSelector, Resource, Uid},
    policy::matching::selects_backend,
};

/// What selectors see of a workload: its cluster, its namespace, its account and its labels.
#[derive(Debug)]
pub(super) struct Profile {
    cluster: Uid,
    /// An endpoint that looks so: its text is kept once, not once more for the profile.
    like: Arc<Resource>,
    /// All that is seen, in one piece: whether an endpoint looks so is asked for every one that comes.
    text: Box<[u8]>,
}

impl Profile {
    /// What is seen of an endpoint whose text this is.
    pub(super) fn new(cluster: Uid, like: &Arc<Resource>, text: &Text<'_>) -> Self {
        Self { cluster, like: Arc::clone(like), text: text.0.into() }
    }

    pub(super) fn cluster(&self) -> Uid {
        self.cluster
    }

    /// An endpoint that looks so.
    pub(super) fn seen(&self) -> Option<&Endpoint> {
        workloads::endpoint(&self.like)
    }
}

impl PartialEq for Profile {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Profile {}

impl Hash for Profile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// The text of a profile.
#[derive(Hash)]
pub(super) struct Text<'t>(&'t [u8]);

impl Equivalent<Arc<Profile>> for Text<'_> {
    fn equivalent(&self, profile: &Arc<Profile>) -> bool {
        *self.0 == *profile.text
    }
}

impl<'t> Text<'t> {
    /// Writes what is seen of an endpoint: equal texts are equal profiles, since every part says how long it is.
    pub(super) fn write(text: &'t mut Vec<u8>, cluster: Uid, endpoint: &Endpoint) -> Self {
        text.clear();
        text.extend_from_slice(&cluster.0);
        let labels = endpoint.labels.iter().flat_map(|(key, value)| [key.as_str(), value]);
        for part in [endpoint.namespace.as_str(), &endpoint.service_account].into_iter().chain(labels) {
            text.extend_from_slice(&(part.len() as u32).to_le_bytes());
            text.extend_from_slice(part.as_bytes());
        }
        Self(text)
    }
}

/// How much is known of the workloads of a profile.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// Not even their cluster.
    #[default]
    Nothing,
    /// Their cluster, not the labels of their namespace.
    Cluster,
    /// What selectors ask.
    Everything,
}

/// Whether a cluster is one of these and known.
pub(super) fn contains(clusters: &Clusters, uid: Uid, nouns: &Nouns) -> bool {
    nouns.cluster(uid).is_some_and(|cluster| clusters.contains(uid, cluster))
}

/// Whether the workloads of this profile, which was found by its labels and of which everything is known, are selected.
pub(super) fn selected(selector: &PodSelector, profile: &Profile, nouns: &Nouns) -> bool {
    let all = |labels: &LabelSelector| labels.match_labels.is_empty() && labels.match_expressions.is_empty();
    contains(&selector.clusters, profile.cluster(), nouns)
        && match &selector.by {
            // Most selectors: no text is looked at.
            By::Labels { namespaces, pods } if is_anchor_only(pods) && all(namespaces) => true,
            By::Labels { namespaces, pods } => profile.seen().is_some_and(|seen| {
                let known = nouns.namespace_labels(profile.cluster(), &seen.namespace);
                pods.matches(&seen.labels) && known.is_some_and(|known| namespaces.matches(known))
            }),
            By::Identity(names) => profile.seen().is_some_and(|seen| names.contains(&identity(seen, nouns))),
            By::Service { namespace, name } => profile.seen().is_some_and(|seen| {
                let export = || nouns.export(profile.cluster(), namespace, name);
                *namespace == seen.namespace
                    && export().is_some_and(|export| selects_backend(&export.selector, &seen.labels))
            }),
        }
}

fn identity(seen: &Endpoint, nouns: &Nouns) -> IdentityId {
    let excluded = nouns.fleet().map(|fleet| fleet.excluded_label_keys.as_slice()).unwrap_or_default();
    Identity::of(seen, excluded).id()
}
