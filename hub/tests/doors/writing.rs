//! What the API does.
use axle_hub::auth::Role;
use serde_json::json;

use crate::{
    client::{Answer, Client},
    fixture::{Hub, POLICY},
};

fn admin(hub: &Hub) -> Client {
    Client { at: hub.http(), token: hub.token(Role::Admin) }
}

#[tokio::test]
async fn clusters_come_join_and_go() {
    let hub = Hub::start().await;
    let client = admin(&hub);
    let added = client.post("/api/v1/clusters", &json!({"name": "eu1", "prefixes": ["10.1.0.0/16"]})).await;
    assert_eq!((added.status, &added.json()["defaultAction"]), (201, &json!("accept")));
    let token = client.post("/api/v1/clusters/eu1/tokens", &json!({"ttlSeconds": 60})).await.json();
    let command = token["joinCommand"].as_str().unwrap();
    let hub_address = hub.running.tls_address;
    assert!(
        command.starts_with(&format!("axle-agent join --hub {hub_address} --cluster eu1 --token axle1.")),
        "{command}"
    );
    let removed = client.ask("DELETE", "/api/v1/clusters/eu1", &[], b"").await.json();
    assert_eq!(removed["revision"], 4, "after the cluster and the note of its token");
    assert_eq!(client.get("/api/v1/clusters").await.json()["clusters"], json!([]));
}

#[tokio::test]
async fn a_policy_is_rehearsed_applied_disabled_and_deleted() {
    let hub = Hub::with_fleet().await;
    let client = admin(&hub);
    let apply = async |dry_run: bool| {
        client.post("/api/v1/policies", &json!({"document": POLICY, "dryRun": dry_run})).await.json()
    };

    let rehearsed = apply(true).await;
    assert_eq!(rehearsed["revision"], 0);
    assert_eq!(
        rehearsed["changes"],
        json!([{"name": "guard-db", "change": "created", "subjects": 2, "nodes": 2, "revision": 0}])
    );
    assert_eq!(client.get("/api/v1/policies").await.json()["policies"], json!([]), "a dry run changes nothing");

    let applied = apply(false).await;
    let revision = applied["revision"].as_u64().unwrap();
    assert_eq!((revision, &applied["changes"][0]["revision"]), (6, &json!(6)));
    let again = apply(false).await;
    assert_eq!((&again["revision"], &again["changes"][0]["change"]), (&json!(0), &json!("unchanged")));

    let listed = client.get("/api/v1/policies?name=guard-db").await.json();
    let policy = &listed["policies"][0];
    assert_eq!(
        (&policy["tier"], &policy["ingressRules"], &policy["subjects"]),
        (&json!("admin"), &json!(2), &json!(2))
    );
    let printed = policy["document"].as_str().unwrap();
    let same =
        client.ask("POST", "/api/v1/policies", &["content-type: application/yaml"], printed.as_bytes()).await.json();
    assert_eq!(same["changes"][0]["change"], "unchanged", "what is printed is what was applied: {printed}");

    let patch = |disabled| json!({"disabled": disabled}).to_string();
    let kind = ["content-type: application/json"];
    let disabled = client.ask("PATCH", "/api/v1/policies/guard-db", &kind, patch(true).as_bytes()).await.json();
    assert_eq!(disabled["revision"], 7);
    assert_eq!(client.get("/api/v1/policies").await.json()["policies"][0]["disabled"], true);
    let deleted = client.ask("DELETE", "/api/v1/policies/guard-db", &[], b"").await.json();
    assert_eq!(deleted["revision"], 8);
}

#[tokio::test]
async fn a_flow_is_explained_at_both_ends() {
    let hub = Hub::with_fleet().await;
    let client = admin(&hub);
    client.post("/api/v1/policies", &json!({"document": POLICY})).await;
    let explain =
        async |from: &str| client.get(&format!("/api/v1/explain?from={from}&to=west/shop/db&port=5432")).await.json();
    let denied = explain("east/shop/db").await;
    assert_eq!(denied["verdict"], "deny");
    let ingress = &denied["sides"][1];
    assert_eq!((&ingress["rule"]["policy"], &ingress["rule"]["name"]), (&json!("guard-db"), &json!("rest")));
    assert_eq!(ingress["steps"][0]["why"], "the labels differ");
    let accepted = explain("east/shop/web").await;
    assert_eq!((&accepted["verdict"], &accepted["sides"][1]["rule"]["name"]), (&json!("accept"), &json!("web")));
    let path = "/api/v1/explain?from=east/shop/web&to=203.0.113.9&port=80";
    let service = client.get(path).await.json();
    assert!(service["note"].as_str().unwrap().contains("A hub does not know the addresses that services have"));
    assert_eq!(explain("198.51.100.7").await["sides"].as_array().unwrap().len(), 1, "an end outside has no say");
}

