//! From documents to the objects of the log. An object keeps its uid for as long as it is there; one that comes again has
//! a new one.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use axle_core::{
    log::Contents,
    manifest::{Document, Export, Incarnation, NAMESPACE_NAME_LABEL, Service, Workload},
    model::{
        Backends, Endpoint, EndpointSlice, Key, Kind, Labels, Name, Namespace, Node, Object, Resource, Scope, Uid,
    },
};
use axle_proto::convert;

use super::Inventory;
use crate::merged_log::{Batch, MergedLog};

/// The interfaces of this machine's workloads, by endpoint.
pub type Interfaces = BTreeMap<Uid, String>;

/// This machine itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThisNode {
    /// Its name.
    pub name: Name,
    /// What else is known of it; `None`: nothing yet, so what was known before stays.
    pub machine: Option<Machine>,
}

/// What a machine is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// Its labels.
    pub labels: Labels,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
}

/// What a node takes from its inventory.
#[derive(Debug, PartialEq)]
pub struct NodeObjects {
    /// The node and its workloads.
    pub batch: Batch,
    /// Where the workloads are attached.
    pub interfaces: Interfaces,
    /// Whether workloads that are not in `interfaces` are gone.
    pub complete: bool,
}

/// What a relay takes from its inventory.
#[derive(Debug, PartialEq)]
pub struct ClusterObjects {
    /// Namespaces, services, exports and policies.
    pub batch: Batch,
    /// What is wrong, in sentences.
    pub problems: Vec<String>,
}

/// A document's name for people.
pub(super) fn name(document: &Document) -> String {
    match document {
        Document::Policy(policy) => policy.title(),
        Document::PolicyTest(test) => test.name.to_string(),
        Document::Cluster(cluster) => cluster.name.as_ref().map(ToString::to_string).unwrap_or_default(),
        Document::Namespace(namespace) => namespace.name.to_string(),
        Document::Workload(Workload { namespace, name, .. })
        | Document::Service(Service { namespace, name, .. })
        | Document::ServiceExport(Export { namespace, name, .. })
        | Document::EndpointSlice(EndpointSlice { namespace, name, .. }) => format!("{namespace}/{name}"),
    }
}

/// Gives objects the uids that they have in the log, or new ones.
struct Filing<'a> {
    contents: &'a Contents,
    scope: Scope,
    now_ms: u64,
    fresh: &'a mut dyn FnMut() -> Uid,
    objects: Vec<Object>,
}

impl<'a> Filing<'a> {
    fn new(log: &'a MergedLog, now_ms: u64, fresh: &'a mut dyn FnMut() -> Uid) -> Self {
        let scope = Scope::Cluster(log.ownership().cluster());
        Self { contents: log.contents(), scope, now_ms, fresh, objects: Vec::new() }
    }

    fn held(&self, resource: &Resource) -> Option<&'a Object> {
        self.contents.get(&Key::of(resource, self.scope, Uid::default()))
    }

    fn file(&mut self, resource: Resource, uid: Uid) {
        let unchanged = self.held(&resource).filter(|held| held.uid == uid && *held.resource == resource);
        let revision = unchanged.map_or(self.contents.position().revision + 1, |held| held.revision);
        self.objects.push(convert::object(resource, self.scope, uid, revision));
    }

    /// Policies that stay as they are in the log, unless they were filed; those of them that nobody can ask for.
    fn keep(&mut self, Inventory { held, unknown, .. }: &Inventory) -> Vec<String> {
        let filed: BTreeSet<Key> = self.objects.iter().map(|object| object.key.clone()).collect();
        let mut unasked = Vec::new();
        for object in self.contents.list_in(Kind::Policy, self.scope) {
            let Resource::Policy(policy) = &*object.resource else { continue };
            let is_unknown =
                policy.namespace.is_none() && unknown.iter().any(|it| policy.name.as_str().starts_with(it));
            let is_held = is_unknown || held.contains(&(policy.namespace.clone(), policy.name.clone()));
            if is_held && !filed.contains(&object.key) {
                unasked.extend(is_unknown.then(|| policy.title()));
                self.objects.push(object.clone());
            }
        }
        unasked
    }

    /// For kinds that are named by their content.
    fn file_by_name(&mut self, resource: Resource) {
        let uid = self.held(&resource).map_or_else(|| (self.fresh)(), |held| held.uid);
        self.file(resource, uid);
    }

    fn batch(self, complete: bool) -> Batch {
        if complete { Batch::Whole(self.objects) } else { Batch::Part(self.objects) }
    }
}

