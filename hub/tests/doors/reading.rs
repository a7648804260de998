//! What the API tells.
use axle_hub::auth::{RULES, Role};
use serde_json::Value;

use crate::{client::Client, fixture::Hub};

fn viewer(hub: &Hub) -> Client {
    Client { at: hub.http(), token: hub.token(Role::Viewer) }
}

fn names<'v>(list: &'v Value, field: &str) -> Vec<&'v str> {
    list.as_array().unwrap().iter().map(|item| item[field].as_str().unwrap()).collect()
}

#[tokio::test]
async fn lists_show_the_fleet() {
    let hub = Hub::with_fleet().await;
    let client = viewer(&hub);

    let clusters = client.get("/api/v1/clusters").await.json();
    assert_eq!(names(&clusters["clusters"], "name"), ["east", "west"]);
    assert_eq!(clusters["clusters"][0]["prefixes"][0], "10.1.0.0/16");
    assert_eq!((&clusters["clusters"][0]["nodes"], &clusters["clusters"][0]["endpoints"]), (&2.into(), &2.into()));

    let endpoints = client.get("/api/v1/endpoints?cluster=west&namespace=shop&name=db").await.json();
    let [db] = endpoints["endpoints"].as_array().unwrap().as_slice() else { panic!("{endpoints}") };
    assert_eq!((&db["addresses"][0], &db["node"], &db["stale"]), (&"10.2.2.1".into(), &"n2".into(), &true.into()));

    let identities = client.get("/api/v1/identities").await.json();
    let identities = identities["identities"].as_array().unwrap();
    assert_eq!(identities.len(), 2, "the same labels in two clusters are one identity");
    assert!(identities.iter().all(|identity| identity["clusters"] == serde_json::json!(["east", "west"])));
    assert!(identities.iter().any(|identity| identity["id"] == db["identity"]));

    let services = client.get("/api/v1/services").await.json();
    let [service] = services["services"].as_array().unwrap().as_slice() else { panic!("{services}") };
    assert_eq!((&service["backends"], &service["readyBackends"]), (&2.into(), &2.into()));
    assert_eq!(names(&service["exports"], "cluster"), ["east", "west"], "the oldest export first");
    assert_eq!(service["vips"].as_array().unwrap().len(), 2, "an address of each family");
}

#[tokio::test]
async fn pages_join_to_the_whole_list() {
    let hub = Hub::with_fleet().await;
    let client = viewer(&hub);
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/api/v1/endpoints?limit=1&cursor={cursor}")).await.json();
        let endpoints = page["endpoints"].as_array().unwrap();
        assert!(endpoints.len() <= 1);
        seen.extend(endpoints.iter().map(|endpoint| endpoint["uid"].as_str().unwrap().to_owned()));
        cursor = page["nextCursor"].as_str().unwrap().to_owned();
        if cursor.is_empty() {
            break;
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 4);
}

#[tokio::test]
async fn the_status_names_clusters_and_nodes() {
    let hub = Hub::with_fleet().await;
    let head = hub.running.parts.replica.read().position().revision;
    let session = hub.session("east");
    session.received(head);
    session.statuses(vec![hub.says("n1", head), hub.says("n2", head - 2)]);
    let status = viewer(&hub).get("/api/v1/status").await.json();
    assert_eq!(status["head"]["revision"], head);
    let [east, west] = status["clusters"].as_array().unwrap().as_slice() else { panic!("{status}") };
    assert_eq!(
        (&east["connected"], &east["fresh"], &east["receivedRevision"]),
        (&true.into(), &true.into(), &head.into())
    );
    assert_eq!((&east["nodes"][0]["lag"], &east["nodes"][1]["lag"]), (&0.into(), &2.into()));
    assert_eq!((&west["connected"], &west["lastHeardMs"]), (&false.into(), &Value::Null));
    let silent = &west["nodes"][1];
    assert_eq!((&silent["name"], &silent["connected"], &silent["lag"]), (&"n2".into(), &false.into(), &head.into()));
}

#[tokio::test]
async fn the_audit_trail_is_the_log() {
    let hub = Hub::with_fleet().await;
    let client = viewer(&hub);
    let entries = client.get("/api/v1/audit?limit=2").await.json();
    let revisions: Vec<_> =
        entries["entries"].as_array().unwrap().iter().map(|it| it["revision"].as_u64().unwrap()).collect();
    assert_eq!(revisions, [5, 4]);
    let before = client.get("/api/v1/audit?beforeRevision=2").await.json();
    assert_eq!(before["entries"][0]["action"], "fleet begin");
    assert_eq!(before["entries"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn health_and_metrics_need_no_token() {
    let hub = Hub::with_fleet().await;
    let client = Client { at: hub.http(), token: String::new() };
    for path in ["/livez", "/readyz"] {
        assert_eq!(client.get(path).await.body, "ok\n", "{path}");
    }
    let metrics = client.get("/metrics").await.body;
    for line in [
        "axle_hub_head_revision 5",
        "axle_hub_objects{kind=\"endpoint\"} 4",
        "axle_hub_cluster_connected{cluster=\"east\"} 0",
        "axle_hub_requests_total{operation=\"GET /livez\",status=\"200\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
}

#[tokio::test]
async fn the_openapi_document_lists_exactly_the_routes() {
    let hub = Hub::start().await;
    let document = Client { at: hub.http(), token: String::new() }.get("/api/v1/openapi.json").await.json();
    let mut documented = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            documented.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    let api = |route: &&&str| route.contains(" /api/v1/") && !route.ends_with("/openapi.json");
    let mut listed: Vec<_> =
        RULES.iter().flat_map(|rule| rule.http).filter(api).map(|route| (*route).to_owned()).collect();
    documented.sort();
    listed.sort();
    assert_eq!(documented, listed, "the authorisation table and the document list the same routes");

    // Each of them is there, and nothing is let in without a token.
    for route in &listed {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{name}", "x").replace("{node}", "y").replace("{revision}", "1");
        let answer = Client { at: hub.http(), token: String::new() }.ask(method, &path, &[], b"").await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{route}");
    }
    let text = document.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document["components"]["schemas"][reference].is_object(), "{reference} is described");
    }
}

#[tokio::test]
async fn the_dashboard_is_served_with_a_strict_policy() {
    let hub = Hub::start().await;
    let client = Client { at: hub.http(), token: String::new() };
    let page = client.get("/").await;
    assert_eq!((page.status, page.header("x-content-type-options")), (200, "nosniff"));
    assert!(page.header("content-security-policy").starts_with("default-src 'none'; script-src 'self'"), "{page:?}");
    assert_eq!(client.get("/dashboard/main.js").await.header("content-type"), "text/javascript; charset=utf-8");
    assert_eq!(client.get("/dashboard/..%2f..%2fCargo.toml").await.problem(), "no_route");
}
