//! The policies of the API server, as documents of the inventory.
//!
//! Each is read by itself: one that is refused holds up no other, and the version of it that was understood before stays in
//! force, since the log keeps what the inventory says is [held](Policies::held).
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axle_core::{
    manifest::{self, Violation},
    model::{Name, Policy},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::{
    crd::MeshNetworkPolicy,
    raw::{ClusterNetworkPolicy, Kinded, Raw},
};

/// The most violations that are told of one object.
const TOLD: usize = 5;

/// Which object of the API server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Its kind.
    pub kind: &'static str,
    /// Group and version.
    pub api_version: String,
    /// Its namespace, if the kind has one.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

/// Why an object is not taken as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// For programs, as Kubernetes spells reasons.
    pub reason: String,
    /// For people.
    pub message: String,
}

impl Fault {
    /// The reason where another object has the same name in the log.
    pub const NAME_TAKEN: &'static str = "NameTaken";
}

/// A policy's name in the log. There all kinds are one, so those of ClusterNetworkPolicy, which have no namespace either,
/// begin with the kind: `clusternetworkpolicy.web`.
pub type LogName = (Option<Name>, Name);

/// What became of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The object's incarnation.
    pub uid: String,
    /// The generation that was read.
    pub generation: Option<i64>,
    /// What it was created at, in a form that sorts by time.
    created: String,
    /// What its status says at present.
    pub status: Value,
    /// The policy, or why there is none.
    pub policy: Result<Arc<Policy>, Fault>,
}

/// Every policy of the API server.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policies {
    /// By object.
    pub readings: BTreeMap<Source, Reading>,
    /// Names that a MeshNetworkPolicy has, or had.
    ours: BTreeSet<String>,
}

impl Policies {
    /// Takes the objects of one kind in the place of those before. What has not changed is not read again.
    pub fn take<'o, K: Kinded>(&mut self, objects: impl Iterator<Item = &'o Raw<K>>) {
        let (mut before, others) =
            std::mem::take(&mut self.readings).into_iter().partition(|(source, _)| source.kind == K::KIND);
        self.readings = others;
        for object in objects {
            let ObjectMeta { name: Some(name), namespace, .. } = object.metadata.clone() else { continue };
            let source = Source { kind: K::KIND, api_version: K::api_version(), namespace, name };
            let reading = reading(&source, object, before.remove(&source));
            if source.kind == MeshNetworkPolicy::KIND {
                self.ours.insert(source.name.clone());
            }
            self.readings.insert(source, reading);
        }
    }

    /// What each object comes to. Of two with one name in the log the older counts.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<&Source, Result<Arc<Policy>, Fault>> {
        let mut firsts: BTreeMap<_, (&str, &Source)> = BTreeMap::new();
        for (source, reading) in &self.readings {
            let first = firsts.entry(source.called()).or_insert((&reading.created, source));
            *first = (*first).min((&reading.created, source));
        }
        let outcome = |source: &Source, reading: &Reading| match firsts.get(&source.called()) {
            Some((_, first)) if *first != source => Err(Fault {
                reason: Fault::NAME_TAKEN.into(),
                message: format!(
                    "{} {} is older and has the name that this one would have at the hub, {}; nothing of this one is in \
                     force: give it another name",
                    first.kind,
                    first.name,
                    source.called().1
                ),
            }),
            _ => reading.policy.clone(),
        };
        self.readings.iter().map(|(source, reading)| (source, outcome(source, reading))).collect()
    }

    /// The policies to be enforced, what is there and cannot be read, and what is wrong in sentences.
    #[must_use]
    pub fn documents(&self) -> (Vec<Policy>, BTreeSet<LogName>, Vec<String>) {
        let (mut policies, mut held, mut problems) = (Vec::new(), BTreeSet::new(), Vec::new());
        for (source, outcome) in self.outcomes() {
            match outcome {
                Ok(policy) => policies.push((*policy).clone()),
                Err(fault) => {
                    problems.push(format!("{source} is not accepted ({}): {}", fault.reason, fault.message));
                    held.extend(source.log_name().into_iter().chain(self.former_name(source)));
                }
            }
        }
        (policies, held, problems)
    }

    /// What a version of it from before kinds had names of their own is called in the log, unless that is another's.
    fn former_name(&self, source: &Source) -> Option<LogName> {
        let is_free = source.kind == ClusterNetworkPolicy::KIND && !self.ours.contains(&source.name);
        is_free.then(|| Name::new(source.name.clone()).ok()).flatten().map(|name| (None, name))
    }
}

