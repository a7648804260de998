//! Everything that bears on a verdict, as plain objects, and who is at an address.
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use crate::{
    address::Claim,
    log::Change,
    model::{
        Cluster, Endpoint, Fleet, Key, Kind, Labels, Name, Namespace, Node, Object, Policy, Resource, Scope,
        ServiceExport, Uid,
    },
};

/// The objects that decide. Built for clarity, not for speed: every question is answered by looking through them.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Shared by clones until one of them changes.
    kinds: BTreeMap<Kind, Arc<BTreeMap<Key, Object>>>,
    /// The clusters by uid, the same way.
    clusters: Arc<BTreeMap<Uid, Arc<Resource>>>,
    domain_names: BTreeMap<IpAddr, BTreeSet<String>>,
}

/// A workload with what its object says about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Workload<'w> {
    /// Its endpoint's uid.
    pub uid: Uid,
    /// The cluster it runs in.
    pub cluster: Uid,
    /// The rest.
    pub endpoint: &'w Endpoint,
}

/// Who is at an address.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Party<'w> {
    /// A workload.
    Workload(Workload<'w>),
    /// A node, or whatever shares its addresses.
    Node {
        /// Its cluster.
        cluster: Uid,
        /// The node.
        node: &'w Node,
    },
    /// An address of this cluster's prefixes without a (complete) entry: its cluster is known, its labels are not.
    Unresolved {
        /// The cluster.
        cluster: Uid,
    },
    /// An address in no prefix of the mesh.
    Outside,
    /// An address that the fleet gives to services; no packet may carry it.
    ServiceAddress,
    /// The address of a service of the cluster that sees it, which stands for whatever the service leads to.
    ClusterService,
    /// A workload or node whose cluster is not known.
    UnknownCluster,
}

impl World {
    /// The world of these objects. A key's scope says whose an object is; keys are unique.
    #[must_use]
    pub fn new(objects: impl IntoIterator<Item = Object>) -> Self {
        let mut world = Self::default();
        for object in objects {
            world.apply(&Change::Put(object));
        }
        world
    }

    /// Takes a change over.
    pub fn apply(&mut self, change: &Change) {
        let (key, put) = match change {
            Change::Put(object) => (&object.key, Some(object)),
            Change::Delete { key, uid } => {
                let known = self.kinds.get(&key.kind).and_then(|kind| kind.get(key));
                if known.is_none_or(|object| object.uid != *uid) {
                    return;
                }
                (key, None)
            }
        };
        let kind = Arc::make_mut(self.kinds.entry(key.kind).or_default());
        let replaced = match put {
            Some(object) => kind.insert(key.clone(), object.clone()),
            None => kind.remove(key),
        };
        if key.kind == Kind::Cluster {
            let clusters = Arc::make_mut(&mut self.clusters);
            replaced.into_iter().for_each(|old| drop(clusters.remove(&old.uid)));
            clusters.extend(put.map(|object| (object.uid, Arc::clone(&object.resource))));
        }
    }

    /// Notes that DNS answers this address when asked for that name.
    pub fn learn_domain_name(&mut self, name: &str, address: IpAddr) {
        self.domain_names.entry(address).or_default().insert(name.to_owned());
    }

    /// The names that lead to an address, as far as is known.
    pub fn domain_names(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        self.domain_names.get(&address).into_iter().flatten().map(String::as_str)
    }

