//! Cilium's selectors: one set of labels that says cluster, namespace and workload.
use super::{
    super::{
        labels::{is_key, selector_by},
        reader::At,
        selectors::in_namespace,
    },
    Importer,
};
use crate::model::{ClusterSelector, LabelSelector, Name, Operator, Requirement};

const CLUSTER: &str = "io.cilium.k8s.policy.cluster";
const NAMESPACE: &str = "io.kubernetes.pod.namespace";
const NAMESPACE_LABEL: &str = "io.cilium.k8s.namespace.labels.";
/// Other labels that Cilium gives itself.
const DERIVED: &str = "io.cilium.";

/// A selector in our parts.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) clusters: ClusterSelector,
    pub(super) namespaces: LabelSelector,
    pub(super) pods: LabelSelector,
}

/// What a key is about.
enum About {
    Cluster,
    Namespace(String),
    Pod(String),
}

impl Importer<'_> {
    /// The workloads that a selector means; `None` if that cannot be said here. A peer of a namespaced policy is of its
    /// namespace unless it says otherwise, and every selector means the policy's own cluster unless it says otherwise.
    pub(super) fn selected(&mut self, at: &At<'_>, is_peer: bool) -> Option<Selected> {
        let LabelSelector { match_labels, match_expressions } = selector_by(at, is_key_with_source, self.faults)?;
        let (mut namespaces, mut pods) = (LabelSelector::default(), LabelSelector::default());
        let mut clusters = ClusterSelector::Own;
        let equal = match_labels.into_iter().map(|(key, value)| (key, Operator::In(vec![value])));
        let other = match_expressions.into_iter().map(|requirement| (requirement.key, requirement.operator));
        for (key, operator) in equal.chain(other) {
            let (part, key) = match self.about(at, &key)? {
                About::Cluster => {
                    clusters = self.clusters(at, clusters, operator)?;
                    continue;
                }
                About::Namespace(key) => (&mut namespaces, key),
                About::Pod(key) => (&mut pods, key),
            };
            match operator {
                Operator::In(mut values) if values.len() == 1 && !part.match_labels.contains_key(&key) => {
                    part.match_labels.extend(values.pop().map(|value| (key, value)));
                }
                operator => part.match_expressions.push(Requirement { key, operator }),
            }
        }
        if let Some(own) = self.namespace.as_ref().filter(|_| is_peer && namespaces == LabelSelector::default()) {
            namespaces = in_namespace(own.as_str());
        }
        Some(Selected { clusters, namespaces, pods })
    }

    fn about(&mut self, at: &At<'_>, key: &str) -> Option<About> {
        let bare = key.strip_prefix("k8s:").or_else(|| key.strip_prefix("any:")).unwrap_or(key);
        if bare.contains(':') {
            self.lose(at, format!("the label {key:?} is of a source that workloads do not have here"));
            return None;
        }
        Some(match bare {
            CLUSTER => About::Cluster,
            NAMESPACE => About::Namespace(super::super::NAMESPACE_NAME_LABEL.into()),
            _ if bare.starts_with(NAMESPACE_LABEL) => About::Namespace(bare[NAMESPACE_LABEL.len()..].into()),
            _ if bare.starts_with(DERIVED) => {
                self.lose(at, format!("the label {bare:?} is Cilium's own: select by other labels, or by identities"));
                return None;
            }
            _ => About::Pod(bare.into()),
        })
    }

    fn clusters(&mut self, at: &At<'_>, before: ClusterSelector, operator: Operator) -> Option<ClusterSelector> {
        match (before, operator) {
            (ClusterSelector::Own, Operator::Exists) => Some(ClusterSelector::Any),
            (ClusterSelector::Own, Operator::In(values)) => {
                let names: Result<Vec<_>, _> = values.into_iter().map(Name::new).collect();
                names.map_err(|error| self.lose(at, error.to_string())).ok().map(ClusterSelector::Names)
            }
            _ => {
                self.lose(at, "clusters are selected here by name or all, once");
                None
            }
        }
    }
}

/// A label's key, perhaps with the source that Cilium knows it from: `k8s:app`.
fn is_key_with_source(key: &str) -> bool {
    is_key(key.split_once(':').map_or(key, |(_, key)| key))
}