impl Source {
    /// What it is called in the log; `None` where that is no name.
    #[must_use]
    pub fn log_name(&self) -> Option<LogName> {
        let namespace = self.namespace.clone().map(Name::new).transpose().ok()?;
        Some((namespace, Name::new(self.called().1).ok()?))
    }

    fn called(&self) -> (Option<&str>, String) {
        let name = prefix(self.kind).map_or_else(|| self.name.clone(), |prefix| prefix + &self.name);
        (self.namespace.as_deref(), name)
    }
}

/// What all names of a kind begin with in the log, and no others; `None` if there is no such thing.
pub(super) fn prefix(kind: &str) -> Option<String> {
    (kind == ClusterNetworkPolicy::KIND).then(|| format!("{}.", kind.to_ascii_lowercase()))
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let namespace = self.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        write!(f, "{} {namespace}{}", self.kind, self.name)
    }
}

fn reading<K>(source: &Source, object: &Raw<K>, before: Option<Reading>) -> Reading {
    let meta = &object.metadata;
    let (uid, generation) = (meta.uid.clone().unwrap_or_default(), meta.generation);
    // A generation is one specification.
    let known = before.filter(|before| generation.is_some() && (&before.uid, before.generation) == (&uid, generation));
    Reading {
        uid,
        generation,
        created: meta.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default(),
        status: object.status.clone(),
        policy: known.map_or_else(|| read(source, object.spec.as_ref()).map(Arc::new), |known| known.policy),
    }
}

/// By the parser of every door; JSON is YAML.
fn read(source: &Source, spec: Option<&Value>) -> Result<Policy, Fault> {
    let mut document = json!({
        "apiVersion": source.api_version, "kind": source.kind, "metadata": {"name": source.name},
    });
    if let Some(namespace) = &source.namespace {
        document["metadata"]["namespace"] = json!(namespace);
    }
    if let Some(spec) = spec {
        document["spec"] = spec.clone();
    }
    let mut policies = manifest::parse_policies(&document.to_string()).map_err(|violations| fault(&violations))?;
    let mut policy = policies.pop().ok_or_else(|| fault(&[]))?;
    policy.name = Name::new(source.called().1)
        .map_err(|why| Fault { reason: "NameTooLong".into(), message: format!("its name at the hub: {why}") })?;
    Ok(policy)
}

fn fault(violations: &[Violation]) -> Fault {
    let one = |violation: &Violation| {
        // The place in the text is no place in what somebody wrote.
        let Violation { field, got, want, fix, .. } = violation;
        let fix = if fix.is_empty() { String::new() } else { format!("; {fix}") };
        format!("{field}: got {got}; wanted {want}{fix}")
    };
    let mut told: Vec<String> = violations.iter().take(TOLD).map(one).collect();
    if violations.len() > TOLD {
        told.push(format!("and {} more", violations.len() - TOLD));
    }
    let code = violations.first().map_or("syntax", |violation| violation.code);
    Fault { reason: reason(code), message: told.join(". ") }
}

/// A code as Kubernetes spells reasons: `unknown-field` is `UnknownField`.
#[must_use]
pub fn reason(code: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
    };
    code.split(['-', '_']).map(word).collect()
}

#[cfg(test)]
mod tests;