impl NodeObjects {
    /// The node and the workloads of its inventory. `fresh` draws uids that nothing ever had.
    pub fn of(
        inventory: &Inventory,
        log: &MergedLog,
        node: &ThisNode,
        now_ms: u64,
        fresh: &mut dyn FnMut() -> Uid,
    ) -> Self {
        let mut filing = Filing::new(log, now_ms, fresh);
        let complete = inventory.complete && node.machine.is_some();
        if let Some(Machine { labels, addresses }) = node.machine.clone() {
            filing.file_by_name(Resource::Node(Node { name: node.name.clone(), labels, addresses }));
        }
        let mine = |object: &Object| match &*object.resource {
            Resource::Endpoint(endpoint) if endpoint.node == node.name => {
                Some(((endpoint.namespace.clone(), endpoint.name.clone()), (object.uid, endpoint.started_ms)))
            }
            _ => None,
        };
        let held: BTreeMap<_, _> = filing.contents.list_in(Kind::Endpoint, filing.scope).filter_map(mine).collect();
        let (mut interfaces, mut all_placed) = (Interfaces::new(), true);
        for document in &inventory.documents {
            let Document::Workload(workload) = document else { continue };
            let said = workload.incarnation.map(|Incarnation { uid, started_ms }| (uid, started_ms));
            let known = || held.get(&(workload.namespace.clone(), workload.name.clone())).copied();
            let (uid, started_ms) = said.or_else(known).unwrap_or_else(|| ((filing.fresh)(), filing.now_ms));
            all_placed &= workload.interface.is_some();
            interfaces.extend(workload.interface.clone().map(|interface| (uid, interface)));
            filing.file(Resource::Endpoint(endpoint(workload, &node.name, started_ms)), uid);
        }
        Self { batch: filing.batch(complete), interfaces, complete: complete && all_placed }
    }
}

fn endpoint(workload: &Workload, node: &Name, started_ms: u64) -> Endpoint {
    let Workload { namespace, name, labels, service_account, addresses, named_ports, ready, host, .. } =
        workload.clone();
    let (node, host) = (node.clone(), host.map(Box::new));
    Endpoint { namespace, name, node, service_account, labels, addresses, named_ports, started_ms, ready, host }
}

