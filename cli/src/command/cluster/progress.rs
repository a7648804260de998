//! How far a cluster has come on its way into the fleet, and what is in its way.
use std::collections::BTreeSet;

use axle_proto::v1::ClusterStatus;
use serde_json::Value;

use super::kubectl::{items, text};

/// What keeps a container from running that waiting alone does not mend.
const FAULTS: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
];

/// What is still to come, and what is wrong: nothing of both is the end.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Progress {
    /// Nodes that are connected and enforce, of how many.
    pub(super) ready: (usize, usize),
    pub(super) relay: bool,
    /// Agents are no others than were applied.
    current: bool,
    /// Each with what it is about.
    pub(super) faults: Vec<(String, String)>,
    /// Pods that have not started, with why they say so.
    starting: Vec<(String, String)>,
    missing: Vec<String>,
}

impl Progress {
    /// What pods and the hub say. Of `daemons`, the agents' DaemonSet, it is known how many nodes there should be.
    pub(super) fn of(pods: &Value, daemons: &Value, cluster: Option<&ClusterStatus>) -> Self {
        let number = |field: &str| daemons["status"][field].as_u64().unwrap_or_default();
        let wanted = number("desiredNumberScheduled");
        let is_seen = daemons["metadata"]["generation"] == daemons["status"]["observedGeneration"];
        let current = is_seen && number("updatedNumberScheduled") >= wanted;
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let is_agent = |pod: &&Value| text(pod, "/metadata/labels/app.kubernetes.io~1name") == "axle-agent";
        let places = items(pods).iter().filter(is_agent).map(|pod| text(pod, "/spec/nodeName"));
        let places: BTreeSet<_> = places.filter(|node| !node.is_empty()).collect();
        let node = |name: &str| cluster?.nodes.iter().find(|node| node.name == name);
        let is_ready = |name: &str| node(name).is_some_and(|node| node.connected && node.applied_revision > 0);
        let missing: Vec<_> = places.iter().filter(|name| !is_ready(name)).map(|name| (*name).to_owned()).collect();
        let ready = places.len() - missing.len();
        let relay = cluster.is_some_and(|cluster| cluster.connected);
        let faults: Vec<_> = items(pods).iter().filter_map(fault).collect();
        let starting = items(pods).iter().flat_map(waiting).map(|(at, reason, _)| (at, reason));
        let starting = starting.filter(|(at, _)| !faults.iter().any(|(faulty, _)| faulty == at)).collect();
        Self { ready: (ready, wanted), current, relay, faults, starting, missing }
    }

    /// Whether all of it is there. Of no nodes nobody knows yet how many there will be.
    pub(super) fn is_complete(&self) -> bool {
        self.relay && self.current && self.ready.1 > 0 && self.ready.0 >= self.ready.1
    }

    pub(super) fn describe(&self) -> String {
        let relay = if self.relay { "its relay is connected" } else { "its relay is not connected yet" };
        let faults: String = self.faults.iter().map(|(at, what)| format!("; {at}: {what}")).collect();
        let rolls = if self.current { "" } else { ", agents are still to be exchanged" };
        format!("{relay}, {} of {} nodes enforce{rolls}{faults}", self.ready.0, self.ready.1)
    }

    /// What there is to see to, when it took too long.
    pub(super) fn lacking(&self, relay_says: &str, hub: &str) -> Vec<(String, String)> {
        let mut all = [&self.faults[..], &self.starting].concat();
        if !self.relay {
            let says = if relay_says.is_empty() { "it has not said anything yet" } else { relay_says };
            all.push((
                "relay".into(),
                format!("not connected to the hub; can pods there reach {hub}? It says: {says}"),
            ));
        }
        all.extend(
            self.missing.iter().map(|node| (format!("node {node}"), "its agent has not reported to the hub".into())),
        );
        all
    }
}

/// What the containers of a pod wait for: of which pod, the reason, and more about it.
fn waiting(pod: &Value) -> Vec<(String, String, String)> {
    let at = format!("pod {} on {}", text(pod, "/metadata/name"), text(pod, "/spec/nodeName"));
    let list = |name: &str| pod["status"][name].as_array().cloned().unwrap_or_default();
    let containers = [list("initContainerStatuses"), list("containerStatuses")].concat();
    let waits = |container: &Value| {
        let reason = text(container, "/state/waiting/reason").to_owned();
        let more = format!("{} (image {})", text(container, "/state/waiting/message"), text(container, "/image"));
        (!reason.is_empty()).then(|| (at.clone(), reason, more))
    };
    containers.iter().filter_map(waits).collect()
}

