//! `axle cluster join`: a cluster of the kubeconfig becomes one of the fleet.
use std::time::{Duration, Instant};

use axle_core::duration;
use axle_proto::v1::{ClusterView, CreateTokenRequest, GetStatusRequest};
use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::{
    super::begin_write,
    check::{self, Report},
    installation::{Installation, Settings, chosen},
    kubectl::{Change, Kubectl, items, text},
    membership::{Membership, has_joined},
    place,
    progress::{Progress, complaint},
    surroundings,
};
use crate::{
    client::Admin,
    failure::{Exit, Failure, Fault},
    format,
    output::note,
    session::Session,
};

const EXAMPLES: &str = "\
Examples:
  axle cluster join --context oslo
  axle cluster join --context kind-lab --name lab --prefix 10.244.0.0/16 --hub hub.example.org:7443
  axle cluster join --context oslo --values >values.yaml
  axle cluster join --name oslo --prefix 10.1.0.0/16 --manifests | kubectl apply --server-side -f -

It registers the cluster if the hub does not know it yet, makes a join token if it has not joined yet, applies the agents, and
waits until the relay and every node are connected. Run again it changes nothing. What it does not set is set by Helm: with
--values, from charts/axle-agent.";
/// How often it is looked.
const PACE: Duration = Duration::from_secs(1);
/// How long the token is good.
const TOKEN_S: u64 = 3_600;
/// What is applied, by who may.
const RIGHTS: [(&str, &str); 9] = [
    ("patch", "namespaces"),
    ("patch", "customresourcedefinitions.apiextensions.k8s.io"),
    ("patch", "clusterroles.rbac.authorization.k8s.io"),
    ("patch", "clusterrolebindings.rbac.authorization.k8s.io"),
    ("patch", "secrets"),
    ("patch", "serviceaccounts"),
    ("patch", "daemonsets.apps"),
    ("patch", "deployments.apps"),
    ("create", "pods/exec"),
];

/// Make a cluster of your kubeconfig one of the fleet: registers it, installs the agents there, waits and checks.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Join {
    #[command(flatten)]
    membership: Membership,
    #[command(flatten)]
    settings: Settings,
    /// Print values for the chart instead of applying anything; the token's Secret is to be made as it says.
    #[arg(long, conflicts_with = "manifests")]
    values: bool,
    /// Print what would be applied, with the token, instead of applying it.
    #[arg(long)]
    manifests: bool,
    /// Do not wait until all of it is connected.
    #[arg(long)]
    no_wait: bool,
    /// Give up waiting after this long, and say what is missing (exit code 7).
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    timeout: Duration,
    /// Do not test whether pods of it and of other clusters reach each other; see axle cluster check.
    #[arg(long)]
    no_check: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Joined {
    cluster: String,
    hub: String,
    namespace: String,
    prefixes: Vec<String>,
    /// The hub did not know it before.
    registered: bool,
    /// It was given a token to join with.
    token: bool,
    objects: Vec<Change>,
    /// That are connected and enforce; absent if nobody waited.
    nodes: Option<usize>,
    check: Option<Report>,
}

impl Join {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let prints = self.values || self.manifests;
        let context = session.kube_context.as_deref();
        let kubectl = context.map(Kubectl::new);
        if kubectl.is_none() && !(prints && self.membership.name.is_some()) {
            place::kubectl(session)?;
        }
        let nodes = kubectl.as_ref().map(surroundings::nodes).transpose()?;
        if let Some(kubectl) = kubectl.as_ref().filter(|_| !prints) {
            self.may_apply(kubectl)?;
        }
        let name = context.unwrap_or_default();
        let name = chosen(self.membership.name.clone(), surroundings::name(name), name)?;
        let settings = self.settings.clone();

