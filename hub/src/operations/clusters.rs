//! Clusters and nodes.
use std::collections::BTreeMap;

use axle_core::{
    model::{Action, Cluster, Kind, Object, Resource, Scope, Uid},
    state::{Command, State},
};
use axle_proto::v1::{
    AddClusterRequest, ClusterView, DrainClusterRequest, ListClustersResponse, ListRequest, RemoveClusterRequest,
    RemoveNodeRequest, WriteResult,
};

use super::{Operations, Page, Place, Problem, Violation, page, text};
use crate::auth::Caller;

/// Address ranges of one cluster: each is compared with every other of the mesh.
const MAX_PREFIXES: usize = 1024;
/// Labels of one cluster.
const MAX_LABELS: usize = 256;
/// The longest region, label key or label value, in bytes.
const MAX_TEXT: usize = 253;

impl Operations {
    /// Registers a cluster.
    ///
    /// # Errors
    /// Bad fields, a name that is taken, prefixes that overlap another cluster's.
    pub async fn add_cluster(&self, caller: &Caller, request: AddClusterRequest) -> Result<ClusterView, Problem> {
        let cluster = parse(&request)?;
        let name = cluster.name.clone();
        self.write(caller, request.request_id, Command::AddCluster { cluster }).await?;
        let clusters = self.clusters(|view| view.name == name.as_str());
        clusters
            .into_iter()
            .next()
            .ok_or_else(|| Problem::not_found("cluster", name.as_str(), "it was removed meanwhile"))
    }

    /// The clusters, by name.
    ///
    /// # Errors
    /// A bad page.
    pub fn list_clusters(&self, request: &ListRequest) -> Result<ListClustersResponse, Problem> {
        let page = Page::of(request)?;
        let wanted = |view: &ClusterView| {
            page.wants("", &view.name) && (request.cluster.is_empty() || request.cluster == view.name)
        };
        let items = self.clusters(wanted).into_iter().map(|view| (Place::named(&view.name), view));
        let (clusters, next_cursor) = page.take(items, |view| view);
        Ok(ListClustersResponse { clusters, next_cursor })
    }

    /// Leads nobody in other clusters to a cluster's backends any more, or does so again.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn drain_cluster(&self, caller: &Caller, request: DrainClusterRequest) -> Result<WriteResult, Problem> {
        let name = page::required("name", &request.name)?;
        let command = Command::DrainCluster { name, draining: !request.undo };
        let revision = self.write(caller, request.request_id, command).await?;
        Ok(WriteResult { revision, warnings: Vec::new() })
    }

    /// Removes a cluster and everything that it owns.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn remove_cluster(&self, caller: &Caller, request: RemoveClusterRequest) -> Result<WriteResult, Problem> {
        let name = page::required("name", &request.name)?;
        let revision = self.write(caller, request.request_id, Command::RemoveCluster { name }).await?;
        Ok(WriteResult { revision, warnings: Vec::new() })
    }

    /// Removes a node that is gone for good.
    ///
    /// # Errors
    /// There is no such cluster or node.
    pub async fn remove_node(&self, caller: &Caller, request: RemoveNodeRequest) -> Result<WriteResult, Problem> {
        let cluster = page::required("cluster", &request.cluster)?;
        let node = page::required("node", &request.node)?;
        let command = Command::RemoveNode { cluster, node };
        let revision = self.write(caller, request.request_id, command).await?;
        Ok(WriteResult { revision, warnings: Vec::new() })
    }

    fn clusters(&self, wanted: impl Fn(&ClusterView) -> bool) -> Vec<ClusterView> {
        let spokes = self.live.spokes();
        let mut views: Vec<_> = self.read(|state| {
            let nodes = per_cluster(state, Kind::Node);
            let endpoints = per_cluster(state, Kind::Endpoint);
            let count = |counts: &BTreeMap<Uid, u32>, uid| counts.get(&uid).copied().unwrap_or_default();
            let view = |object: &Object| {
                let Resource::Cluster(cluster) = &*object.resource else { return None };
                Some(ClusterView {
                    uid: object.uid.to_string(),
                    name: cluster.name.to_string(),
                    region: cluster.region.clone(),
                    labels: cluster.labels.clone(),
                    prefixes: text::all(&cluster.prefixes),
                    default_action: text::action(cluster.default_action).into(),
                    revision: object.revision,
                    connected: spokes.get(&object.uid).is_some_and(|spoke| spoke.connected),
                    nodes: count(&nodes, object.uid),
                    endpoints: count(&endpoints, object.uid),
                    draining: cluster.draining,
                })
            };
            state.list(Kind::Cluster).filter_map(view).filter(wanted).collect()
        });
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }
}