#[tokio::test]
async fn a_repeated_request_is_answered_and_not_done_again() {
    let hub = Hub::start().await;
    let client = admin(&hub);
    let headers = ["content-type: application/json", "idempotency-key: 1"];
    let add = async |name: &str, net: u8| {
        let body = json!({"name": name, "prefixes": [format!("10.{net}.0.0/16")]}).to_string();
        client.ask("POST", "/api/v1/clusters", &headers, body.as_bytes()).await
    };
    let first = add("eu1", 1).await;
    let second = add("eu1", 1).await;
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.json()["revision"], second.json()["revision"]);
    let other = add("eu2", 2).await;
    assert_eq!((other.status, other.problem()), (409, "request_id_reused".to_owned()));
    assert_eq!(client.get("/api/v1/clusters").await.json()["clusters"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_node_that_is_gone_is_removed_with_its_workloads() {
    let hub = Hub::with_fleet().await;
    let client = admin(&hub);
    let removed = client.ask("DELETE", "/api/v1/clusters/east/nodes/n1", &[], b"").await;
    assert_eq!(removed.status, 200, "{removed:?}");
    let left = client.get("/api/v1/endpoints?cluster=east").await.json();
    assert_eq!(left["endpoints"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_id_stands_for_its_contents_too() {
    let hub = Hub::with_fleet().await;
    let client = admin(&hub);
    let keyed = async |method: &str, path: &str, id: &str, body: serde_json::Value| {
        let headers = ["content-type: application/json", &format!("idempotency-key: {id}")];
        client.ask(method, path, &headers, body.to_string().as_bytes()).await
    };
    let apply =
        async |id: &str, document: &str| keyed("POST", "/api/v1/policies", id, json!({"document": document})).await;
    let (other, changed) = (POLICY.replace("guard-db", "other"), POLICY.replace("priority: 10", "priority: 11"));
    assert_ne!(POLICY, changed);
    let revision = async |answer: Answer| {
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["revision"].as_u64().unwrap()
    };
    let refused = async |answer: Answer| {
        assert_eq!((answer.status, answer.problem()), (409, "request_id_reused".to_owned()));
    };
    let first = revision(apply("1", POLICY).await).await;
    // Of the two, the first is as it was: what the record does not hold is compared too.
    let both = format!("{POLICY}\n---\n{other}");
    let second = revision(apply("2", &both).await).await;
    assert!(second > first);
    for _ in 0..2 {
        refused(apply("1", &changed).await).await;
        refused(apply("2", &format!("{changed}\n---\n{other}")).await).await;
        assert_eq!(revision(apply("1", POLICY).await).await, first);
        assert_eq!(revision(apply("2", &both).await).await, second);
        // And the same again when it has been changed since.
        revision(apply("", &changed).await).await;
    }
    assert_eq!(
        (
            client.get("/api/v1/policies?name=guard-db").await.json()["policies"][0]["priority"].as_u64(),
            revision(keyed("POST", "/api/v1/policies/guard-db/rollback", "3", json!({})).await).await,
        ),
        (Some(11), second + 2)
    );
    assert_eq!(
        revision(keyed("POST", "/api/v1/policies/guard-db/rollback", "3", json!({})).await).await,
        second + 2,
        "the version before is meant as it was then"
    );
    let gone = revision(keyed("DELETE", "/api/v1/policies/guard-db", "4", json!({})).await).await;
    assert_eq!(revision(keyed("DELETE", "/api/v1/policies/guard-db", "4", json!({})).await).await, gone);
    // Two at once: one is done, the other is not said to be.
    let (one, two) = tokio::join!(apply("5", POLICY), apply("5", &changed));
    let mut answers = [one.status, two.status];
    answers.sort_unstable();
    assert_eq!(answers, [200, 409]);
    // A cluster's contents are more than its name.
    let add = async |prefix: &str| {
        keyed("POST", "/api/v1/clusters", "6", json!({"name": "north", "prefixes": [prefix]})).await
    };
    assert_eq!(add("10.77.0.0/16").await.status, 201);
    refused(add("10.78.0.0/16").await).await;
    assert_eq!(add("10.77.0.0/16").await.status, 201);
}
