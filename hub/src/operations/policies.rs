//! Policies of the fleet.
use std::collections::BTreeSet;

use axle_core::{
    manifest::{self, Applied, suggest},
    model::{ClusterSelector, Name, Object, Peer, Policy, Scope, Uid},
    policy::{Match, Workload, World},
    state::{Command, Request},
};
use axle_proto::v1::{
    ApplyPoliciesRequest, ApplyPoliciesResponse, DeletePolicyRequest, ListPoliciesResponse, ListRequest, PolicyChange,
    PolicyView, SetPolicyDisabledRequest, WriteResult,
};

use super::{Operations, Page, Place, Problem, Violation, page, text, workloads::named_cluster};
use crate::auth::Caller;

impl Operations {
    /// Applies all policies of a document as one revision, or none.
    ///
    /// # Errors
    /// Every fault of the document; a cluster that is not registered; what the state machine refuses.
    pub async fn apply_policies(
        &self,
        caller: &Caller,
        request: ApplyPoliciesRequest,
    ) -> Result<ApplyPoliciesResponse, Problem> {
        let Applied { policies, tests } = manifest::parse_applied(&request.document)?;
        let mut changes = self.foresee(&policies)?;
        let command = match (policies.is_empty(), tests.is_empty()) {
            (_, true) => Command::PutPolicies { policies },
            (true, false) => Command::PutTests { tests },
            _ => Command::Together(vec![Command::PutPolicies { policies }, Command::PutTests { tests }]),
        };
        if request.dry_run {
            let warnings = self.rehearse(caller, &command, request.force).await?;
            return Ok(ApplyPoliciesResponse { revision: 0, warnings, changes });
        }
        let (revision, warnings) = self.write_checked(caller, request.request_id, (command, ""), request.force).await?;
        if revision > 0 {
            let written = changes.iter_mut().filter(|change| change.change != "unchanged");
            written.for_each(|change| change.revision = revision);
        }
        Ok(ApplyPoliciesResponse { revision, warnings, changes })
    }

    /// What applying these policies would change.
    fn foresee(&self, policies: &[Policy]) -> Result<Vec<PolicyChange>, Problem> {
        let world = self.mirror.world();
        known_clusters(&world, policies)?;
        Ok(policies.iter().map(|policy| change(&world, policy)).collect())
    }

    /// The policies, in the order of their scopes and names.
    ///
    /// # Errors
    /// A bad page, an unknown cluster.
    pub fn list_policies(&self, request: &ListRequest) -> Result<ListPoliciesResponse, Problem> {
        let page = Page::of(request)?;
        let cluster = self.read(|state| named_cluster(state, &request.cluster))?;
        let world = self.mirror.world();
        let of_cluster = |object: &Object| cluster.is_none_or(|uid| object.key.scope == Scope::Cluster(uid));
        let items = world
            .policies()
            .filter(|(object, policy)| of_cluster(object) && page.wants(&object.key.namespace, policy.name.as_str()))
            .map(|(object, policy)| (Place::of(&object.key), (object, policy)));
        let (policies, next_cursor) = page.take(items, |(object, policy)| view(&world, object, policy));
        Ok(ListPoliciesResponse { policies, next_cursor })
    }

    /// Takes a policy out of force, or puts it back.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn set_policy_disabled(
        &self,
        caller: &Caller,
        request: SetPolicyDisabledRequest,
    ) -> Result<WriteResult, Problem> {
        let (namespace, name) = title("name", &request.name)?;
        let command = Command::DisablePolicy { namespace, name, disabled: request.disabled };
        let (revision, warnings) = self.write_checked(caller, request.request_id, (command, ""), request.force).await?;
        Ok(WriteResult { revision, warnings })
    }

    /// Deletes a policy.
    ///
    /// # Errors
    /// There is none of that name.
    pub async fn delete_policy(&self, caller: &Caller, request: DeletePolicyRequest) -> Result<WriteResult, Problem> {
        let (namespace, name) = title("name", &request.name)?;
        let command = match (request.test, namespace) {
            (true, None) => Command::DeleteTest { name },
            (true, Some(_)) => return Err(Problem::not_found("test", &request.name, "see axle policy test")),
            (false, namespace) => Command::DeletePolicy { namespace, name },
        };
        let (revision, warnings) = self.write_checked(caller, request.request_id, (command, ""), request.force).await?;
        Ok(WriteResult { revision, warnings })
    }
}

