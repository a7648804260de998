//! Global services with their exports and backends.
use std::collections::BTreeMap;

use axle_core::{
    model::{Endpoint, Kind, Object, Resource, Scope, ServiceExport, ServiceImport, ServicePort, Uid},
    service::selects,
    state::State,
};
use axle_proto::v1::{
    BackendView, ExportView, ListRequest, ListServicesResponse, ServiceConflictView, ServicePortView, ServiceView,
};

use super::{
    Operations, Page, Place, Problem, text,
    workloads::{cluster_names, endpoints, named_cluster},
};

impl Operations {
    /// The global services, by namespace and name; of one cluster: those that it exports.
    ///
    /// # Errors
    /// A bad page, an unknown cluster.
    pub fn list_services(&self, request: &ListRequest) -> Result<ListServicesResponse, Problem> {
        let page = Page::of(request)?;
        self.read(|state| {
            let cluster = named_cluster(state, &request.cluster)?;
            let sources = Sources::of(state);
            let imports = state.list(Kind::ServiceImport).filter_map(|object| match &*object.resource {
                Resource::ServiceImport(import) => Some((object, import)),
                _ => None,
            });
            let items = imports
                .filter(|(_, import)| page.wants(import.namespace.as_str(), import.name.as_str()))
                .filter(|(_, import)| cluster.is_none_or(|uid| import.clusters.contains(&uid)))
                .map(|(object, import)| (Place::of(&object.key), (object, import)));
            let (services, next_cursor) = page.take(items, |(object, import)| sources.service(object, import));
            Ok(ListServicesResponse { services, next_cursor })
        })
    }
}

/// What services are made of, found by name.
struct Sources<'s> {
    clusters: BTreeMap<Uid, String>,
    exports: BTreeMap<(Uid, &'s str, &'s str), &'s ServiceExport>,
    endpoints: BTreeMap<(Uid, &'s str), Vec<&'s Endpoint>>,
}

impl<'s> Sources<'s> {
    fn of(state: &'s State) -> Self {
        let mut sources = Self { clusters: cluster_names(state), exports: BTreeMap::new(), endpoints: BTreeMap::new() };
        for object in state.list(Kind::ServiceExport) {
            if let (Resource::ServiceExport(export), Scope::Cluster(uid)) = (&*object.resource, object.key.scope) {
                sources.exports.insert((uid, export.namespace.as_str(), export.name.as_str()), export);
            }
        }
        for each in endpoints(state, None) {
            let place = (each.cluster, each.endpoint.namespace.as_str());
            sources.endpoints.entry(place).or_default().push(each.endpoint);
        }
        sources
    }

    fn service(&self, object: &Object, import: &ServiceImport) -> ServiceView {
        let exports: Vec<_> = import.clusters.iter().filter_map(|uid| self.export(*uid, import)).collect();
        let backends = || exports.iter().flat_map(|export| &export.backends);
        let conflicts = import.conflicts.iter().map(|conflict| ServiceConflictView {
            cluster: self.cluster(conflict.cluster),
            reason: conflict.reason.clone(),
            message: conflict.message.clone(),
        });
        ServiceView {
            namespace: import.namespace.to_string(),
            name: import.name.to_string(),
            vips: text::all(&import.vips),
            ports: import.ports.iter().map(port).collect(),
            backends: count(backends()),
            ready_backends: count(backends().filter(|backend| backend.ready)),
            conflicts: conflicts.collect(),
            revision: object.revision,
            exports,
        }
    }

    fn export(&self, cluster: Uid, import: &ServiceImport) -> Option<ExportView> {
        let (namespace, name) = (import.namespace.as_str(), import.name.as_str());
        let export = self.exports.get(&(cluster, namespace, name))?;
        let candidates = self.endpoints.get(&(cluster, namespace)).into_iter().flatten();
        let backends = candidates.filter(|endpoint| selects(export, endpoint)).map(|endpoint| BackendView {
            workload: endpoint.name.to_string(),
            node: endpoint.node.to_string(),
            addresses: text::all(&endpoint.addresses),
            ready: endpoint.ready,
        });
        Some(ExportView {
            cluster: self.cluster(cluster),
            created_ms: export.created_ms,
            selector: export.selector.clone(),
            affinity: text::affinity(export.affinity).into(),
            weight: export.weight,
            backends: backends.collect(),
        })
    }

    fn cluster(&self, uid: Uid) -> String {
        self.clusters.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

fn port(port: &ServicePort) -> ServicePortView {
    ServicePortView {
        name: port.name.clone(),
        protocol: text::protocol(port.protocol).into(),
        port: port.port.into(),
        target: text::target(&port.target),
    }
}
