//! A fleet made of documents alone, so that policies can be looked at without a hub.
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::{
    codec::Codec,
    manifest::{ClusterDocument, Document, Export, NAMESPACE_NAME_LABEL, Service, Workload},
    model::{Action, Cluster, Endpoint, Name, Namespace, Object, Policy, PolicyTest, Resource, Scope, Uid},
    policy::World,
};

/// What a folder of documents says of one cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// The cluster's name.
    pub name: Name,
    /// Its inventory, as its agents read it, and at most one [`Document::Cluster`].
    pub documents: Vec<Document>,
}

/// A fleet of these clusters, policies and tests. Workloads without a `Cluster` document have the prefixes that their
/// addresses make.
///
/// # Errors
/// Every contradiction: documents that an inventory does not have, two of one name, addresses outside a cluster's prefixes,
/// prefixes that overlap.
pub fn world(
    folders: &[Folder],
    policies: &[Policy],
    tests: &[PolicyTest],
    codec: &dyn Codec,
) -> Result<World, Vec<String>> {
    let mut fleet = Fleet { codec, objects: BTreeMap::new(), problems: Vec::new() };
    let mut prefixes: Vec<(&Name, IpNet)> = Vec::new();
    for folder in folders {
        let cluster = fleet.cluster(folder);
        for prefix in &cluster.prefixes {
            if let Some((other, overlap)) =
                prefixes.iter().find(|(_, one)| one.contains(prefix) || prefix.contains(one))
            {
                let problem = format!("{prefix} of {} overlaps {overlap} of {other}: give each its own", folder.name);
                fleet.problems.push(problem);
            }
        }
        prefixes.extend(cluster.prefixes.iter().map(|prefix| (&folder.name, *prefix)));
        let uid = uid_of(&["cluster", folder.name.as_str()]);
        fleet.put(Resource::Cluster(cluster), Scope::Fleet, uid, folder.name.as_str());
    }
    for policy in policies {
        let uid = uid_of(&["policy", &policy.title()]);
        fleet.put(Resource::Policy(policy.clone()), Scope::Fleet, uid, "policies");
    }
    for test in tests {
        fleet.put(Resource::PolicyTest(test.clone()), Scope::Fleet, uid_of(&["test", test.name.as_str()]), "policies");
    }
    if fleet.problems.is_empty() { Ok(World::new(fleet.objects.into_values())) } else { Err(fleet.problems) }
}

struct Fleet<'c> {
    codec: &'c dyn Codec,
    objects: BTreeMap<String, Object>,
    problems: Vec<String>,
}

