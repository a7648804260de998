//! What runs on this node: its pods, and what the node itself is.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axle_core::{
    manifest::{Document, Workload},
    model::Name,
};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, api::ListParams};
use tokio::sync::watch;

use super::{
    attachment::Places,
    client::ApiServer,
    machine, pod,
    watch::{Held, follow},
};
use crate::inventory::{Inventory, InventoryWatch};

/// How long changes gather: pods that start together are one change.
const GATHER: Duration = Duration::from_millis(5);

/// The inventory of the node with this name, for as long as anybody listens. `places` says where pods are attached; a pod
/// that it does not have is known all the same, and its status says that it is not enforced. Needs a tokio runtime.
#[must_use]
pub fn local_inventory(api: &ApiServer, node: &Name, mut places: watch::Receiver<Arc<Places>>) -> InventoryWatch {
    let named = |field: &str| ListParams::default().fields(&format!("{field}={node}"));
    let mut pods = follow(Api::<Pod>::all(api.client()), named("spec.nodeName"), pod::trim);
    let mut nodes = follow(Api::<Node>::all(api.client()), named("metadata.name"), machine::trim);
    let (sender, receiver) = watch::channel(Arc::new(Inventory::default()));
    tokio::spawn(async move {
        // Nobody may ever say where pods are attached.
        let mut told = true;
        let mut known = BTreeMap::new();
        loop {
            let now = places.borrow_and_update().clone();
            let next = inventory(&pods.borrow_and_update(), &nodes.borrow_and_update(), &now, &mut known);
            publish(&sender, next);
            tokio::select! {
                changed = pods.changed() => if changed.is_err() { return },
                changed = nodes.changed() => if changed.is_err() { return },
                changed = places.changed(), if told => told = changed.is_ok(),
                () = sender.closed() => return,
            }
            tokio::time::sleep(GATHER).await;
        }
    });
    receiver
}

/// Complete once both were listed whole and the node is there. A pod that was deleted runs for a moment longer: until then it
/// stays as it was `known`, and protected, and gets nothing new.
fn inventory(
    pods: &Held<Pod>,
    nodes: &Held<Node>,
    places: &Places,
    known: &mut BTreeMap<String, Workload>,
) -> Inventory {
    let (mut inventory, mut now) = (Inventory::default(), BTreeMap::new());
    for pod in pods.objects.values() {
        let runs_as = pod::runs_as(pod);
        match pod::workload(pod, places.get(&runs_as)) {
            Ok(workload) => now.extend(workload.map(|workload| (runs_as, workload))),
            Err(problem) => inventory.problems.push(problem),
        }
    }
    known.retain(|runs_as, _| places.contains_key(runs_as));
    known.values_mut().for_each(|workload| workload.ready = false);
    known.extend(now);
    inventory.documents.extend(known.values().cloned().map(Document::Workload));
    inventory.machine = nodes.objects.values().next().map(|node| machine::machine(node));
    inventory.complete =
        pods.complete && nodes.complete && inventory.machine.is_some() && inventory.problems.is_empty();
    let troubles = [&pods.trouble, &nodes.trouble].into_iter().flatten();
    inventory.problems.extend(troubles.map(|trouble| trouble.sentence().to_owned()));
    inventory
}

/// Tells of it if it says something else than before.
pub(super) fn publish(sender: &watch::Sender<Arc<Inventory>>, next: Inventory) {
    sender.send_if_modified(|held| {
        let differs = **held != next;
        if differs {
            *held = Arc::new(next);
        }
        differs
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{attachment::Place, trouble::Trouble},
        *,
    };

    fn held<K: serde::de::DeserializeOwned>(objects: serde_json::Value, complete: bool) -> Held<K> {
        let objects: Vec<K> = serde_json::from_value(objects).unwrap();
        let named =
            objects.into_iter().enumerate().map(|(at, object)| ((String::new(), at.to_string()), Arc::new(object)));
        Held { objects: named.collect(), complete, trouble: None }
    }

    fn pods(complete: bool) -> Held<Pod> {
        let pod = json!({
            "metadata": {"namespace": "shop", "name": "a", "uid": "0b2f6c3e-1d7a-4c64-9d3e-5a1f0e9b7c21"},
            "spec": {"containers": []}, "status": {"phase": "Running", "podIPs": [{"ip": "10.1.0.7"}],
                "conditions": [{"type": "Ready", "status": "True"}]}
        });
        held(json!([pod]), complete)
    }

    #[test]
    fn complete_is_what_was_listed_whole() {
        let node = |complete| held::<Node>(json!([{"metadata": {"name": "n1", "labels": {"zone": "a"}}}]), complete);
        let none = Places::new();
        for (pods, nodes, complete) in [
            (pods(true), node(true), true),
            (pods(false), node(true), false),
            (pods(true), node(false), false),
            (pods(true), held(json!([]), true), false),
        ] {
            assert_eq!(inventory(&pods, &nodes, &none, &mut BTreeMap::new()).complete, complete);
        }
        let place = Place { interface: "veth1".into(), addresses: vec![] };
        let places = [("0b2f6c3e-1d7a-4c64-9d3e-5a1f0e9b7c21".to_owned(), place)].into();
        let whole = inventory(&pods(true), &node(true), &places, &mut BTreeMap::new());
        let Document::Workload(workload) = &whole.documents[0] else { panic!("{whole:?}") };
        assert_eq!(workload.interface.as_deref(), Some("veth1"));
        assert_eq!(whole.machine.unwrap().labels["zone"], "a");
        // The server goes away: what it said stays, and is said to be old.
        let away = Held { trouble: Some(Trouble::Away("gone".into())), ..pods(true) };
        let old = inventory(&away, &node(true), &none, &mut BTreeMap::new());
        assert!(old.complete && old.documents.len() == 1);
        assert_eq!(old.problems, ["gone"]);
    }

    /// By force it is gone at once from the API, and its processes end seconds later.
    #[test]
    fn a_deleted_pod_stays_until_it_has_ended() {
        let node = held::<Node>(json!([{"metadata": {"name": "n1"}}]), true);
        let place = Place { interface: "veth1".into(), addresses: vec![] };
        let runs: Places = [("0b2f6c3e-1d7a-4c64-9d3e-5a1f0e9b7c21".to_owned(), place)].into();
        let mut known = BTreeMap::new();
        let mut wanted = inventory(&pods(true), &node, &runs, &mut known);
        let Document::Workload(workload) = &mut wanted.documents[0] else { panic!("{wanted:?}") };
        assert!(std::mem::take(&mut workload.ready));
        let gone = held(json!([]), true);
        assert_eq!(inventory(&gone, &node, &runs, &mut known), wanted, "protected, and no backend any more");
        let after = inventory(&gone, &node, &Places::new(), &mut known);
        assert!(after.complete && after.documents.is_empty());
    }
}
