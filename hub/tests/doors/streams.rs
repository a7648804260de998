//! What does not end by itself.
use std::{sync::Arc, time::Duration};

use axle_hub::auth::Role;
use axle_proto::v1;
use serde_json::json;

use crate::{
    client::Client,
    fixture::{Hub, POLICY},
};

fn operator(hub: &Hub) -> Client {
    Client { at: hub.http(), token: hub.token(Role::Operator) }
}

#[tokio::test]
async fn a_revision_is_done_when_the_kernels_concerned_hold_it() {
    let hub = Hub::with_fleet().await;
    let client = operator(&hub);
    let (east, west) = (hub.session("east"), hub.session("west"));
    east.statuses(vec![hub.says("n1", 5), hub.says("n2", 5)]);
    let revision =
        client.post("/api/v1/policies", &json!({"document": POLICY})).await.json()["revision"].as_u64().unwrap();
    let mut progress = client.stream(&format!("/api/v1/revisions/{revision}")).await;

    let first = progress.next().await.unwrap();
    assert_eq!((&first["concerned"], &first["applied"]), (&json!(2), &json!(0)), "both dbs run on an n2: {first}");
    let late: Vec<_> = first["late"].as_array().unwrap().iter().map(|it| it["node"].as_str().unwrap()).collect();
    assert_eq!(late, ["n2", "n2"]);

    east.statuses(vec![hub.says("n2", revision)]);
    let second = progress.next().await.unwrap();
    assert_eq!((&second["applied"], &second["done"]), (&json!(1), &json!(false)));

    west.statuses(vec![hub.says("n2", revision + 3)]);
    let third = progress.next().await.unwrap();
    assert_eq!((&third["applied"], &third["done"], &third["late"]), (&json!(2), &json!(true), &json!([])));
    assert_eq!(progress.next().await, None, "it ends");
}

#[tokio::test]
async fn a_refusal_is_an_answer_too() {
    let hub = Hub::with_fleet().await;
    let client = operator(&hub);
    let (east, west) = (hub.session("east"), hub.session("west"));
    let revision =
        client.post("/api/v1/policies", &json!({"document": POLICY})).await.json()["revision"].as_u64().unwrap();
    let refusal =
        v1::Refusal { revision, code: "does_not_fit".into(), message: "4 rows over".into(), ..Default::default() };
    east.statuses(vec![v1::NodeStatus { refused: vec![refusal], ..hub.says("n2", revision) }]);
    west.statuses(vec![hub.says("n2", revision)]);
    let now = client.get(&format!("/api/v1/revisions/{revision}")).await.json();
    assert_eq!((&now["applied"], &now["done"]), (&json!(1), &json!(true)));
    let refused = json!([{"cluster": "east", "node": "n2", "reason": "4 rows over (does_not_fit)"}]);
    assert_eq!(now["refused"], refused);
}

#[tokio::test]
async fn who_is_late_is_named_when_the_time_is_over() {
    let hub = Hub::with_fleet().await;
    let client = operator(&hub);
    let revision =
        client.post("/api/v1/policies", &json!({"document": POLICY})).await.json()["revision"].as_u64().unwrap();
    let session = hub.session("east");
    session.statuses(vec![v1::NodeStatus { connected: false, ..hub.says("n2", 4) }]);
    let mut progress = client.stream(&format!("/api/v1/revisions/{revision}?timeoutMs=50")).await;
    let mut last = None;
    while let Some(now) = progress.next().await {
        last = Some(now);
    }
    let last = last.unwrap();
    assert_eq!(last["done"], false);
    let reasons: Vec<_> = last["late"].as_array().unwrap().iter().map(|it| it["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons[0], "its kernel holds revision 4; it is not connected to its relay");
    assert!(reasons[1].contains("not been heard of"), "{reasons:?}");
}

#[tokio::test]
async fn a_policy_that_moves_on_concerns_those_it_leaves() {
    let hub = Hub::with_fleet().await;
    let client = operator(&hub);
    client.post("/api/v1/policies", &json!({"document": POLICY})).await;
    let moved = POLICY.replace(
        "subject: {pods: {podSelector: {matchLabels: {app: db}}}}",
        "subject: {pods: {podSelector: {matchLabels: {app: web}}}}",
    );
    let revision =
        client.post("/api/v1/policies", &json!({"document": moved})).await.json()["revision"].as_u64().unwrap();
    let progress = client.get(&format!("/api/v1/revisions/{revision}")).await.json();
    assert_eq!(progress["concerned"], 4, "the nodes of db have to let go, those of web to take up");
    let deleted =
        client.ask("DELETE", "/api/v1/policies/guard-db", &[], b"").await.json()["revision"].as_u64().unwrap();
    let progress = client.get(&format!("/api/v1/revisions/{deleted}")).await.json();
    assert_eq!(progress["concerned"], 2);
}

#[tokio::test]
async fn flows_are_told_to_who_wants_them() {
    let hub = Hub::with_fleet().await;
    let client = operator(&hub);
    let before = hub.running.parts.live.listeners();
    let mut denied = client.stream("/api/v1/flows?verdict=deny&namespace=shop&cluster=east").await;
    while hub.running.parts.live.listeners() == before {
        tokio::task::yield_now().await;
    }
    let end = |workload: &str| {
        Some(v1::FlowEnd {
            namespace: "shop".into(),
            workload: workload.into(),
            address: vec![10, 1, 1, 1].into(),
            ..Default::default()
        })
    };
    let flow = |verdict: &str, workload| v1::Flow {
        verdict: verdict.into(),
        source: end(workload),
        node: "n1".into(),
        ..Default::default()
    };
    let live = Arc::clone(&hub.running.parts.live);
    live.report(hub.cluster("west"), v1::FlowBatch { flows: vec![flow("deny", "elsewhere")], dropped: 0 });
    live.report(hub.cluster("east"), v1::FlowBatch { flows: vec![flow("accept", "a"), flow("deny", "b")], dropped: 0 });
    let seen = denied.next().await.unwrap();
    assert_eq!(
        (&seen["source"]["workload"], &seen["cluster"], &seen["source"]["address"]),
        (&json!("b"), &json!("east"), &json!("10.1.1.1"))
    );
}

#[tokio::test]
async fn the_status_stream_follows_and_ends_with_the_hub() {
    let hub = Hub::with_fleet().await;
    let client = operator(&hub);
    let mut status = client.stream("/api/v1/status").await;
    assert_eq!(status.next().await.unwrap()["clusters"][0]["connected"], false);
    let session = hub.session("east");
    let seen = async {
        loop {
            let now = status.next().await.unwrap();
            if now["clusters"][0]["connected"] == true {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap();
    drop(session);
    let stopped = tokio::spawn(hub.running.stop());
    while status.next().await.is_some() {}
    tokio::time::timeout(Duration::from_secs(20), stopped).await.unwrap().unwrap();
}