impl Fleet<'_> {
    fn put(&mut self, resource: Resource, scope: Scope, uid: Uid, place: &str) {
        let object = Object::new(resource, scope, uid, 1, self.codec);
        if let Some(there) = self.objects.insert(object.key.to_string(), object) {
            let named = |resource: &Resource| match resource {
                Resource::Endpoint(endpoint) => format!("Workload {}/{}", endpoint.namespace, endpoint.name),
                _ => format!("{:?} {}", there.key.kind, there.key.name),
            };
            self.problems.push(format!("{place}: {} is there a second time", named(&there.resource)));
        }
    }

    /// Files a folder's documents, and says what the cluster is.
    fn cluster(&mut self, folder: &Folder) -> Cluster {
        let home = uid_of(&["cluster", folder.name.as_str()]);
        let mut definition = None;
        let (mut namespaces, mut implied) = (BTreeSet::new(), BTreeSet::new());
        let mut addresses = Vec::new();
        let mut services = BTreeMap::new();
        let mut exports = Vec::new();
        for document in &folder.documents {
            match document {
                Document::Cluster(cluster) => {
                    if definition.replace(cluster).is_some() {
                        self.problems.push(format!("{}: Cluster is there a second time", folder.name));
                    }
                }
                Document::Namespace(namespace) => {
                    namespaces.insert(namespace.name.clone());
                    self.namespace(folder, home, namespace.clone());
                }
                Document::Workload(workload) => {
                    implied.insert(workload.namespace.clone());
                    addresses.extend(workload.addresses.iter().map(|address| (*address, workload)));
                    self.workload(folder, home, workload);
                }
                Document::Service(service) => {
                    services.insert((&service.namespace, &service.name), service);
                    if !service.addresses.is_empty() {
                        let names =
                            ["service", folder.name.as_str(), service.namespace.as_str(), service.name.as_str()];
                        let own = Resource::Service(service.own());
                        self.put(own, Scope::Cluster(home), uid_of(&names), folder.name.as_str());
                    }
                }
                Document::ServiceExport(export) => exports.push(export),
                Document::Policy(policy) => {
                    let uid = uid_of(&["policy of", folder.name.as_str(), &policy.title()]);
                    self.put(Resource::Policy(policy.clone()), Scope::Cluster(home), uid, folder.name.as_str());
                }
                // Policy judges backends, whatever leads to them.
                Document::EndpointSlice(_) => {}
                Document::PolicyTest(test) => {
                    let problem =
                        format!("{}: test {}: put it among the policies of the fleet", folder.name, test.name);
                    self.problems.push(problem);
                }
            }
        }
        for name in implied.difference(&namespaces) {
            let labels = [(NAMESPACE_NAME_LABEL.to_owned(), name.to_string())].into();
            self.namespace(folder, home, Namespace { name: name.clone(), labels });
        }
        for export in exports {
            self.export(folder, home, &services, export);
        }
        let hosts: Vec<IpNet> = addresses.iter().map(|(address, _)| IpNet::from(*address)).collect();
        let Some(ClusterDocument { name, region, labels, prefixes, default_action }) = definition else {
            let prefixes = IpNet::aggregate(&hosts);
            let (name, region, labels) = (folder.name.clone(), String::new(), BTreeMap::new());
            return Cluster { name, region, labels, prefixes, default_action: Action::Accept, draining: false };
        };
        if name.as_ref().is_some_and(|name| *name != folder.name) {
            self.problems.push(format!("{}: its Cluster document has another name: rename one of them", folder.name));
        }
        let prefixes = if prefixes.is_empty() { IpNet::aggregate(&hosts) } else { prefixes.clone() };
        for (address, workload) in addresses {
            if !prefixes.iter().any(|prefix| prefix.contains(&address)) {
                let Workload { namespace, name, .. } = workload;
                let problem = format!("{}: {namespace}/{name} has {address}, outside of its prefixes", folder.name);
                self.problems.push(problem);
            }
        }
        let (name, region, labels) = (folder.name.clone(), region.clone(), labels.clone());
        Cluster { name, region, labels, prefixes, default_action: *default_action, draining: false }
    }

    fn namespace(&mut self, folder: &Folder, home: Uid, namespace: Namespace) {
        let uid = uid_of(&["namespace", folder.name.as_str(), namespace.name.as_str()]);
        self.put(Resource::Namespace(namespace), Scope::Cluster(home), uid, folder.name.as_str());
    }

    fn workload(&mut self, folder: &Folder, home: Uid, workload: &Workload) {
        let Workload { namespace, name, labels, service_account, addresses, named_ports, ready, host, .. } =
            workload.clone();
        let uid = uid_of(&["workload", folder.name.as_str(), namespace.as_str(), name.as_str()]);
        let endpoint = Endpoint {
            namespace,
            name,
            // An inventory does not say on which node it is read.
            node: folder.name.clone(),
            service_account,
            labels,
            addresses,
            named_ports,
            started_ms: 0,
            ready,
            host: host.map(Box::new),
        };
        self.put(Resource::Endpoint(endpoint), Scope::Cluster(home), uid, folder.name.as_str());
    }

    fn export(&mut self, folder: &Folder, home: Uid, services: &BTreeMap<(&Name, &Name), &Service>, wish: &Export) {
        let Export { namespace, name, .. } = wish;
        let Some(service) = services.get(&(namespace, name)) else {
            let problem = format!("{}: ServiceExport {namespace}/{name} has no Service of the same name", folder.name);
            return self.problems.push(problem);
        };
        let uid = uid_of(&["export", folder.name.as_str(), namespace.as_str(), name.as_str()]);
        self.put(Resource::ServiceExport(wish.of(service, &[], 0)), Scope::Cluster(home), uid, folder.name.as_str());
    }
}

/// A uid that follows from names.
fn uid_of(names: &[&str]) -> Uid {
    let mut hasher = blake3::Hasher::new_derive_key("axle offline fleet v1");
    for name in names {
        hasher.update(name.as_bytes()).update(&[0]);
    }
    let mut uid = Uid::default();
    hasher.finalize_xof().fill(&mut uid.0);
    uid
}

#[cfg(test)]
mod tests;
