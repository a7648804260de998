//! Cilium's policies, carried over into ours.
//!
//! All of Cilium's policies are one tier in which a deny beats every allow. So what a document allows becomes a policy of
//! the namespace tier, and what it denies one of the tier Admin, the last there: priority 1000. Of what cannot be said
//! here, an allow is left out, a deny denies more instead, and without its subject a policy goes; a [`Note`] says so. The one
//! thing that becomes weaker, and is noted where it does: here nothing but an Admin or Baseline rule cuts a workload off its
//! own node.
//!
//! What comes of a document is named after its kind and all of its name, so that it takes no other policy's place.
//!
//! Source: Cilium's documentation of CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy and CiliumCIDRGroup (1.19, 1.20).
mod cidr;
mod import;
mod peers;
mod ports;
mod selector;

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{
    Violation,
    kubernetes::{items, metadata},
    reader::{At, Faults, Map},
    tree,
};
use crate::model::{Action, Enforcement, LabelSelector, Labels, Name, Peer, Peers, Policy, Ports, Rule, Subject, Tier};
use cidr::Groups;
pub use import::{Effect, Import, Note};
use selector::Selected;

/// Carries the documents of a text over. `mesh` are the addresses of all workloads and nodes: Cilium's CIDR rules and its
/// entity `world` mean addresses outside of them only.
///
/// # Errors
/// All faults of the text; a kind that is not Cilium's is one.
pub fn import_cilium(text: &str, mesh: &[IpNet]) -> Result<Import, Vec<Violation>> {
    let nodes = tree::parse(text)?;
    let mut faults = Faults::default();
    let documents = nodes.iter().flat_map(|node| items(&At::root(node), &mut faults)).collect::<Vec<_>>();
    let documents: Vec<_> = documents.iter().filter_map(|at| head(at, &mut faults)).collect();
    let mut known = BTreeSet::new();
    for document in documents.iter().filter(|document| !known.insert(document.title())) {
        let violation = document.map.at.violation(format!("{} a second time", document.title()), "each only once");
        faults.add(Violation { code: "duplicate", fix: "remove one of them".into(), ..violation });
    }
    let groups = Groups::of(&documents, &mut faults);
    let mut import = Import::default();
    for document in documents.iter().filter(|document| document.kind != "CiliumCIDRGroup") {
        let mut importer = Importer {
            faults: &mut faults,
            groups: &groups,
            mesh,
            namespace: document.namespace.clone(),
            document: document.title(),
            denies: false,
            isolates: true,
            lost: false,
            notes: Vec::new(),
        };
        import.policies.extend(importer.document(document));
        import.notes.append(&mut importer.notes);
    }
    import.notes.sort();
    import.notes.dedup();
    faults.none_or(import)
}

/// A document as far as all kinds are alike.
struct Document<'n> {
    kind: &'static str,
    namespace: Option<Name>,
    name: Name,
    labels: Labels,
    map: Map<'n>,
}

impl Document<'_> {
    fn title(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.kind, self.name),
            None => format!("{} {}", self.kind, self.name),
        }
    }
}

fn head<'n>(at: &At<'n>, faults: &mut Faults) -> Option<Document<'n>> {
    let map = at.map(faults)?;
    let kinds = ["CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy", "CiliumCIDRGroup"].map(|kind| (kind, kind));
    let version = map.required("apiVersion", faults);
    let kind = map.required("kind", faults).and_then(|at| at.choice(&kinds, faults))?;
    let versions = [("cilium.io/v2", ()), ("cilium.io/v2alpha1", ())];
    let versions = if kind == "CiliumCIDRGroup" { &versions[..] } else { &versions[..1] };
    version.and_then(|at| at.choice(versions, faults))?;
    let (namespace, name) = metadata(&map, kind == "CiliumNetworkPolicy", faults)?;
    let labels = map.optional("metadata").and_then(|at| at.map(faults)?.optional("labels"));
    let labels = labels.map_or(Some(Labels::new()), |at| super::labels::labels(&at, faults))?;
    Some(Document { kind, namespace, name, labels, map })
}

/// One document on its way.
struct Importer<'a> {
    faults: &'a mut Faults,
    groups: &'a Groups,
    mesh: &'a [IpNet],
    namespace: Option<Name>,
    document: String,
    /// Whether it is at a rule that denies.
    denies: bool,
    /// Whether its rules are of a direction that is isolated.
    isolates: bool,
    /// Whether a part of the rule cannot be said.
    lost: bool,
    notes: Vec<Note>,
}

