//! `axle cluster drain` and `remove`: nobody is led to a cluster's backends any more before it goes.
use std::time::{Duration, Instant};

use axle_core::{duration, model::Name};
use axle_proto::v1::{
    ClusterView, DrainClusterRequest, ListRequest, RemoveClusterRequest, RevisionProgress, WatchRevisionRequest,
    WriteResult,
};
use clap::Args;
use serde_json::Value;

use super::{
    super::{begin_write, every_page, request_id, show_write},
    installation::{Installation, Settings, image, namespace},
    kubectl::{Kubectl, items, text},
    place,
};
use crate::{
    client::Admin,
    failure::{Exit, Failure, Fault},
    format,
    output::note,
    session::Session,
};

/// How often it is looked.
const PACE: Duration = Duration::from_secs(1);
/// Of what is in the cluster only this is left: who wants it away deletes policies and exports with it.
const KEPT: &str = "the definitions of axle.dev and multicluster.x-k8s.io, and what is of them, are left";

/// Lead nobody in other clusters to a cluster's backends any more; it stays in the fleet.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  axle cluster drain oslo\n  axle cluster drain oslo --undo")]
pub(crate) struct Drain {
    /// The cluster's name.
    name: String,
    /// It stays after all.
    #[arg(long)]
    undo: bool,
    /// Give up waiting for the other clusters' nodes after this long (exit code 7).
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
}

/// Remove a cluster with everything it owns, once nobody is led to its backends any more.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  axle cluster remove oslo --context oslo\n  axle cluster remove oslo\n  axle cluster remove \
                        oslo --force\n\nIf it exports services it is drained first, and every node of other clusters must have \
                        said so. Then its session ends and its certificates are worth nothing. With --context the agents \
                        are uninstalled there and enforcement ends on its nodes; without, what is in force there stays so."
)]
pub(crate) struct Remove {
    /// The cluster's name.
    name: Name,
    /// Drain nothing and wait for nobody: for a cluster that is gone.
    #[arg(long)]
    force: bool,
    /// Give up waiting after this long, for other clusters and for the clean-up of its nodes each (exit code 7).
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,
    /// The namespace of its agents.
    #[arg(long, value_name = "NAME", default_value = "axle-system", value_parser = namespace)]
    namespace: Name,
    /// The image that ends enforcement on its nodes [default: that of its agents].
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    image: Option<String>,
}

impl Drain {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut admin = session.admin().await?;
        let result = drain(session, &mut admin, &self.name, self.undo).await?;
        held(session, &mut admin, &self.name, &result, self.timeout).await?;
        let what = if self.undo { "stays" } else { "is drained" };
        show_write(session, &format!("cluster {} {what}", self.name), &result)
    }
}

impl Remove {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let mut admin = session.admin().await?;
        let clusters = place::clusters(&mut admin).await?;
        let installed = session.kube_context.as_deref().map(Kubectl::new);
        let installed = installed.map(|kubectl| self.found(kubectl, &clusters)).transpose()?;
        let is_known = clusters.iter().any(|cluster| cluster.name == self.name.as_str());
        let mut result = WriteResult::default();
        // Whose agents alone are left is removed already.
        if is_known || installed.is_none() {
            if !self.force && exports(&mut admin, self.name.as_str()).await? {
                let drained = drain(session, &mut admin, self.name.as_str(), false).await?;
                held(session, &mut admin, self.name.as_str(), &drained, self.timeout).await?;
                note(&format!("no other cluster leads anybody to {} any more", self.name));
            }
            begin_write(session);
            let request = RemoveClusterRequest { name: self.name.to_string(), request_id: request_id()? };
            result = admin.remove_cluster(request).await?.into_inner();
        }
        if let Some((kubectl, installation)) = &installed {
            *session.standing.borrow_mut() = format!(
                "cluster {} is removed at the hub; the same command goes on to uninstall its agents",
                self.name
            );
            uninstall(kubectl, installation, self.timeout)?;
        }
        show_write(session, &format!("cluster {} is removed", self.name), &result)
    }

    /// What is to be uninstalled: not another cluster's agents, nor what Helm would miss.
    fn found(&self, kubectl: Kubectl, clusters: &[ClusterView]) -> Result<(Kubectl, Installation), Failure> {
        let namespace = self.namespace.as_str();
        let joined = place::joined_as(&kubectl, namespace)?;
        let relay = kubectl.json(&["get", "deployment", place::RELAY, "--namespace", namespace])?;
        if let Some(other) = other(self.name.as_str(), clusters, joined.as_deref(), &relay) {
            let message = format!("the agents of this context are those of {other}, wanted {}", self.name);
            return Err(Failure::new(Exit::Conflict, "other_cluster", message)
                .fix("name the context of the cluster that is to go"));
        }
        let agents = kubectl.json(&["get", "daemonset", "axle-agent", "--namespace", namespace])?;
        if text(&agents, "/metadata/labels/app.kubernetes.io~1managed-by") == "Helm" {
            let message = format!("the agents of namespace {namespace} were installed by Helm");
            let fix = "uninstall them by Helm, with uninstall.cleanup=true, then run this again without --context";
            return Err(Failure::new(Exit::Conflict, "kube_conflict", message).fix(fix));
        }
        let image =
            Some(text(&agents, "/spec/template/spec/containers/0/image").to_owned()).filter(|image| !image.is_empty());
        let settings = Settings { namespace: self.namespace.clone(), image: self.image.clone().or(image) };
        Ok((kubectl, Installation { settings, hub: String::new(), cluster: self.name.clone(), token: None }))
    }
}

