//! Where a cluster is: its context, its agents, and what the hub has of it.
use axle_proto::v1::{ClusterView, ListRequest};

use super::{
    super::every_page,
    kubectl::{Kubectl, text},
};
use crate::{client::Admin, failure::Failure, session::Session};

/// The label by which pods of the agents are told apart.
pub(super) const NAME: &str = "app.kubernetes.io/name";
/// Its value at relays, and the name of what they keep.
pub(super) const RELAY: &str = "axle-relay";

/// The context that was named.
pub(super) fn kubectl(session: &Session) -> Result<Kubectl, Failure> {
    let context = session.kube_context.as_deref().ok_or_else(|| {
        Failure::usage("which cluster? --context names a context of your kubeconfig")
            .fix("kubectl config get-contexts shows those that there are")
    })?;
    Ok(Kubectl::new(context))
}

/// The hub's clusters.
pub(super) async fn clusters(admin: &mut Admin) -> Result<Vec<ClusterView>, Failure> {
    every_page(ListRequest::default(), async |request| {
        let page = admin.list_clusters(request).await?.into_inner();
        Ok((page.clusters, page.next_cursor))
    })
    .await
}

/// The uid at the hub of the cluster as which the relay of a namespace has joined.
pub(super) fn joined_as(kubectl: &Kubectl, namespace: &str) -> Result<Option<String>, Failure> {
    let map = kubectl.json(&["get", "configmap", RELAY, "--namespace", namespace])?;
    Ok(Some(text(&map, "/data/cluster").to_owned()).filter(|uid| !uid.is_empty()))
}