    /// The addresses that some name is known to lead to.
    pub(super) fn named_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.domain_names.keys().copied()
    }

    /// The export of a service by a cluster.
    #[must_use]
    pub fn export(&self, cluster: Uid, namespace: &Name, name: &Name) -> Option<&ServiceExport> {
        let (kind, scope) = (Kind::ServiceExport, Scope::Cluster(cluster));
        let key = Key { kind, scope, namespace: namespace.to_string(), name: name.clone() };
        match self.kinds.get(&kind)?.get(&key)?.resource.as_ref() {
            Resource::ServiceExport(export) => Some(export),
            _ => None,
        }
    }

    /// The objects of a kind, in the order of their keys.
    pub fn objects(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.kinds.get(&kind).into_iter().flat_map(|kind| kind.values())
    }

    /// The fleet's settings.
    #[must_use]
    pub fn fleet(&self) -> Option<&Fleet> {
        self.objects(Kind::Fleet).find_map(|object| match object.resource.as_ref() {
            Resource::Fleet(fleet) => Some(fleet),
            _ => None,
        })
    }

    /// The cluster with this uid.
    #[must_use]
    pub fn cluster(&self, uid: Uid) -> Option<&Cluster> {
        match self.clusters.get(&uid)?.as_ref() {
            Resource::Cluster(cluster) => Some(cluster),
            _ => None,
        }
    }

    /// Every cluster with its uid.
    pub fn clusters(&self) -> impl Iterator<Item = (Uid, &Cluster)> {
        self.objects(Kind::Cluster).filter_map(|object| match object.resource.as_ref() {
            Resource::Cluster(cluster) => Some((object.uid, cluster)),
            _ => None,
        })
    }

    /// The labels of a cluster's namespace, `None` where they are not known.
    #[must_use]
    pub fn namespace_labels(&self, cluster: Uid, namespace: &Name) -> Option<&Labels> {
        let scope = Scope::Cluster(cluster);
        let key = Key { kind: Kind::Namespace, scope, namespace: String::new(), name: namespace.clone() };
        match self.kinds.get(&Kind::Namespace)?.get(&key)?.resource.as_ref() {
            Resource::Namespace(Namespace { labels, .. }) => Some(labels),
            _ => None,
        }
    }

    /// Every policy with its object.
    pub fn policies(&self) -> impl Iterator<Item = (&Object, &Policy)> {
        self.objects(Kind::Policy).filter_map(|object| match object.resource.as_ref() {
            Resource::Policy(policy) => Some((object, policy)),
            _ => None,
        })
    }

    /// Every workload.
    pub fn workloads(&self) -> impl Iterator<Item = Workload<'_>> {
        self.objects(Kind::Endpoint).filter_map(|object| match (object.resource.as_ref(), object.key.scope) {
            (Resource::Endpoint(endpoint), Scope::Cluster(cluster)) => {
                Some(Workload { uid: object.uid, cluster, endpoint })
            }
            _ => None,
        })
    }

    /// The workload with this uid.
    #[must_use]
    pub fn workload(&self, uid: Uid) -> Option<Workload<'_>> {
        self.workloads().find(|workload| workload.uid == uid)
    }

    /// Every node with its cluster.
    pub fn nodes(&self) -> impl Iterator<Item = (Uid, &Node)> {
        self.objects(Kind::Node).filter_map(|object| match (object.resource.as_ref(), object.key.scope) {
            (Resource::Node(node), Scope::Cluster(cluster)) => Some((cluster, node)),
            _ => None,
        })
    }

    /// Who is at an address, as the node of the given cluster and name sees it (`None`: as nobody in particular does).
    ///
    /// Service addresses go first, then nodes (a workload on its node's network is the node to everybody else), then
    /// workloads, then the cluster's own services, then the clusters' prefixes. A workload in a namespace whose labels are not known is unresolved.
    #[must_use]
    pub fn party(&self, address: IpAddr, seen_from: Option<(Uid, &Name)>) -> Party<'_> {
        let party = self.party_of(address, self.node_at(address), || self.holder(address, seen_from));
        let claimed = matches!(party, Party::Unresolved { .. }) && self.holder(address, seen_from).is_some();
        match party {
            Party::Outside | Party::Unresolved { .. } if !claimed && self.is_of_service(address, seen_from) => {
                Party::ClusterService
            }
            party => party,
        }
    }

    /// Who is at an address, given the node that has it and the workload that holds it.
    pub(super) fn party_of<'w>(
        &'w self,
        address: IpAddr,
        node: Option<(Uid, &'w Node)>,
        holder: impl FnOnce() -> Option<Workload<'w>>,
    ) -> Party<'w> {
        if self.is_service_address(address) {
            return Party::ServiceAddress;
        }
        if let Some((cluster, node)) = node {
            return if self.cluster(cluster).is_some() { Party::Node { cluster, node } } else { Party::UnknownCluster };
        }
        if let Some(workload) = holder() {
            return if self.cluster(workload.cluster).is_none() {
                Party::UnknownCluster
            } else if self.namespace_labels(workload.cluster, &workload.endpoint.namespace).is_none() {
                Party::Unresolved { cluster: workload.cluster }
            } else {
                Party::Workload(workload)
            };
        }
        let home = self.clusters().find(|(_, cluster)| cluster.prefixes.iter().any(|prefix| prefix.contains(&address)));
        home.map_or(Party::Outside, |(cluster, _)| Party::Unresolved { cluster })
    }

    /// The workload whose policy judges what comes from or goes to an address, whatever is known of it otherwise.
    #[must_use]
    pub fn subject_at(&self, address: IpAddr) -> Option<Workload<'_>> {
        let other = self.is_service_address(address) || self.node_at(address).is_some();
        if other { None } else { self.holder(address, None) }
    }

    pub(super) fn is_service_address(&self, address: IpAddr) -> bool {
        self.fleet().is_some_and(|fleet| match address {
            IpAddr::V4(address) => fleet.vip4.contains(&address),
            IpAddr::V6(address) => fleet.vip6.contains(&address),
        })
    }

    fn is_of_service(&self, address: IpAddr, seen_from: Option<(Uid, &Name)>) -> bool {
        let Some((cluster, _)) = seen_from else { return false };
        let mut own = self.objects(Kind::Service).filter(|object| object.key.scope == Scope::Cluster(cluster));
        own.any(
            |object| matches!(&*object.resource, Resource::Service(service) if service.addresses.contains(&address)),
        )
    }

    fn node_at(&self, address: IpAddr) -> Option<(Uid, &Node)> {
        self.nodes().find(|(_, node)| node.addresses.contains(&address))
    }

    fn holder(&self, address: IpAddr, seen_from: Option<(Uid, &Name)>) -> Option<Workload<'_>> {
        let claims = self.workloads().filter(|workload| workload.endpoint.addresses.contains(&address));
        claims.max_by_key(|workload| workload.claim(seen_from))
    }
}

impl Workload<'_> {
    /// Whether it runs on the node that `party` is.
    pub(super) fn is_on(&self, party: &Party<'_>) -> bool {
        matches!(party, Party::Node { cluster, node } if *cluster == self.cluster && node.name == self.endpoint.node)
    }

    pub(super) fn claim(&self, seen_from: Option<(Uid, &Name)>) -> Claim {
        Claim {
            local: seen_from == Some((self.cluster, &self.endpoint.node)),
            started_ms: self.endpoint.started_ms,
            endpoint: self.uid,
        }
    }
}