/// A policy's namespace, if it is of one, and its name: `shop/web` or `web`.
pub(super) fn title(field: &str, text: &str) -> Result<(Option<Name>, Name), Problem> {
    match text.split_once('/') {
        Some((namespace, name)) => Ok((Some(page::required(field, namespace)?), page::required(field, name)?)),
        None => Ok((None, page::required(field, text)?)),
    }
}

/// A command as it would be asked, to see what the state machine says.
pub(super) fn rehearsal(command: Command) -> Request {
    Request { command, actor: String::new(), request_id: String::new(), time_ms: 0, entropy: [0; 32] }
}

/// The workloads that a policy is about, with cluster and node.
pub(super) fn subjects<'w>(
    world: &'w World,
    scope: Scope,
    policy: &'w Policy,
) -> impl Iterator<Item = (Uid, &'w str)> + 'w {
    let matching =
        move |workload: &Workload<'_>| !matches!(world.subject_matches(scope, policy, workload), Match::No(_));
    world.workloads().filter(matching).map(|workload| (workload.cluster, workload.endpoint.node.as_str()))
}

fn change(world: &World, policy: &Policy) -> PolicyChange {
    let of_fleet = |object: &Object| object.key.scope == Scope::Fleet;
    let same = |before: &Policy| (&before.namespace, &before.name) == (&policy.namespace, &policy.name);
    let before = world.policies().find(|(object, before)| of_fleet(object) && same(before));
    let change = match before {
        None => "created",
        Some((_, before)) if before == policy => "unchanged",
        Some(_) => "changed",
    };
    let nodes: Vec<_> = subjects(world, Scope::Fleet, policy).collect();
    PolicyChange {
        name: policy.title(),
        change: change.into(),
        subjects: number(nodes.len()),
        nodes: number(nodes.into_iter().collect::<BTreeSet<_>>().len()),
        revision: before.map(|(object, _)| object.revision).unwrap_or_default(),
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Every cluster that the policies name must be registered: a misspelt name in a Deny would silently deny nothing.
pub(super) fn known_clusters(world: &World, policies: &[Policy]) -> Result<(), Problem> {
    let known: BTreeSet<&str> = world.clusters().map(|(_, cluster)| cluster.name.as_str()).collect();
    let mut violations = Vec::new();
    for policy in policies {
        let selectors = policy.peers().filter_map(Peer::clusters);
        for selector in std::iter::once(&policy.subject.clusters).chain(selectors) {
            let ClusterSelector::Names(names) = selector else { continue };
            for name in names.iter().filter(|name| !known.contains(name.as_str())) {
                let field = format!("policy {}: clusters.names", policy.title());
                let fix = suggest(name.as_str(), known.iter().copied())
                    .unwrap_or_else(|| "register it first: axle cluster add".into());
                violations.push(Violation::new("unknown_cluster", &field, name.as_str(), "a registered cluster", &fix));
            }
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(Problem::invalid(violations)) }
}

fn view(world: &World, object: &Object, policy: &Policy) -> PolicyView {
    let scope = object.key.scope;
    let cluster = match scope {
        Scope::Fleet => String::new(),
        Scope::Cluster(uid) => world.cluster(uid).map_or_else(|| uid.to_string(), |cluster| cluster.name.to_string()),
    };
    let rules = |rules: &Option<Vec<_>>| number(rules.as_ref().map_or(0, Vec::len));
    PolicyView {
        uid: object.uid.to_string(),
        cluster,
        namespace: object.key.namespace.clone(),
        name: policy.name.to_string(),
        tier: text::tier(policy.tier).into(),
        priority: policy.priority.into(),
        enforcement: text::enforcement(policy.enforcement).into(),
        disabled: policy.disabled,
        description: policy.description.clone(),
        owner: policy.owner.clone(),
        revision: object.revision,
        ingress_rules: rules(&policy.ingress),
        egress_rules: rules(&policy.egress),
        subjects: number(subjects(world, scope, policy).count()),
        document: manifest::print_policy(policy).unwrap_or_default(),
    }
}
