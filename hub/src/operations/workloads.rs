//! What runs: endpoints and the identities that follow from them.
use std::collections::{BTreeMap, BTreeSet};

use axle_core::{
    identity::{Identity, IdentityId},
    model::{Endpoint, Kind, NamedPort, Object, Resource, Scope, Uid},
    state::State,
};
use axle_proto::v1::{
    EndpointView, IdentityView, ListEndpointsResponse, ListIdentitiesResponse, ListRequest, NamedPortView,
};

use super::{Operations, Page, Place, Problem, text};

impl Operations {
    /// The running workloads, by cluster.
    ///
    /// # Errors
    /// A bad page, an unknown cluster.
    pub fn list_endpoints(&self, request: &ListRequest) -> Result<ListEndpointsResponse, Problem> {
        let page = Page::of(request)?;
        let spokes = self.live.spokes();
        self.read(|state| {
            let cluster = named_cluster(state, &request.cluster)?;
            let names = cluster_names(state);
            let excluded = excluded(state);
            let items = endpoints(state, cluster)
                .filter(|each| page.wants(each.endpoint.namespace.as_str(), each.endpoint.name.as_str()))
                .map(|each| (Place::of(&each.object.key), each));
            let (endpoints, next_cursor) = page.take(items, |each| EndpointView {
                cluster: names.get(&each.cluster).cloned().unwrap_or_default(),
                identity: Identity::of(each.endpoint, &excluded).id().to_string(),
                stale: !spokes.get(&each.cluster).is_some_and(|spoke| spoke.fresh),
                ..endpoint(each.object, each.endpoint)
            });
            Ok(ListEndpointsResponse { endpoints, next_cursor })
        })
    }

    /// The identities that run now, by their names.
    ///
    /// # Errors
    /// A bad page, an unknown cluster.
    pub fn list_identities(&self, request: &ListRequest) -> Result<ListIdentitiesResponse, Problem> {
        let page = Page::of(request)?;
        self.read(|state| {
            let cluster = named_cluster(state, &request.cluster)?;
            let names = cluster_names(state);
            let excluded = excluded(state);
            let mut registry: BTreeMap<IdentityId, (Identity, BTreeSet<Uid>, u32)> = BTreeMap::new();
            for each in endpoints(state, cluster) {
                let identity = Identity::of(each.endpoint, &excluded);
                let (_, clusters, count) =
                    registry.entry(identity.id()).or_insert_with(|| (identity, BTreeSet::new(), 0));
                clusters.insert(each.cluster);
                *count += 1;
            }
            let items = registry
                .into_iter()
                .map(|(id, known)| (id.to_string(), known))
                .filter(|(id, (identity, ..))| page.wants(identity.namespace.as_str(), id))
                .map(|(id, known)| (Place::named(&id), (id, known)));
            let (identities, next_cursor) = page.take(items, |(id, (identity, clusters, endpoints))| IdentityView {
                id,
                namespace: identity.namespace.to_string(),
                service_account: identity.service_account,
                labels: identity.labels,
                clusters: by_name(&clusters, &names),
                endpoints,
            });
            Ok(ListIdentitiesResponse { identities, next_cursor })
        })
    }
}

fn by_name(clusters: &BTreeSet<Uid>, names: &BTreeMap<Uid, String>) -> Vec<String> {
    let mut named: Vec<_> = clusters.iter().filter_map(|uid| names.get(uid).cloned()).collect();
    named.sort();
    named
}

/// An endpoint with its object and cluster.
pub(super) struct Running<'s> {
    pub(super) object: &'s Object,
    pub(super) cluster: Uid,
    pub(super) endpoint: &'s Endpoint,
}

/// The endpoints of one cluster, or of all, in the order of their keys.
pub(super) fn endpoints(state: &State, cluster: Option<Uid>) -> impl Iterator<Item = Running<'_>> {
    state.list(Kind::Endpoint).filter_map(move |object| match (&*object.resource, object.key.scope) {
        (Resource::Endpoint(endpoint), Scope::Cluster(of)) if cluster.is_none_or(|wanted| wanted == of) => {
            Some(Running { object, cluster: of, endpoint })
        }
        _ => None,
    })
}

/// The cluster of that name; of no name none, which stands for all.
pub(super) fn named_cluster(state: &State, name: &str) -> Result<Option<Uid>, Problem> {
    if name.is_empty() {
        return Ok(None);
    }
    let found = state.clusters().find(|(_, cluster)| cluster.name.as_str() == name);
    found.map(|(uid, _)| Some(uid)).ok_or_else(|| Problem::not_found("cluster", name, "see the list of clusters"))
}

pub(super) fn cluster_names(state: &State) -> BTreeMap<Uid, String> {
    state.clusters().map(|(uid, cluster)| (uid, cluster.name.to_string())).collect()
}

fn excluded(state: &State) -> Vec<String> {
    state.fleet().map(|fleet| fleet.excluded_label_keys.clone()).unwrap_or_default()
}

/// What the object itself says.
fn endpoint(object: &Object, endpoint: &Endpoint) -> EndpointView {
    EndpointView {
        uid: object.uid.to_string(),
        namespace: endpoint.namespace.to_string(),
        name: endpoint.name.to_string(),
        node: endpoint.node.to_string(),
        service_account: endpoint.service_account.clone(),
        labels: endpoint.labels.clone(),
        addresses: text::all(&endpoint.addresses),
        named_ports: endpoint.named_ports.iter().map(named_port).collect(),
        ready: endpoint.ready,
        revision: object.revision,
        ..EndpointView::default()
    }
}

fn named_port(port: &NamedPort) -> NamedPortView {
    NamedPortView { name: port.name.clone(), protocol: text::protocol(port.protocol).into(), port: port.port.into() }
}
