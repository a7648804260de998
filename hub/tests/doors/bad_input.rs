//! Whatever is wrong is refused with what, where, got, wanted and a fix; nothing is half done.
use axle_hub::auth::Role;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client},
    fixture::{Hub, POLICY},
};

const JSON: &str = "content-type: application/json";

/// Method, path, headers and body of a request, status and code of its refusal.
type Form<'f> = (&'f str, &'f str, &'f [&'f str], &'f [u8], u16, &'f str);

fn admin(hub: &Hub) -> Client {
    Client { at: hub.http(), token: hub.token(Role::Admin) }
}

/// The violation of a field, which there must be.
fn violation<'v>(problem: &'v Value, field: &str) -> &'v Value {
    let all = problem["violations"].as_array().unwrap();
    all.iter().find(|violation| violation["field"] == field).unwrap_or_else(|| panic!("no {field} in {problem}"))
}

#[tokio::test]
async fn forms_are_refused_before_anybody_looks_inside() {
    let hub = Hub::start().await;
    let client = admin(&hub);
    let large = vec![b' '; (4 << 20) + 1];
    let cases: [Form<'_>; 9] = [
        ("POST", "/api/v1/clusters", &[JSON], b"{", 400, "malformed_body"),
        ("POST", "/api/v1/clusters", &[JSON], b"{\"name\":\"a\",\"name\":\"b\"}", 400, "malformed_body"),
        ("POST", "/api/v1/clusters", &[JSON], b"{} x", 400, "malformed_body"),
        ("POST", "/api/v1/clusters", &[JSON], &large, 413, "body_too_large"),
        ("POST", "/api/v1/clusters", &[], b"{}", 415, "unsupported_media_type"),
        ("POST", "/api/v1/policies", &["content-type: text/plain"], b"x", 415, "unsupported_media_type"),
        ("POST", "/api/v1/clusters", &[JSON, "content-encoding: gzip"], b"x", 415, "unsupported_encoding"),
        ("PUT", "/api/v1/clusters", &[JSON], b"{}", 405, "method_not_allowed"),
        ("GET", "/api/v1/nothing", &[], b"", 404, "no_route"),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = client.ask(method, path, headers, body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{method} {path}");
    }
    let refused = client.ask("PUT", "/api/v1/clusters", &[JSON], b"{}").await;
    let mut allowed: Vec<_> = refused.header("allow").split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "POST"]);
}

#[tokio::test]
async fn fields_are_refused_all_at_once() {
    let hub = Hub::start().await;
    let client = admin(&hub);
    let unknown = client.post("/api/v1/clusters", &json!({"nam": "a", "prefixes": "10.1.0.0/16"})).await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (422, "unknown_field"));
    assert_eq!(violation(&unknown.json(), "nam")["fix"], "did you mean \"name\"?");
    assert_eq!(violation(&unknown.json(), "prefixes")["want"], "an array");

    let wrong = json!({"name": "Eu\u{202e}1", "prefixes": ["10.9.9.9/8", "10.0.0.0/33"], "defaultAction": "allow"});
    let problem = client.post("/api/v1/clusters", &wrong).await.json();
    assert_eq!(violation(&problem, "prefixes[0]")["fix"], "did you mean 10.0.0.0/8?");
    for field in ["name", "prefixes[1]", "defaultAction"] {
        violation(&problem, field);
    }
    for (path, field) in [
        ("/api/v1/endpoints?limit=-1", "limit"),
        ("/api/v1/endpoints?limit=1001", "limit"),
        ("/api/v1/endpoints?cursor=broken", "cursor"),
        ("/api/v1/endpoints?namespace=..", "namespace"),
        ("/api/v1/endpoints?clutser=a", "clutser"),
        ("/api/v1/audit?limit=5000", "limit"),
        ("/api/v1/revisions/0", "revision"),
        ("/api/v1/revisions/next", "revision"),
        ("/api/v1/revisions/99", "revision"),
        ("/api/v1/flows?verdict=maybe", "verdict"),
        ("/api/v1/explain?from=a&to=10.0.0.1&port=80", "from"),
        ("/api/v1/explain?from=10.0.0.2&to=10.0.0.1&port=70000", "port"),
        ("/api/v1/explain?from=10.0.0.2&to=10.0.0.1&port=80&protocol=tpc", "protocol"),
        ("/api/v1/explain?from=10.0.0.2&to=fd00::1&port=80", "to"),
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, 422, "{path}: {answer:?}");
        violation(&answer.json(), field);
    }
    assert_eq!(client.get("/api/v1/clusters").await.json()["clusters"], json!([]), "nothing was done");
}

async fn apply(client: &Client, document: &str) -> Answer {
    client.ask("POST", "/api/v1/policies", &["content-type: application/yaml"], document.as_bytes()).await
}

