//! What is in this cluster beside its pods: the relay's inventory.
use std::{sync::Arc, time::Duration};

use axle_core::{
    manifest::{Document, NAMESPACE_NAME_LABEL},
    model::{self, Name},
};
use k8s_openapi::api::{
    core::v1::{Namespace, Service},
    discovery::v1::EndpointSlice,
};
use kube::{Api, Resource, ResourceExt, api::ListParams, core::PartialObjectMeta};
use tokio::sync::watch;

use super::{
    client::ApiServer,
    local::publish,
    place::RELAY,
    service, slices,
    watch::{Held, Watched, follow},
};
use crate::inventory::{Inventory, InventoryWatch};

/// How long changes gather: a rollout is a few changes, not one for each of its pods.
const GATHER: Duration = Duration::from_millis(50);

/// The inventory of the whole cluster, for as long as anybody listens; the installation is in `namespace`. Needs a tokio
/// runtime.
#[must_use]
pub fn cluster_inventory(api: &ApiServer, namespace: &str) -> InventoryWatch {
    let all = ListParams::default;
    let namespaces = follow(Api::<PartialObjectMeta<Namespace>>::all(api.client()), all(), |_| {});
    let services = follow(Api::<Service>::all(api.client()), all(), service::trim);
    // The way to the relay may not hang on what only the relay says: without a Service here its address is not translated.
    let own = namespace.to_owned();
    let service = move |service: &Service| {
        let is_own = service.name_any() == RELAY && service.namespace().as_ref() == Some(&own);
        if is_own { Ok(Vec::new()) } else { service::service(service) }
    };
    // What the relay writes of other clusters' backends must not come back as this one's.
    let foreign = all().labels(&slices::selector(false));
    let slices = follow(Api::<EndpointSlice>::all(api.client()), foreign, service::trim_slice);
    together(vec![
        documents(namespaces, |namespace| Ok(vec![Document::Namespace(namespace_of(namespace)?)])),
        documents(services, service),
        documents(slices, service::slice),
    ])
}

/// One kind of object as documents.
fn documents<K>(
    mut watched: Watched<K>,
    document: impl Fn(&K) -> Result<Vec<Document>, String> + Send + Sync + 'static,
) -> InventoryWatch
where
    K: Resource<DynamicType = ()> + Send + Sync + 'static,
{
    let (sender, receiver) = watch::channel(Arc::new(Inventory::default()));
    tokio::spawn(async move {
        loop {
            let next = read(&watched.borrow_and_update(), &document);
            publish(&sender, next);
            tokio::select! {
                changed = watched.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    receiver
}

/// What cannot be said of one object leaves out that one.
fn read<K>(held: &Held<K>, documents: impl Fn(&K) -> Result<Vec<Document>, String>) -> Inventory {
    let mut inventory = Inventory { complete: held.complete, listed: held.complete, ..Inventory::default() };
    for object in held.objects.values() {
        match documents(object) {
            Ok(documents) => inventory.documents.extend(documents),
            Err(problem) => inventory.problems.push(problem),
        }
    }
    inventory.problems.extend(held.trouble.iter().map(|trouble| trouble.sentence().to_owned()));
    inventory
}

/// The sum of several inventories: complete when each of them is.
pub(super) fn together(mut parts: Vec<InventoryWatch>) -> InventoryWatch {
    let (sender, receiver) = watch::channel(Arc::new(Inventory::default()));
    tokio::spawn(async move {
        loop {
            let mut whole = Inventory { complete: true, listed: true, ..Inventory::default() };
            for part in &mut parts {
                let part = part.borrow_and_update();
                whole.complete &= part.complete;
                whole.listed &= part.listed;
                whole.documents.extend_from_slice(&part.documents);
                whole.held.extend(part.held.iter().cloned());
                whole.unknown.extend(part.unknown.iter().cloned());
                whole.problems.extend_from_slice(&part.problems);
            }
            publish(&sender, whole);
            let changed = futures::future::select_all(parts.iter_mut().map(|part| Box::pin(part.changed())));
            tokio::select! {
                (changed, ..) = changed => if changed.is_err() { return },
                () = sender.closed() => return,
            }
            tokio::time::sleep(GATHER).await;
        }
    });
    receiver
}

fn namespace_of(namespace: &PartialObjectMeta<Namespace>) -> Result<model::Namespace, String> {
    let name = Name::new(namespace.name_any()).map_err(|error| format!("a namespace: {error}"))?;
    let mut labels = namespace.labels().clone();
    labels.insert(NAMESPACE_NAME_LABEL.to_owned(), name.to_string());
    Ok(model::Namespace { name, labels })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inventory(name: &str, complete: bool) -> Arc<Inventory> {
        let (name, labels) = (Name::new(name).unwrap(), model::Labels::new());
        let documents = vec![Document::Namespace(model::Namespace { name, labels })];
        Arc::new(Inventory { documents, complete, ..Inventory::default() })
    }

    #[tokio::test]
    async fn the_whole_is_complete_when_each_part_is() {
        let (one, two) = (watch::Sender::new(inventory("a", true)), watch::Sender::new(inventory("b", false)));
        let mut whole = together(vec![one.subscribe(), two.subscribe()]);
        let both = whole.wait_for(|whole| whole.documents.len() == 2).await.unwrap().clone();
        assert!(!both.complete);
        two.send_replace(inventory("c", true));
        assert_eq!(whole.wait_for(|whole| whole.complete).await.unwrap().documents.len(), 2);
    }

    #[test]
    fn a_namespace_has_its_name_as_a_label() {
        let said = serde_json::json!({"metadata": {"name": "shop", "labels": {"team": "a"}}});
        let namespace = namespace_of(&serde_json::from_value(said).unwrap()).unwrap();
        assert_eq!((namespace.labels[NAMESPACE_NAME_LABEL].as_str(), namespace.labels["team"].as_str()), ("shop", "a"));
    }
}
