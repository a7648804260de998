//! Objects as the API server says them, with a specification that nobody has read yet: a field that this version does not
//! know is there to be refused.
use std::{borrow::Cow, fmt::Debug, marker::PhantomData};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Api, Client, Resource, core::DynamicResourceScope};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{crd, watch::Called};

/// What a kind is called.
pub trait Kinded: Clone + Debug + Send + Sync + 'static {
    /// Its group; empty for the core.
    const GROUP: &'static str;
    /// Its version.
    const VERSION: &'static str;
    /// Its name.
    const KIND: &'static str;
    /// As URLs and rules of RBAC call it.
    const PLURAL: &'static str;

    /// Group and version.
    #[must_use]
    fn api_version() -> String {
        if Self::GROUP.is_empty() { Self::VERSION.into() } else { format!("{}/{}", Self::GROUP, Self::VERSION) }
    }

    /// The beginning of a document of this kind.
    #[must_use]
    fn document((namespace, name): &Called) -> Value {
        let mut document = json!({"apiVersion": Self::api_version(), "kind": Self::KIND, "metadata": {"name": name}});
        if !namespace.is_empty() {
            document["metadata"]["namespace"] = json!(namespace);
        }
        document
    }

    /// The way to objects of this kind in a namespace, or to those that are in none.
    fn api(client: &Client, namespace: &str) -> Api<Raw<Self>> {
        match namespace {
            "" => Api::all(client.clone()),
            namespace => Api::namespaced_with(client.clone(), namespace, &()),
        }
    }
}

/// An object of a kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound = "")]
pub struct Raw<K> {
    /// Name, uid, generation and the like.
    pub metadata: ObjectMeta,
    /// As it was written.
    pub spec: Option<Value>,
    /// As it was last said.
    #[serde(default)]
    pub status: Value,
    #[serde(skip)]
    kind: PhantomData<fn() -> K>,
}

impl<K: Kinded> Resource for Raw<K> {
    type DynamicType = ();
    type Scope = DynamicResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::KIND.into()
    }
    fn group((): &()) -> Cow<'_, str> {
        K::GROUP.into()
    }
    fn version((): &()) -> Cow<'_, str> {
        K::VERSION.into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// `networking.k8s.io/v1`.
#[derive(Debug, Clone)]
pub struct NetworkPolicy;
/// `policy.networking.k8s.io/v1alpha2`.
#[derive(Debug, Clone)]
pub struct ClusterNetworkPolicy;

impl Kinded for NetworkPolicy {
    const GROUP: &'static str = "networking.k8s.io";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "NetworkPolicy";
    const PLURAL: &'static str = "networkpolicies";
}

impl Kinded for ClusterNetworkPolicy {
    const GROUP: &'static str = "policy.networking.k8s.io";
    const VERSION: &'static str = "v1alpha2";
    const KIND: &'static str = "ClusterNetworkPolicy";
    const PLURAL: &'static str = "clusternetworkpolicies";
}

macro_rules! ours {
    ($kind:ident, $plural:literal, $group:literal, $version:literal) => {
        impl Kinded for crd::$kind {
            const GROUP: &'static str = $group;
            const VERSION: &'static str = $version;
            const KIND: &'static str = stringify!($kind);
            const PLURAL: &'static str = $plural;
        }
    };
}

ours!(MeshNetworkPolicy, "meshnetworkpolicies", "axle.dev", "v1alpha1");
ours!(FleetPolicy, "fleetpolicies", "axle.dev", "v1alpha1");
ours!(Cluster, "clusters", "axle.dev", "v1alpha1");
ours!(ServiceExport, "serviceexports", "multicluster.x-k8s.io", "v1beta1");
ours!(ServiceImport, "serviceimports", "multicluster.x-k8s.io", "v1beta1");
