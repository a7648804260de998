//! `axle policy`
mod apply;
mod diff;
mod document;
mod explain;
mod history;
mod import;
mod offline;
mod preview;

use axle_proto::v1::{DeletePolicyRequest, ListRequest, PolicyView, SetPolicyDisabledRequest};
use clap::Subcommand;

use super::{begin_write, every_page, request_id, show_write, wait::Wait};
use crate::{
    failure::Failure,
    format,
    output::{Cell, Table, Tone},
    session::Session,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check documents here, without a hub.
    Validate(document::Files),
    /// Apply all policies of the documents at once, or none.
    Apply(apply::Apply),
    /// Turn policies of Cilium into policies of Axle, here, without a hub.
    Import(import::ImportArguments),
    /// List the policies.
    List,
    /// Print a policy as a document, ready to be edited and applied.
    Show {
        /// The policy's name; NAMESPACE/NAME if it is of a namespace.
        name: String,
    },
    /// Keep a policy, but take it out of force.
    Disable {
        /// The policy's name; NAMESPACE/NAME if it is of a namespace.
        name: String,
        /// Even if a test of policies fails: for admins, and it is in the audit trail.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Put a disabled policy back into force.
    Enable {
        /// The policy's name; NAMESPACE/NAME if it is of a namespace.
        name: String,
        /// Even if a test of policies fails: for admins, and it is in the audit trail.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Delete a policy, or a test of policies.
    Delete {
        /// The policy's name; NAMESPACE/NAME if it is of a namespace.
        name: String,
        /// A test of policies is meant, not a policy.
        #[arg(long)]
        test: bool,
        /// Even if a test of policies fails: for admins, and it is in the audit trail.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Say which rule decides a flow at each end, and why the rules before it do not.
    Explain(explain::Explain),
    /// Say which flows would get another verdict if these policies were applied.
    Diff(diff::Diff),
    /// Say what about policies their authors should look at.
    Lint(preview::Lint),
    /// Run tests of policies: assertions about who may talk to whom.
    Test(preview::Test),
    /// List the versions of a policy: who wrote it when, and what changed.
    History(history::History),
    /// Bring a version of a policy back, as a new revision.
    Rollback(history::Rollback),
}

impl Command {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        match self {
            Self::Validate(files) => document::validate(&files, session.output),
            Self::Apply(apply) => apply.run(session).await,
            Self::Import(import) => import.run(session.output),
            Self::List => list(session).await,
            Self::Show { name } => show(session, &name).await,
            Self::Disable { name, force, wait } => set_disabled(session, (name, true), force, &wait).await,
            Self::Enable { name, force, wait } => set_disabled(session, (name, false), force, &wait).await,
            Self::Delete { name, test, force, wait } => delete(session, (name, test), force, &wait).await,
            Self::Explain(explain) => explain.run(session).await,
            Self::Diff(diff) => diff.run(session).await,
            Self::Lint(lint) => lint.run(session).await,
            Self::Test(test) => test.run(session).await,
            Self::History(history) => history.run(session).await,
            Self::Rollback(rollback) => rollback.run(session).await,
        }
    }
}

async fn policies(session: &Session, name: &str) -> Result<Vec<PolicyView>, Failure> {
    let mut admin = session.admin().await?;
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let request = ListRequest { namespace: namespace.to_owned(), name: name.to_owned(), ..ListRequest::default() };
    every_page(request, async |request| {
        let page = admin.list_policies(request).await?.into_inner();
        Ok((page.policies, page.next_cursor))
    })
    .await
}

async fn list(session: &Session) -> Result<(), Failure> {
    session.output.show(&policies(session, "").await?, |policies| table(policies))
}

async fn show(session: &Session, name: &str) -> Result<(), Failure> {
    let policies = policies(session, name).await?;
    let policy = policies
        .first()
        .ok_or_else(|| Failure::usage(format!("there is no policy {name:?}")).fix("axle policy list"))?;
    session.output.show_text(policy, |policy| policy.document.clone())
}

async fn set_disabled(
    session: &Session,
    (name, disabled): (String, bool),
    force: bool,
    wait: &Wait,
) -> Result<(), Failure> {
    let mut admin = session.admin().await?;
    let what = format!("policy {name} is {}", if disabled { "disabled" } else { "in force" });
    begin_write(session);
    let request = SetPolicyDisabledRequest { name, disabled, request_id: request_id()?, force };
    let result = admin.set_policy_disabled(request).await?.into_inner();
    show_write(session, &what, &result)?;
    wait.run(session, &mut admin, result.revision).await
}

async fn delete(session: &Session, (name, test): (String, bool), force: bool, wait: &Wait) -> Result<(), Failure> {
    let mut admin = session.admin().await?;
    let what = format!("{} {name} is deleted", if test { "test" } else { "policy" });
    begin_write(session);
    let request = DeletePolicyRequest { name, request_id: request_id()?, force, test };
    let result = admin.delete_policy(request).await?.into_inner();
    show_write(session, &what, &result)?;
    wait.run(session, &mut admin, result.revision).await
}

/// The policy's name, with its namespace if it is of one.
fn title(policy: &PolicyView) -> String {
    if policy.namespace.is_empty() { policy.name.clone() } else { format!("{}/{}", policy.namespace, policy.name) }
}

fn table(policies: &[PolicyView]) -> Table {
    let mut table =
        Table::new(["NAME", "TIER", "PRIORITY", "STATE", "INGRESS", "EGRESS", "SUBJECTS", "REVISION", "SCOPE"]);
    for policy in policies {
        let state = match (policy.disabled, policy.enforcement.as_str()) {
            (true, _) => Cell("disabled".into(), Tone::Warn),
            (false, "audit") => Cell("audit".into(), Tone::Warn),
            (false, _) => Cell("enforced".into(), Tone::Good),
        };
        let scope = if policy.cluster.is_empty() { "fleet" } else { policy.cluster.as_str() };
        table.row([
            title(policy).into(),
            policy.tier.as_str().into(),
            policy.priority.to_string().into(),
            state,
            format::count(policy.ingress_rules as usize, "rule").into(),
            format::count(policy.egress_rules as usize, "rule").into(),
            policy.subjects.to_string().into(),
            policy.revision.to_string().into(),
            scope.into(),
        ]);
    }
    table
}