/// Whose the agents are, if they are not the cluster's: they `joined` as another one, of this hub or of one that it does not
/// know. Of a cluster that the hub knows no more, or that has not joined yet, its relay's settings have the name.
fn other(name: &str, clusters: &[ClusterView], joined: Option<&str>, relay: &Value) -> Option<String> {
    if let Some(there) = clusters.iter().find(|cluster| Some(cluster.uid.as_str()) == joined) {
        return (there.name != name).then(|| there.name.clone());
    }
    let settings = relay.pointer("/spec/template/spec/containers/0/env").and_then(Value::as_array);
    let is_name = |setting: &&Value| text(setting, "/name") == "AXLE_CLUSTER";
    let called = settings.into_iter().flatten().find(is_name).map_or("", |setting| text(setting, "/value"));
    let is_known = joined.is_some() && clusters.iter().any(|cluster| cluster.name == name);
    (is_known || !called.is_empty() && called != name)
        .then(|| format!("{called:?}, of another hub, removed before or not joined yet"))
}

async fn exports(admin: &mut Admin, cluster: &str) -> Result<bool, Failure> {
    let services = every_page(ListRequest::default(), async |request| {
        let page = admin.list_services(request).await?.into_inner();
        Ok((page.services, page.next_cursor))
    });
    Ok(services.await?.iter().flat_map(|service| &service.exports).any(|export| export.cluster == cluster))
}

async fn drain(session: &Session, admin: &mut Admin, name: &str, undo: bool) -> Result<WriteResult, Failure> {
    begin_write(session);
    let request = DrainClusterRequest { name: name.to_owned(), undo, request_id: request_id()? };
    let result = admin.drain_cluster(request).await?.into_inner();
    *session.standing.borrow_mut() = format!("cluster {name} drains; axle cluster drain {name} --undo takes that back");
    Ok(result)
}

/// Waits until every node of the other clusters has it.
async fn held(
    session: &Session,
    admin: &mut Admin,
    name: &str,
    result: &WriteResult,
    timeout: Duration,
) -> Result<(), Failure> {
    let revision = match result.revision {
        // It drained already: whoever holds the revision that last wrote the cluster knows.
        0 => place::clusters(admin)
            .await?
            .iter()
            .find(|cluster| cluster.name == name)
            .map_or(0, |cluster| cluster.revision),
        revision => revision,
    };
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let mut news = admin.watch_revision(WatchRevisionRequest { revision, timeout_ms }).await?.into_inner();
    let mut last = RevisionProgress::default();
    while let Some(now) = news.message().await? {
        last = now;
        if late(&last, name).next().is_none() {
            return Ok(());
        }
    }
    let message =
        format!("not every node of other clusters knows after {} that {name} drains", format::duration(timeout_ms));
    let mut failure = Failure::new(Exit::TimedOut, "timed_out", message);
    failure.faults = late(&last, name).collect();
    let standing = session.standing.borrow();
    Err(failure.fix(format!("remove nodes that are gone (axle node remove), then again; or --force. {standing}")))
}

/// Who has not said yet that it knows, but for the cluster itself: nobody waits for who goes.
fn late<'p>(progress: &'p RevisionProgress, name: &str) -> impl Iterator<Item = Fault> + use<'p> {
    let name = name.to_owned();
    let others = progress.late.iter().filter(move |node| node.cluster != name);
    others.map(|node| Fault { place: format!("{}/{}", node.cluster, node.node), text: node.reason.clone() })
}