impl Importer<'_> {
    fn note(&mut self, at: &At<'_>, effect: Effect, why: impl Into<String>) {
        let Violation { line, column, field, .. } = at.violation("", "");
        let why = why.into();
        self.notes.push(Note { line, column, document: self.document.clone(), field, effect, why });
    }

    /// Something that cannot be said here: of a rule that allows it is left out, one that denies becomes broader.
    fn lose(&mut self, at: &At<'_>, why: impl Into<String>) {
        self.note(at, if self.denies { Effect::Refused } else { Effect::Stricter }, why);
        self.lost = true;
    }

    /// The same of what is above the ports, which restricts what it is about where nothing is isolated too.
    fn lose_restriction(&mut self, at: &At<'_>, why: impl Into<String>) {
        self.lose(at, why);
        if let Some(note) = self.notes.last_mut().filter(|_| !self.isolates) {
            note.effect = Effect::Refused;
        }
    }

    fn document(&mut self, document: &Document<'_>) -> Vec<Policy> {
        let mut specs: Vec<At<'_>> = document.map.optional("spec").into_iter().collect();
        if let Some(at) = document.map.optional("specs") {
            specs.extend(at.some_list("write spec instead", self.faults).unwrap_or_default());
        }
        document.map.finish(self.faults);
        if specs.is_empty() {
            let violation = document.map.at.violation("no such field", "the field spec");
            self.faults.add(Violation { code: "missing-field", fix: "add spec".into(), ..violation });
        }
        let many = specs.len() > 1;
        let mut policies = Vec::new();
        for (at, number) in specs.iter().zip(1..) {
            let kind = if self.namespace.is_some() { "cnp" } else { "ccnp" };
            let kind = if many { format!("{kind}-{number}") } else { kind.to_owned() };
            policies.extend(self.spec(at, &kind, &document.name).unwrap_or_default());
        }
        policies
    }

    fn spec(&mut self, at: &At<'_>, kind: &str, name: &Name) -> Option<Vec<Policy>> {
        let map = at.map(self.faults)?;
        if let Some(at) = map.optional("nodeSelector") {
            self.note(&at, Effect::Refused, "a policy of the host: here policies are about workloads");
        }
        let subject = map.optional("endpointSelector").map(|at| self.subject(&at));
        let description = map.optional("description").map_or(Some(""), |at| at.text(self.faults));
        for key in ["labels", "log"] {
            if let Some(at) = map.optional(key) {
                self.note(&at, Effect::None, format!("{key} is not carried over"));
            }
        }
        let isolates = self.isolates(&map)?;
        let [ingress, egress] = isolates.map(|said| said != Some(false));
        self.denies = false;
        let allows = [self.rules(&map, "ingress", "from", ingress), self.rules(&map, "egress", "to", egress)];
        self.denies = true;
        let denies = [self.rules(&map, "ingressDeny", "from", ingress), self.rules(&map, "egressDeny", "to", egress)];
        self.denies = false;
        map.finish(self.faults);
        let subject = subject.unwrap_or_else(|| {
            if map.present(&["nodeSelector"]).is_empty() {
                let violation = map.at.violation("no such field", "the field endpointSelector");
                let fix = "add endpointSelector: {} is every workload".into();
                self.faults.add(Violation { code: "missing-field", fix, ..violation });
            }
            None
        });
        let (subject, description) = (subject?, description?);
        let [ingress, egress] = denies.map(|rules| rules.filter(|rules| !rules.is_empty()));
        let denying = (ingress.is_some() || egress.is_some()).then_some((Tier::Admin, [ingress, egress]));
        let mut said = [false; 2];
        let directions = [0, 1].map(|n| {
            let (allowed, denied) = (allows[n].as_ref(), ["ingressDeny", "egressDeny"][n]);
            said[n] = allowed.is_some() || !map.present(&[denied]).is_empty();
            let selects = isolates[n].unwrap_or(said[n]);
            if !selects && let Some(at) = map.optional(["ingress", "egress"][n]) && allowed.is_some_and(|it| !it.is_empty()) {
                let why = "with enableDefaultDeny: false these rules are left out: they matter only where another policy isolates";
                self.note(&at, Effect::Stricter, why);
            }
            let rules = selects.then(|| allowed.cloned().unwrap_or_default());
            if n == 1 && rules.as_ref().is_some_and(|rules| !rules.iter().any(is_everything)) {
                let why = "a workload reaches its own node all the same: deny it by an Admin rule about nodes if it must not";
                self.note(at, Effect::Wider, why);
            }
            rules
        });
        let allowing = directions.iter().any(Option::is_some).then_some((Tier::Namespace, directions));
        let policies = [allowing, denying].into_iter().flatten();
        policies.map(|(tier, rules)| self.policy(at, (kind, name), description, tier, &subject, rules)).collect()
    }

    fn policy(
        &mut self,
        at: &At<'_>,
        (kind, name): (&str, &Name),
        description: &str,
        tier: Tier,
        subject: &Subject,
        [ingress, egress]: [Option<Vec<Rule>>; 2],
    ) -> Option<Policy> {
        let namespace = self.namespace.clone();
        let mut subject = subject.clone();
        let (name, namespace) = match (tier, namespace) {
            (Tier::Namespace, namespace) => (format!("{kind}.{name}"), namespace),
            (_, None) => (format!("{kind}-deny.{name}"), None),
            (_, Some(namespace)) => {
                subject.namespaces = super::selectors::in_namespace(namespace.as_str());
                (format!("{kind}-deny.{namespace}.{name}"), None)
            }
        };
        let name = Name::new(name).map_err(|error| {
            at.invalid("names that fit what this becomes", error.to_string(), self.faults);
        });
        Some(Policy {
            name: name.ok()?,
            namespace,
            tier,
            priority: if tier == Tier::Namespace { 0 } else { super::policy::MAX_PRIORITY },
            subject,
            ingress,
            egress,
            enforcement: Enforcement::Enforce,
            disabled: false,
            description: description.to_owned(),
            owner: String::new(),
        })
    }

    fn subject(&mut self, at: &At<'_>) -> Option<Subject> {
        self.denies = true; // Of a subject nothing may be lost.
        let selected = self.selected(at, false);
        self.denies = false;
        let Selected { clusters, namespaces, pods } = selected?;
        if self.namespace.is_some() && namespaces != LabelSelector::default() {
            self.note(at, Effect::Refused, "the subject of a namespaced policy names a namespace itself");
            return None;
        }
        Some(Subject { clusters, namespaces, pods })
    }

    /// What `enableDefaultDeny` says of ingress and egress.
    fn isolates(&mut self, map: &Map<'_>) -> Option<[Option<bool>; 2]> {
        let Some(at) = map.optional("enableDefaultDeny") else { return Some([None; 2]) };
        let map = at.map(self.faults)?;
        let said = ["ingress", "egress"].map(|key| map.optional(key).map(|at| at.bool(self.faults)));
        map.finish(self.faults);
        let [ingress, egress] = said.map(|said| said.map_or(Some(None), |said| said.map(Some)));
        Some([ingress?, egress?])
    }

    /// The rules of a direction that can be said; `None`: there is no such field.
    fn rules(&mut self, map: &Map<'_>, key: &'static str, side: &'static str, isolates: bool) -> Option<Vec<Rule>> {
        let items = map.optional(key)?.list(self.faults).unwrap_or_default();
        self.isolates = isolates;
        Some(items.iter().filter_map(|item| self.rule(item, side)).collect())
    }

    fn rule(&mut self, at: &At<'_>, side: &'static str) -> Option<Rule> {
        let map = at.map(self.faults)?;
        self.lost = false;
        let peers = self.peers(&map, side);
        let peers_lost = std::mem::take(&mut self.lost);
        let ports = self.ports(&map, side);
        let ports_lost = std::mem::take(&mut self.lost);
        // Rules that deny have no such field.
        let authentication = if self.denies { None } else { map.optional("authentication") };
        let open = authentication.is_none_or(|at| self.authentication(&at));
        map.finish(self.faults);
        // A rule that says neither who nor which ports is about nothing: `[{}]` only isolates.
        if !open || (peers == Some(Peers::Any) && ports == Some(Ports::Any)) {
            return None;
        }
        let peers = if self.denies && peers_lost { Peers::Any } else { peers? };
        let ports = if self.denies && ports_lost { Ports::Any } else { ports? };
        let action = if self.denies { Action::Deny } else { Action::Accept };
        Some(Rule { name: String::new(), action, peers, ports })
    }

    /// Whether a rule does without authentication.
    fn authentication(&mut self, at: &At<'_>) -> bool {
        let Some(map) = at.map(self.faults) else { return false };
        let modes = [("disabled", true), ("required", false), ("test-always-fail", false)];
        let mode = map.required("mode", self.faults).and_then(|at| at.choice(&modes, self.faults));
        map.finish(self.faults);
        if mode == Some(false) {
            // It is asked of what narrower rules allow as well.
            self.note(at, Effect::Refused, "mutual authentication has no counterpart here: the rule is left out");
        }
        mode == Some(true)
    }
}

/// Whether a rule accepts whatever is sent, to nodes too.
fn is_everything(rule: &Rule) -> bool {
    let every = |peer: &Peer| matches!(peer, Peer::Networks(blocks) if blocks.iter().all(|block| block.except.is_empty() && block.cidr.prefix_len() == 0));
    rule.ports == Ports::Any && matches!(&rule.peers, Peers::Of(peers) if peers.iter().any(every))
}

#[cfg(test)]
mod tests;