        let mut admin = session.admin().await?;
        let hub = self.membership.hub_address(&mut admin).await?;
        let clusters = place::clusters(&mut admin).await?;
        let found = kubectl.as_ref().zip(nodes.as_ref());
        let (cluster, registered) = self.membership.registered(session, &mut admin, &clusters, &name, found).await?;
        let has_joined = match &kubectl {
            Some(kubectl) => has_joined(kubectl, settings.namespace.as_str(), &cluster, &clusters)?,
            None => false,
        };
        let token = if has_joined { None } else { Some(token(session, &mut admin, &cluster).await?) };
        let installation = Installation { settings, hub: hub.clone(), cluster: name, token };
        if prints {
            return self.print(session, &installation);
        }
        let kubectl = place::kubectl(session)?;
        *session.standing.borrow_mut() =
            format!("cluster {} is registered and its agents may be applied; the same command goes on", cluster.name);
        let objects = kubectl.apply(&installation.documents())?;
        let changed = objects.iter().filter(|object| object.change != "unchanged").count();
        let of = format::count(objects.len(), "object");
        note(&match changed {
            0 => format!("{of} are there already as they should be"),
            _ => format!("{changed} of {of} created or changed in namespace {}", installation.settings.namespace),
        });
        let mut joined = Joined {
            cluster: cluster.name.clone(),
            hub,
            namespace: installation.settings.namespace.to_string(),
            prefixes: cluster.prefixes.clone(),
            registered,
            token: installation.token.is_some(),
            objects,
            nodes: None,
            check: None,
        };
        if !self.no_wait {
            joined.nodes = Some(self.wait(&mut admin, &kubectl, &joined).await?);
            if !self.no_check {
                let (namespace, clusters) = (&joined.namespace, place::clusters(&mut admin).await?);
                joined.check = Some(check::probe(&mut admin, &kubectl, namespace, &cluster, &clusters, &[]).await?);
            }
        }
        session.output.show_text(&joined, |joined| joined.describe(session))?;
        joined.check.map_or(Ok(()), |report| report.conclude())
    }

    /// Before anything is changed anywhere.
    fn may_apply(&self, kubectl: &Kubectl) -> Result<(), Failure> {
        let lacking = kubectl.lacks(self.settings.namespace.as_str(), &RIGHTS)?;
        if lacking.is_empty() {
            let left = ["get", "daemonsets", "--all-namespaces", "--field-selector=metadata.name=axle-cleanup"];
            return nothing_ends_it(&kubectl.json(&left)?);
        }
        let message = format!("you may not do there what it takes: {}", lacking.join(", "));
        let fix = "ask who administers the cluster for these rights, or to apply what --manifests prints";
        Err(Failure::new(Exit::Auth, "kube_forbidden", message).fix(fix))
    }

    fn print(&self, session: &Session, installation: &Installation) -> Result<(), Failure> {
        if self.manifests {
            return session.output.print(&installation.documents());
        }
        let namespace = &installation.settings.namespace;
        if let Some(token) = &installation.token {
            note(&format!(
                "the relay joins with a token, good for an hour; it is in no values, but in a Secret:\n  kubectl create \
                 namespace {namespace}\n  kubectl create secret generic axle-join --namespace {namespace} --from-literal=token={token}"
            ));
        }
        note(&format!("then: helm upgrade --install agents charts/axle-agent --namespace {namespace} --values FILE"));
        session.output.print(&installation.values())
    }

    async fn wait(&self, admin: &mut Admin, kubectl: &Kubectl, joined: &Joined) -> Result<usize, Failure> {
        let (begin, mut said) = (Instant::now(), String::new());
        let namespace = joined.namespace.as_str();
        loop {
            let pods = kubectl.json(&["get", "pods", "--namespace", namespace])?;
            let daemons = kubectl.json(&["get", "daemonset", "axle-agent", "--namespace", namespace])?;
            let status = admin.get_status(GetStatusRequest {}).await?.into_inner();
            let now =
                Progress::of(&pods, &daemons, status.clusters.iter().find(|cluster| cluster.name == joined.cluster));
            if now.describe() != said {
                said = now.describe();
                note(&said);
            }
            if now.is_complete() {
                return Ok(now.ready.0);
            }
            if begin.elapsed() >= self.timeout {
                let selector = format!("--selector={}={}", place::NAME, place::RELAY);
                let log = kubectl.run(&["logs", "--namespace", namespace, &selector, "--tail=20"]).unwrap_or_default();
                let message = format!(
                    "cluster {} is not all there after {}: {said}",
                    joined.cluster,
                    format::duration(millis(self.timeout))
                );
                let mut failure = Failure::new(Exit::TimedOut, "timed_out", message);
                let lacking = now.lacking(complaint(&log), &joined.hub);
                failure.faults = lacking.into_iter().map(|(place, text)| Fault { place, text }).collect();
                return Err(failure.fix("mend that, then run the same command again: it goes on"));
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

/// What an earlier removal `left` for nodes that were away takes links, pins and the CNI chain from whoever comes beside it, in
/// whatever namespace.
fn nothing_ends_it(left: &Value) -> Result<(), Failure> {
    let Some(namespace) = items(left).first().map(|daemon| text(daemon, "/metadata/namespace")) else { return Ok(()) };
    let message = format!(
        "the DaemonSet axle-cleanup of an earlier removal is still there in namespace {namespace}, for nodes that were away, and \
         would end enforcement of new agents"
    );
    let fix = format!("kubectl --namespace {namespace} delete daemonset axle-cleanup, then again");
    Err(Failure::new(Exit::Conflict, "kube_conflict", message).fix(fix))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn token(session: &Session, admin: &mut Admin, cluster: &ClusterView) -> Result<String, Failure> {
    begin_write(session);
    let request = CreateTokenRequest { cluster: cluster.name.clone(), ttl_seconds: TOKEN_S };
    Ok(admin.create_token(request).await?.into_inner().token)
}

impl Joined {
    fn describe(&self, session: &Session) -> String {
        let is_new = self.registered || self.token || self.objects.iter().any(|object| object.change != "unchanged");
        let mut text = format!("cluster {}", self.cluster);
        text += match (is_new, self.nodes) {
            (false, _) => " had joined: nothing was changed",
            (true, Some(_)) => " has joined",
            (true, None) => " joins",
        };
        text += &self.nodes.map_or_else(String::new, |nodes| format!("; {} enforce", format::count(nodes, "node")));
        let check = self.check.as_ref().map_or_else(String::new, |report| report.describe(session.output));
        format!("{text}\n{check}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn agents_do_not_come_beside_what_ends_enforcement() {
        let left = |daemons: Value| nothing_ends_it(&json!({"kind": "List", "items": daemons}));
        assert!(left(json!([])).is_ok() && nothing_ends_it(&Value::Null).is_ok());
        let refused = left(json!([{"metadata": {"name": "axle-cleanup", "namespace": "axle-old"}}])).unwrap_err();
        assert_eq!(refused.exit, Exit::Conflict);
        let fix = &refused.fix;
        assert!(fix.contains("kubectl --namespace axle-old delete daemonset axle-cleanup"), "{fix}");
    }
}