fn per_cluster(state: &State, kind: Kind) -> BTreeMap<Uid, u32> {
    let mut counts = BTreeMap::new();
    for object in state.list(kind) {
        if let Scope::Cluster(uid) = object.key.scope {
            *counts.entry(uid).or_default() += 1;
        }
    }
    counts
}

fn parse(request: &AddClusterRequest) -> Result<Cluster, Problem> {
    let mut violations = Vec::new();
    let name = page::name("name", &request.name, &mut violations);
    let mut prefixes = Vec::new();
    if request.prefixes.is_empty() {
        let fix = "give the address ranges of the cluster's workloads";
        violations.push(Violation::new("missing_field", "prefixes", "none", "at least one CIDR", fix));
    }
    for (field, number, most) in
        [("prefixes", request.prefixes.len(), MAX_PREFIXES), ("labels", request.labels.len(), MAX_LABELS)]
    {
        if number > most {
            let fix = "register fewer; one larger range can hold several";
            violations.push(Violation::new("too_many", field, &number.to_string(), &format!("at most {most}"), fix));
        }
    }
    let labels = request.labels.iter().take(MAX_LABELS).flat_map(|(key, value)| [("labels", key), ("labels", value)]);
    for (field, text) in labels.chain([("region", &request.region)]) {
        if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
            let want = format!("at most {MAX_TEXT} bytes of printable text");
            violations.push(Violation::new("invalid_value", field, text, &want, "choose a text that fits"));
        }
    }
    for (i, text) in request.prefixes.iter().take(MAX_PREFIXES).enumerate() {
        match page::cidr(text) {
            Ok(prefix) => prefixes.push(prefix),
            Err(fault) => violations.push(Violation { field: format!("prefixes[{i}]"), ..fault }),
        }
    }
    let default_action = match request.default_action.as_str() {
        "" | "accept" => Action::Accept,
        "deny" => Action::Deny,
        other => {
            violations.push(Violation::new(
                "invalid_value",
                "defaultAction",
                other,
                "accept or deny",
                "leave it out for accept",
            ));
            Action::Deny
        }
    };
    match name {
        Some(name) if violations.is_empty() => Ok(Cluster {
            name,
            region: request.region.clone(),
            labels: request.labels.clone(),
            prefixes,
            default_action,
            draining: false,
        }),
        _ => Err(Problem::invalid(violations)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(request: AddClusterRequest) -> Vec<(String, String)> {
        let violations = parse(&request).unwrap_err().violations;
        violations.into_iter().map(|violation| (violation.field, violation.fix)).collect()
    }

    #[test]
    fn a_good_cluster_is_taken() {
        let request = AddClusterRequest {
            name: "eu1".into(),
            prefixes: vec!["10.1.0.0/16".into(), "fd00:1::/48".into()],
            ..AddClusterRequest::default()
        };
        let cluster = parse(&request).unwrap();
        assert_eq!(cluster.prefixes.len(), 2);
        assert_eq!(cluster.default_action, Action::Accept);
    }

    #[test]
    fn every_fault_is_named() {
        let found = faults(AddClusterRequest {
            name: "EU".into(),
            prefixes: vec!["10.9.9.9/8".into(), "10.0.0.0/33".into(), "ten".into()],
            default_action: "allow".into(),
            ..AddClusterRequest::default()
        });
        let fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["name", "prefixes[0]", "prefixes[1]", "prefixes[2]", "defaultAction"]);
        assert!(found[1].1.contains("10.0.0.0/8"), "{found:?}");
        assert_eq!(faults(AddClusterRequest { name: "a".into(), ..Default::default() })[0].0, "prefixes");
        let found = faults(AddClusterRequest {
            name: "a".into(),
            region: "\u{1b}[2J".into(),
            prefixes: (0..=MAX_PREFIXES).map(|i| format!("10.{}.{}.0/24", i / 256, i % 256)).collect(),
            labels: (0..=MAX_LABELS)
                .map(|i| (format!("k{i}"), if i == 7 { "\0".into() } else { "v".into() }))
                .collect(),
            ..Default::default()
        });
        let fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["prefixes", "labels", "labels", "region"], "{found:?}");
    }
}