#[tokio::test]
async fn documents_are_applied_whole_or_not_at_all() {
    let hub = Hub::with_fleet().await;
    let client = admin(&hub);
    let before = hub.running.parts.replica.read().position();
    for (wrong, right, expected) in [
        ("ingress:", "ingres:", "did you mean"),
        ("priority: 10", "priority: 9999", "priority"),
        ("0.0.0.0/0", "10.1.2.3/8", "10.0.0.0/8"),
        ("name: web", "name: web\n      protocols: [{tcp: {destinationPort: {number: 70000}}}]", "65535"),
        ("podSelector: {matchLabels: {app: db}}", "podSelector: {matchLabels: 7}", "matchLabels"),
        ("kind: MeshNetworkPolicy", "kind: MeshNetworkPolcy", "MeshNetworkPolicy"),
        ("spec:", "spec: [", "line"),
    ] {
        let document = format!("{POLICY}---\n{}", POLICY.replacen(wrong, right, 1));
        assert_ne!(document, format!("{POLICY}---\n{POLICY}"), "{wrong} is in the document");
        let answer = apply(&client, &document).await;
        assert_eq!(answer.status, 422, "{right}: {answer:?}");
        assert!(answer.body.contains(expected), "{expected} in {}", answer.body);
        assert!(answer.body.contains("line "), "where: {}", answer.body);
    }
    let twice = apply(&client, &format!("{POLICY}---\n{POLICY}")).await;
    assert_eq!((twice.status, twice.problem().as_str()), (422, "duplicate_name"));
    assert_eq!(apply(&client, "").await.problem(), "missing_document");
    assert_eq!(apply(&client, "\u{0}").await.status, 422);
    let misspelt = POLICY.replace("subject: {", "subject: {clusters: {names: [esat]}, ");
    let unknown = apply(&client, &misspelt).await;
    assert_eq!(unknown.problem(), "unknown_cluster", "{unknown:?}");
    assert!(unknown.body.contains("did you mean \\\"east\\\"?"), "{unknown:?}");
    assert_eq!(hub.running.parts.replica.read().position(), before, "nothing was done");
}

#[tokio::test]
async fn what_contradicts_the_fleet_is_refused() {
    let hub = Hub::with_fleet().await;
    let client = admin(&hub);
    let add = async |name: &str, prefix: &str| {
        let answer = client.post("/api/v1/clusters", &json!({"name": name, "prefixes": [prefix]})).await;
        (answer.status, answer.problem())
    };
    assert_eq!(add("east", "10.7.0.0/16").await, (409, "duplicate_name".to_owned()));
    assert_eq!(add("south", "10.1.7.0/24").await, (409, "overlapping_prefix".to_owned()));
    let gone = |answer: Answer| (answer.status, answer.json()["violations"][0]["fix"].as_str().map(str::is_empty));
    for (method, path) in [
        ("DELETE", "/api/v1/clusters/south"),
        ("DELETE", "/api/v1/clusters/east/nodes/n9"),
        ("DELETE", "/api/v1/policies/none"),
        ("GET", "/api/v1/endpoints?cluster=south"),
    ] {
        assert_eq!(gone(client.ask(method, path, &[], b"").await), (404, Some(false)), "{method} {path}");
    }
    let token = client.post("/api/v1/clusters/south/tokens", &json!({})).await;
    assert_eq!((token.status, token.problem().as_str()), (404, "unknown_cluster"));
    let removed = client.ask("DELETE", "/api/v1/clusters/south", &[], b"").await;
    assert_eq!((removed.status, removed.problem().as_str()), (404, "unknown_cluster"), "one fault, one code");
    let endless = "a".repeat(300);
    let answer = client.post("/api/v1/clusters", &json!({"name": endless, "prefixes": ["10.9.0.0/16"]})).await;
    let got = answer.json()["violations"][0]["got"].as_str().unwrap().to_owned();
    assert!(got.contains("300 characters") && got.chars().count() <= 80, "the reason is not cut: {got}");
    let long = client.post("/api/v1/clusters/east/tokens", &json!({"ttlSeconds": 100_000_000})).await;
    assert_eq!((long.status, long.problem().as_str()), (422, "out_of_range"));
    let other = client.post("/api/v1/clusters/east/tokens", &json!({"cluster": "west"})).await;
    assert_eq!(other.problem(), "contradiction");
}

#[tokio::test]
async fn who_may_not_is_told_so_and_nothing_more() {
    let hub = Hub::start().await;
    let mut bodies = Vec::new();
    let good = hub.token(Role::Admin);
    let (head, rest) = good.split_once('.').unwrap();
    for token in ["", "nonsense", "a.b.c", &good[..good.len() - 2], &format!("e30.{rest}"), &format!("{head}.e30.")] {
        let answer = Client { at: hub.http(), token: token.to_owned() }.get("/api/v1/clusters").await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{token}");
        bodies.push(answer.body);
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "one text for every cause");
    let viewer = Client { at: hub.http(), token: hub.token(Role::Viewer) };
    let refused = viewer.post("/api/v1/clusters", &json!({"name": "a", "prefixes": ["10.0.0.0/8"]})).await;
    assert_eq!((refused.status, refused.problem().as_str()), (403, "forbidden"));
    assert!(refused.body.contains("viewer") && refused.body.contains("admin"), "{refused:?}");
}