impl ClusterObjects {
    /// The namespaces, services, exports and policies of the inventory. A namespace that only workloads name has no labels but its name.
    pub fn of(inventory: &Inventory, log: &MergedLog, now_ms: u64, fresh: &mut dyn FnMut() -> Uid) -> Self {
        let mut filing = Filing::new(log, now_ms, fresh);
        let mut problems = Vec::new();
        let mut services = BTreeMap::new();
        let mut slices: BTreeMap<_, Vec<&EndpointSlice>> = BTreeMap::new();
        let mut wishes = BTreeMap::new();
        let mut named = BTreeSet::new();
        for document in &inventory.documents {
            match document {
                Document::Namespace(namespace) => {
                    named.insert(namespace.name.clone());
                    filing.file_by_name(Resource::Namespace(namespace.clone()));
                }
                Document::Service(service) => {
                    services.insert((&service.namespace, &service.name), service);
                }
                Document::EndpointSlice(slice) => {
                    slices.entry((&slice.namespace, &slice.service)).or_default().push(slice);
                }
                Document::Policy(policy) => filing.file_by_name(Resource::Policy(policy.clone())),
                // Of two wishes for one service the later one counts.
                Document::ServiceExport(wish) => drop(wishes.insert((&wish.namespace, &wish.name), wish)),
                _ => {}
            }
        }
        // Whatever has no address leads nobody anywhere.
        for service in services.values().filter(|service| !service.addresses.is_empty()) {
            filing.file_by_name(Resource::Service(service.own()));
            let slices = slices.get(&(&service.namespace, &service.name)).into_iter().flatten();
            for slice in slices.filter(|_| service.sliced) {
                filing.file_by_name(Resource::EndpointSlice((*slice).clone()));
            }
        }
        for wish in wishes.into_values() {
            match services.get(&(&wish.namespace, &wish.name)) {
                Some(service) => {
                    let slices = slices.get(&(&service.namespace, &service.name)).map_or(&[][..], Vec::as_slice);
                    export(&mut filing, service, slices, wish);
                }
                None => problems.push(format!(
                    "ServiceExport {}/{} has no Service of the same name: nothing is exported",
                    wish.namespace, wish.name
                )),
            }
        }
        if !inventory.held.is_empty() || !inventory.unknown.is_empty() {
            problems.extend(filing.keep(inventory).into_iter().map(|title| {
                format!(
                    "the API server does not know the kind of policy {title} any more: it stays in force; it goes if it is \
                     removed and its kind is installed, in the version that this agent reads"
                )
            }));
        }
        if inventory.complete {
            for namespace in implied(filing.contents, filing.scope).difference(&named) {
                filing.file_by_name(Resource::Namespace(bare(namespace)));
            }
        }
        Self { batch: filing.batch(inventory.complete), problems }
    }
}

fn export(filing: &mut Filing<'_>, service: &Service, slices: &[&EndpointSlice], wish: &Export) {
    let mut offered = wish.of(service, slices, filing.now_ms);
    if service.sliced && !service.selector.is_empty() {
        offered.backends = on_nodes(filing, slices);
    }
    let mut resource = Resource::ServiceExport(offered);
    let held = filing.held(&resource).filter(|_| wish.created_ms.is_none());
    if let (Some(Resource::ServiceExport(held)), Resource::ServiceExport(export)) =
        (held.map(|object| &*object.resource), &mut resource)
    {
        export.created_ms = held.created_ms;
    }
    filing.file_by_name(resource);
}

/// Backends on their nodes' own networks: no selector finds them, since such a workload is the node. One outside of the
/// cluster's prefixes is left out: with it the hub would refuse all of the export.
fn on_nodes(filing: &Filing<'_>, slices: &[&EndpointSlice]) -> Vec<Backends> {
    let nodes = filing.contents.list_in(Kind::Node, filing.scope).flat_map(|object| match &*object.resource {
        Resource::Node(node) => node.addresses.as_slice(),
        _ => &[],
    });
    let nodes: BTreeSet<IpAddr> = nodes.copied().collect();
    let clusters = filing.contents.list(Kind::Cluster).filter(|object| Scope::Cluster(object.uid) == filing.scope);
    let prefixes: Vec<_> = clusters
        .filter_map(|object| match &*object.resource {
            Resource::Cluster(cluster) => Some(&cluster.prefixes),
            _ => None,
        })
        .flatten()
        .collect();
    let ours = |address: &IpAddr| nodes.contains(address) && prefixes.iter().any(|prefix| prefix.contains(address));
    let of_slice = |slice: &&EndpointSlice| {
        let mut backends = slice.backends.clone();
        backends.endpoints.retain(|endpoint| endpoint.addresses.iter().all(ours));
        backends
    };
    slices.iter().map(of_slice).filter(|backends| !backends.endpoints.is_empty()).collect()
}

/// The namespaces that the cluster's workloads name.
fn implied(contents: &Contents, scope: Scope) -> BTreeSet<Name> {
    let of = |object: &Object| match &*object.resource {
        Resource::Endpoint(endpoint) => Some(endpoint.namespace.clone()),
        _ => None,
    };
    contents.list_in(Kind::Endpoint, scope).filter_map(of).collect()
}

fn bare(name: &Name) -> Namespace {
    Namespace { name: name.clone(), labels: [(NAMESPACE_NAME_LABEL.to_owned(), name.to_string())].into() }
}

#[cfg(test)]
mod tests;