/// Takes away what join applied, and what the agents left in kernels and CNI chains.
fn uninstall(kubectl: &Kubectl, installation: &Installation, timeout: Duration) -> Result<(), Failure> {
    let namespace = installation.settings.namespace.as_str();
    let documents = |all: Vec<String>| all.iter().map(|text| format!("---\n{text}\n")).collect::<String>();
    let delete = |all: &str| {
        let line = ["delete", "--ignore-not-found", "--timeout=2m", "--cascade=foreground", "-f", "-"];
        kubectl.feed(&line, all).map(drop)
    };
    note(&format!("the agents of namespace {namespace} are taken away"));
    delete(&documents(installation.agents()))?;
    let cleanup = documents(installation.cleanup());
    kubectl.apply(&cleanup)?;
    let begin = Instant::now();
    loop {
        let selector = format!("--selector={}=axle-cleanup", place::NAME);
        let pods = kubectl.json(&["get", "pods", "--namespace", namespace, &selector])?;
        let daemon = kubectl.json(&["get", "daemonset", "axle-cleanup", "--namespace", namespace])?;
        let wanted = daemon["status"]["desiredNumberScheduled"].as_u64().unwrap_or_default();
        let clean = items(&pods).iter().filter(|pod| is_clean(pod)).count();
        let is_seen = daemon["status"]["observedGeneration"].as_u64().is_some();
        if is_seen && u64::try_from(clean).unwrap_or_default() >= wanted {
            break;
        }
        if begin.elapsed() >= timeout {
            let message = format!("enforcement has ended on {clean} of {wanted} nodes");
            let fix = format!(
                "kubectl --namespace {namespace} get pods shows why; `axle-agent cleanup` ends it on a node by hand"
            );
            return Err(Failure::new(Exit::TimedOut, "timed_out", message).fix(fix));
        }
        std::thread::sleep(PACE);
    }
    delete(&cleanup)?;
    let kept = ["secret/axle-relay", "secret/axle-join", "configmap/axle-relay", "lease/axle-relay"];
    kubectl.run(&[&["delete", "--ignore-not-found", "--namespace", namespace], &kept[..]].concat())?;
    note(&format!("enforcement has ended on its nodes; the namespace {namespace} and {KEPT}"));
    Ok(())
}

/// Whether the clean-up of a pod's node is done.
fn is_clean(pod: &Value) -> bool {
    let containers = pod["status"]["initContainerStatuses"].as_array().into_iter().flatten();
    let mut states =
        containers.filter(|one| text(one, "/name") == "cleanup").map(|one| &one["state"]["terminated"]["exitCode"]);
    states.any(|code| *code == 0)
}

#[cfg(test)]
mod tests {
    use axle_proto::v1::NodeAnswer;
    use serde_json::json;

    use super::*;

    #[test]
    fn nobody_waits_for_who_goes() {
        let answer = |cluster: &str| NodeAnswer { cluster: cluster.into(), node: "n1".into(), reason: "away".into() };
        let progress = RevisionProgress { late: vec![answer("oslo"), answer("lima")], ..RevisionProgress::default() };
        let places: Vec<_> = late(&progress, "oslo").map(|fault| fault.place).collect();
        assert_eq!(places, ["lima/n1"]);
    }

    #[test]
    fn only_its_own_agents_go_with_a_cluster() {
        let cluster =
            |name: &str, uid: &str| ClusterView { name: name.into(), uid: uid.into(), ..ClusterView::default() };
        let relay = |name: &str| json!({"spec": {"template": {"spec": {"containers": [{"env": [{"name": "AXLE_CLUSTER", "value": name}]}]}}}});
        let clusters = [cluster("oslo", "1"), cluster("lima", "2")];
        let others = |joined, relay: &Value| other("oslo", &clusters, joined, relay);
        assert_eq!(others(Some("1"), &relay("oslo")), None);
        assert_eq!(others(None, &Value::Null), None, "none that joined");
        assert_eq!(others(None, &relay("oslo")), None, "not yet");
        assert!(others(None, &relay("lima")).is_some(), "another that has not joined yet");
        assert_eq!(others(Some("2"), &relay("lima")).as_deref(), Some("lima"));
        assert!(others(Some("3"), &relay("oslo")).is_some(), "of another hub, or of an oslo that was there before");
        // The hub knows it no more: its agents alone are left.
        assert_eq!(other("oslo", &clusters[1..], Some("1"), &relay("oslo")), None);
        assert_eq!(other("oslo", &clusters[1..], Some("1"), &Value::Null), None, "half of them are gone already");
        assert!(other("osol", &clusters[1..], Some("1"), &relay("oslo")).is_some(), "misspelt");
    }

    #[test]
    fn a_node_is_clean_when_its_clean_up_has_ended_well() {
        let pod = |code: u64| json!({"status": {"initContainerStatuses": [{"name": "cleanup", "state": {"terminated": {"exitCode": code}}}]}});
        assert!(is_clean(&pod(0)) && !is_clean(&pod(1)) && !is_clean(&json!({})));
    }
}