/// What is wrong with a pod, if that is more than that it is not ready yet.
fn fault(pod: &Value) -> Option<(String, String)> {
    let broken = waiting(pod).into_iter().find(|(_, reason, _)| FAULTS.contains(&reason.as_str()));
    if let Some((at, reason, more)) = broken {
        return Some((at, format!("{reason}: {more}")));
    }
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let unscheduled = conditions.iter().find(|one| one["type"] == "PodScheduled" && one["status"] == "False")?;
    Some((format!("pod {}", text(pod, "/metadata/name")), format!("not scheduled: {}", text(unscheduled, "/message"))))
}

/// The last thing of weight in a log.
pub(super) fn complaint(log: &str) -> &str {
    let weighs = |line: &&str| [" WARN ", " ERROR ", "error"].iter().any(|word| line.contains(word));
    log.lines().rev().find(weighs).or_else(|| log.lines().next_back()).unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use axle_proto::v1::NodeStatusView;
    use serde_json::json;

    use super::*;

    fn agent(node: &str) -> Value {
        json!({"kind": "Pod", "metadata": {"name": format!("axle-agent-{node}"), "labels": {"app.kubernetes.io/name": "axle-agent"}},
               "spec": {"nodeName": node}, "status": {}})
    }

    fn cluster(nodes: &[(&str, bool, u64)]) -> ClusterStatus {
        let node = |(name, connected, applied_revision): &(&str, bool, u64)| NodeStatusView {
            name: (*name).to_owned(),
            connected: *connected,
            applied_revision: *applied_revision,
            ..NodeStatusView::default()
        };
        ClusterStatus { connected: true, nodes: nodes.iter().map(node).collect(), ..ClusterStatus::default() }
    }

    #[test]
    fn all_nodes_must_enforce() {
        let pods = json!({"items": [agent("n1"), agent("n2")]});
        let daemons = json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2}});
        assert!(!Progress::of(&Value::Null, &Value::Null, None).is_complete(), "nobody knows how many there will be");
        let now = Progress::of(&pods, &daemons, Some(&cluster(&[("n1", true, 7), ("n2", true, 0)])));
        assert!(!now.is_complete());
        assert_eq!(now.describe(), "its relay is connected, 1 of 2 nodes enforce");
        assert_eq!(now.lacking("", "hub:1"), [("node n2".into(), "its agent has not reported to the hub".into())]);
        assert!(Progress::of(&pods, &daemons, Some(&cluster(&[("n1", true, 7), ("n2", true, 7)]))).is_complete());
        let mut rolls = daemons.clone();
        rolls["status"]["updatedNumberScheduled"] = 1.into();
        assert!(!Progress::of(&pods, &rolls, Some(&cluster(&[("n1", true, 7), ("n2", true, 7)]))).is_complete());
        // Nodes of before that are no more count for nothing.
        assert!(
            !Progress::of(
                &json!({"items": [agent("n1")]}),
                &daemons,
                Some(&cluster(&[("n1", true, 7), ("old", true, 7)]))
            )
            .is_complete()
        );
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let mut pod = agent("n1");
        pod["status"] = json!({"containerStatuses": [{"image": "a/b:1", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such"}}}]});
        let mut other = agent("");
        other["status"] = json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "no room"}]});
        let now = Progress::of(&json!({"items": [pod, other]}), &Value::Null, None);
        let text = now.describe();
        assert!(text.contains("pod axle-agent-n1 on n1: ImagePullBackOff: no such (image a/b:1)"), "{text}");
        assert!(text.contains("not scheduled: no room"), "{text}");
        let (at, what) = now.lacking("refused", "hub:1").into_iter().find(|(at, _)| at == "relay").unwrap();
        assert!(what.contains("can pods there reach hub:1? It says: refused"), "{at}: {what}");
    }

    #[test]
    fn of_a_log_the_last_complaint_counts() {
        assert_eq!(complaint("x WARN it is away\ny INFO all well\n"), "x WARN it is away");
        assert_eq!(complaint("one\ntwo\n"), "two");
        assert_eq!(complaint(""), "");
    }
}
