//! What the hub says, as objects of the cluster that its people can read. Only what differs is written, so whatever else
//! somebody wrote there is undone, and what is as it should be costs nothing.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axle_core::{
    log::Position,
    manifest::print_policy,
    model::{Action, Labels, Name, Object, Policy, Resource, Uid},
};
use serde_json::{Value, json};

use super::{
    conditions::{Held, Verdict, in_kernels},
    crd::{ClusterSpec, ClusterStatus, FleetPolicySpec},
    raw::{Kinded, Raw},
    watch::Called,
};

/// The longest name of an object.
const LONGEST_NAME: usize = Name::MAX;

/// An object as it should be.
#[derive(Debug, Clone, PartialEq)]
pub struct Mirror<S> {
    /// Its labels; others may be there beside them.
    pub labels: Labels,
    /// Its annotations, likewise.
    pub annotations: Labels,
    /// All of its specification.
    pub spec: Value,
    /// What is said of it.
    pub status: S,
}

/// Mirrors by what they are called.
pub type Mirrors<S> = BTreeMap<Called, Mirror<S>>;

/// What is to be done about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<'m> {
    /// It is missing or not as it should be.
    Write(&'m Called),
    /// Nobody should have it: this incarnation goes.
    Delete(&'m Called, Option<&'m str>),
    /// Somebody else's has its name: two that write one object would never end.
    Leave(&'m Called),
}

/// Specifications of mirrors as they were made, so that they are made again only when their policy changes.
#[derive(Debug, Default)]
pub struct Printed(BTreeMap<(Uid, u64), Value>);

impl Printed {
    fn spec(&mut self, object: &Object, policy: &Policy) -> Value {
        let made = || {
            let printed = print_policy(policy).and_then(|text| serde_saphyr::from_str::<Value>(&text).ok());
            let spec = FleetPolicySpec {
                uid: object.uid.to_string(),
                namespace: policy.namespace.as_ref().map(ToString::to_string),
                name: policy.name.to_string(),
                policy: printed.map(|mut document| document["spec"].take()),
            };
            serde_json::to_value(spec).unwrap_or_default()
        };
        self.0.entry((object.uid, object.revision)).or_insert_with(made).clone()
    }
}

/// The fleet's policies, `objects` of the hub's log as far as it is here.
#[must_use]
pub fn policies(objects: &[Object], at: &Position, nodes: &[Held], printed: &mut Printed) -> Mirrors<Verdict> {
    let there: BTreeSet<(Uid, u64)> = objects.iter().map(|object| (object.uid, object.revision)).collect();
    printed.0.retain(|key, _| there.contains(key));
    let one = |object: &Object| {
        let Resource::Policy(policy) = &*object.resource else { return None };
        let name = mirrored_name(policy.namespace.as_ref(), &policy.name, object.uid);
        let status = in_kernels(object, at, nodes);
        Some((
            (String::new(), name),
            Mirror { labels: Labels::new(), annotations: Labels::new(), spec: printed.spec(object, policy), status },
        ))
    };
    objects.iter().filter_map(one).collect()
}

/// A mirror has no namespace. Of a policy that has one the mirror's name ends with the uid, which no other policy has.
fn mirrored_name(namespace: Option<&Name>, name: &Name, uid: Uid) -> String {
    let Some(namespace) = namespace else { return name.to_string() };
    let mut both = format!("{namespace}.{name}");
    both.truncate(LONGEST_NAME - 37);
    format!("{}.{uid}", both.trim_end_matches(['-', '.']))
}

/// The fleet's clusters, each with the number of its nodes, of which `own` is this one.
#[must_use]
pub fn clusters(objects: &[(Object, u32)], own: Uid) -> Mirrors<ClusterStatus> {
    let one = |(object, nodes): &(Object, u32)| {
        let Resource::Cluster(cluster) = &*object.resource else { return None };
        let default_action = if cluster.default_action == Action::Deny { "Deny" } else { "Accept" };
        let spec = ClusterSpec {
            uid: object.uid.to_string(),
            region: cluster.region.clone(),
            prefixes: cluster.prefixes.iter().map(ToString::to_string).collect(),
            default_action: default_action.into(),
        };
        let status = ClusterStatus { here: object.uid == own, nodes: *nodes };
        let (labels, annotations) = (cluster.labels.clone(), Labels::new());
        let mirror = Mirror { labels, annotations, spec: serde_json::to_value(spec).ok()?, status };
        Some(((String::new(), cluster.name.to_string()), mirror))
    };
    objects.iter().filter_map(one).collect()
}

/// What leads from what is `there` to what is `wanted`, where only what is `ours` is touched.
pub fn steps<'m, S, K>(
    wanted: &'m Mirrors<S>,
    there: &'m BTreeMap<Called, Arc<Raw<K>>>,
    ours: impl Fn(&Raw<K>) -> bool,
) -> Vec<Step<'m>> {
    let is_right = |called: &Called, mirror: &Mirror<S>| {
        let Some(object) = there.get(called) else { return false };
        let has = |held: Option<&Labels>, wanted: &Labels| {
            wanted.iter().all(|(key, value)| held.is_some_and(|held| held.get(key) == Some(value)))
        };
        object.spec.as_ref() == Some(&mirror.spec)
            && has(object.metadata.labels.as_ref(), &mirror.labels)
            && has(object.metadata.annotations.as_ref(), &mirror.annotations)
    };
    let strays = there.iter().filter(|(called, object)| !wanted.contains_key(*called) && ours(object));
    let deletes = strays.map(|(called, object)| Step::Delete(called, object.metadata.uid.as_deref()));
    let writes = wanted.iter().filter_map(|(called, mirror)| match there.get(called) {
        Some(object) if !ours(object) => Some(Step::Leave(called)),
        _ => (!is_right(called, mirror)).then_some(Step::Write(called)),
    });
    deletes.chain(writes).collect()
}

/// The document that makes the object as it should be.
#[must_use]
pub fn document<K: Kinded, S>(called: &Called, mirror: &Mirror<S>) -> Value {
    let mut document = K::document(called);
    for (key, map) in [("labels", &mirror.labels), ("annotations", &mirror.annotations)] {
        if !map.is_empty() {
            document["metadata"][key] = json!(map);
        }
    }
    document["spec"] = mirror.spec.clone();
    document
}

#[cfg(test)]
mod tests;
