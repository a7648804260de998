//! The end of an installation: a DaemonSet cleans up on every node, and goes when it has.
use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, api::DeleteParams};
use tokio::time::{Instant, sleep};

use super::client::ApiServer;

/// How long until the DaemonSet is looked at again.
const PAUSE: Duration = Duration::from_secs(1);

/// Why it is not over.
#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    /// The API server says no, or nothing.
    #[error("the DaemonSet {name} in {namespace}: {why}")]
    Api {
        /// The DaemonSet.
        name: String,
        /// Its namespace.
        namespace: String,
        /// What was said.
        why: String,
    },
    /// A node does not come to it.
    #[error(
        "only {done} of {nodes} nodes are cleaned up after {within:?}: the DaemonSet {name} in {namespace} stays, and does it \
         on the others when they are back; delete it then"
    )]
    Unfinished {
        /// The DaemonSet.
        name: String,
        /// Its namespace.
        namespace: String,
        /// Nodes that are cleaned up.
        done: i32,
        /// Nodes that are to be.
        nodes: i32,
        /// How long was waited.
        within: Duration,
    },
}

/// Waits until the DaemonSet `name` of this pod's namespace is ready on every node, and deletes it. How many nodes there are.
///
/// # Errors
/// See [`UninstallError`]; the DaemonSet is still there then.
pub async fn finish(api: &ApiServer, name: &str, within: Duration) -> Result<i32, UninstallError> {
    let sets = Api::<DaemonSet>::namespaced(api.client(), api.namespace());
    let until = Instant::now() + within;
    let named = |why: kube::Error| UninstallError::Api {
        name: name.to_owned(),
        namespace: api.namespace().to_owned(),
        why: why.to_string(),
    };
    loop {
        let got = sets.get(name).await;
        let (done, nodes) = got.as_ref().map_or((0, 0), progress);
        if nodes > 0 && done == nodes {
            sets.delete(name, &DeleteParams::default()).await.map_err(named)?;
            return Ok(nodes);
        }
        if Instant::now() >= until {
            got.map_err(named)?;
            let (name, namespace) = (name.to_owned(), api.namespace().to_owned());
            return Err(UninstallError::Unfinished { name, namespace, done, nodes, within });
        }
        sleep(PAUSE).await;
    }
}

/// On how many nodes it is done, and on how many it is to be. Before its controller has seen it there is none.
fn progress(set: &DaemonSet) -> (i32, i32) {
    match &set.status {
        Some(status) if status.observed_generation == set.metadata.generation => {
            (status.number_ready, status.desired_number_scheduled)
        }
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_controller_has_not_seen_is_not_done() {
        let set = |observed: i64| -> DaemonSet {
            let status = json!({"observedGeneration": observed, "numberReady": 2, "desiredNumberScheduled": 3,
                                "currentNumberScheduled": 3, "numberMisscheduled": 0});
            serde_json::from_value(json!({"metadata": {"generation": 2}, "status": status})).unwrap()
        };
        assert_eq!(progress(&set(2)), (2, 3));
        assert_eq!(progress(&set(1)), (0, 0));
        assert_eq!(progress(&DaemonSet::default()), (0, 0));
    }
}
