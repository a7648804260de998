//! Who is believed, for how long, and by which way a browser may come.
use std::time::{Duration, SystemTime};

use axle_hub::auth::Role;
use axle_proto::v1::{
    ListTokensRequest, ObserveRequest, RevokeTokenRequest, RotateAuthorityRequest, admin_client::AdminClient,
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::{Code, Request};

use crate::{client::Client, fixture::Hub, grpc::channel};

/// What a person's stream may outlive its token by.
const BOUND: Duration = Duration::from_secs(30);

impl Hub {
    /// A token that is in the list.
    async fn issue(&self, subject: &str, role: Role) -> String {
        let parts = &self.running.parts;
        let hour = Duration::from_secs(3600);
        parts.tokens.issue(&parts.writer, "user:root", subject, role, hour).await.unwrap()
    }

    fn client(&self, token: &str) -> Client {
        Client { at: self.http(), token: token.to_owned() }
    }
}

fn bearing<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test]
async fn a_token_is_listed_and_revoked_for_good() {
    let hub = Hub::with_fleet().await;
    let alice = hub.issue("alice", Role::Operator).await;
    let root = hub.client(&hub.issue("root", Role::Admin).await);
    let listed = root.get("/api/v1/tokens").await.json();
    let of = |subject: &str| {
        let all = listed["tokens"].as_array().unwrap();
        all.iter().find(|token| token["subject"] == subject).unwrap().clone()
    };
    let token = of("alice");
    assert_eq!(
        (&token["role"], &token["creator"], &token["revokedMs"]),
        (&json!("operator"), &json!("user:root"), &json!(0))
    );
    assert!(!listed.to_string().contains(&alice), "the token itself is nowhere");
    let path = format!("/api/v1/tokens/{}", token["id"].as_str().unwrap());

    assert_eq!(hub.client(&alice).get("/api/v1/clusters").await.status, 200);
    assert_eq!(hub.client(&alice).get("/api/v1/tokens").await.status, 403, "an admin's business");
    assert_eq!(hub.client(&alice).ask("DELETE", &path, &[], b"").await.status, 403);
    assert!(root.ask("DELETE", &path, &[], b"").await.json()["revision"].as_u64().unwrap() > 0);
    let refused = hub.client(&alice).get("/api/v1/clusters").await;
    assert_eq!((refused.status, &refused.body), (401, &hub.client("none").get("/api/v1/clusters").await.body));
    let again = root.ask("DELETE", &path, &[], b"").await;
    assert_eq!(again.json()["revision"], 0, "nothing to do");
    assert_eq!(root.ask("DELETE", "/api/v1/tokens/none", &[], b"").await.problem(), "unknown_token");

    root.post("/api/v1/clusters/east/tokens", &json!({})).await;
    let audit = root.get("/api/v1/audit").await.json();
    let said: Vec<String> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {}", entry["actor"].as_str().unwrap(), entry["action"].as_str().unwrap()))
        .collect();
    let id = token["id"].as_str().unwrap();
    for wanted in [
        format!("user:root token issue {id} to alice as operator"),
        format!("user:root token revoke {id} of alice"),
        "user:root token create east".to_owned(),
    ] {
        assert!(said.contains(&wanted), "{wanted} in {said:?}");
    }
    assert!(!audit.to_string().contains("axle1."), "no secret is in the audit trail");
}

#[tokio::test]
async fn what_a_token_opened_ends_when_it_is_revoked() {
    let hub = Hub::with_fleet().await;
    let alice = hub.issue("alice", Role::Viewer).await;
    let client = hub.client(&alice);
    let mut status = client.stream("/api/v1/status").await;
    let mut flows = client.stream("/api/v1/flows").await;
    assert!(status.next().await.is_some());
    let mut admin = AdminClient::new(channel(&hub).await);
    let mut observed = admin.observe(bearing(ObserveRequest::default(), &alice)).await.unwrap().into_inner();
    let other = hub.client(&hub.issue("bob", Role::Viewer).await);
    let mut others = other.stream("/api/v1/status").await;
    assert!(others.next().await.is_some());

    let tokens = &hub.running.parts.tokens;
    let id = tokens.list().await.unwrap().into_iter().find(|token| token.subject == "alice").unwrap().id;
    assert!(tokens.revoke(&id, "user:root").await.unwrap());
    let ended = async {
        while status.next().await.is_some() {}
        assert_eq!(flows.next().await, None);
        assert_eq!(observed.message().await.unwrap_err().code(), Code::Unauthenticated);
    };
    timeout(BOUND, ended).await.expect("they end");
    assert!(others.next().await.is_some(), "others go on");
}

#[tokio::test]
async fn whoever_revokes_the_token_that_they_bear_is_answered() {
    let hub = Hub::with_fleet().await;
    let id = async |subject: &str| {
        let all = hub.running.parts.tokens.list().await.unwrap();
        all.into_iter().find(|token| token.subject == subject).unwrap().id
    };
    let (alice, bob) = (hub.issue("alice", Role::Admin).await, hub.issue("bob", Role::Admin).await);
    let mut admin = AdminClient::new(channel(&hub).await);
    let request = RevokeTokenRequest { id: id("alice").await, request_id: String::new() };
    assert!(admin.revoke_token(bearing(request, &alice)).await.unwrap().into_inner().revision > 0);
    let refused = admin.list_tokens(bearing(ListTokensRequest {}, &alice)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let path = format!("/api/v1/tokens/{}", id("bob").await);
    assert!(hub.client(&bob).ask("DELETE", &path, &[], b"").await.json()["revision"].as_u64().unwrap() > 0);
    assert_eq!(hub.client(&bob).get("/api/v1/tokens").await.status, 401);
}

#[tokio::test]
async fn a_token_that_is_in_no_list_is_revoked_all_the_same() {
    let hub = Hub::with_fleet().await;
    let root = hub.client(&hub.issue("root", Role::Admin).await);
    // Signed by our key and noted nowhere, as those from before there was a list.
    let hour = Duration::from_secs(3600);
    let unlisted = hub.running.parts.tokens.keys().issue("alice", Role::Viewer, SystemTime::now(), hour).unwrap();
    let alice = hub.client(&unlisted.token);
    assert_eq!(alice.get("/api/v1/clusters").await.status, 200);
    let path = format!("/api/v1/tokens/{}", unlisted.id);
    assert!(root.ask("DELETE", &path, &[], b"").await.json()["revision"].as_u64().unwrap() > 0);
    assert_eq!(alice.get("/api/v1/clusters").await.status, 401);
    assert_eq!(root.ask("DELETE", &path, &[], b"").await.json()["revision"], 0, "nothing to do");
}

#[tokio::test]
async fn what_a_token_opened_ends_when_the_token_is_over() {
    let hub = Hub::with_fleet().await;
    let keys = hub.running.parts.tokens.keys();
    // Over already, but for what clocks may differ by: two seconds are left.
    let made = SystemTime::now() - Duration::from_secs(9);
    let token = keys.issue("alice", Role::Viewer, made, Duration::from_secs(1)).unwrap().token;
    let mut flows = hub.client(&token).stream("/api/v1/flows").await;
    let mut admin = AdminClient::new(channel(&hub).await);
    let mut observed = admin.observe(bearing(ObserveRequest::default(), &token)).await.unwrap().into_inner();
    let ended = async {
        assert_eq!(flows.next().await, None);
        assert_eq!(observed.message().await.unwrap_err().code(), Code::Unauthenticated);
    };
    timeout(BOUND, ended).await.expect("they end");
    let refused = admin.list_tokens(bearing(ListTokensRequest {}, &token)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn the_root_is_shown_to_all_and_exchanged_by_admins() {
    let hub = Hub::start().await;
    let viewer = hub.client(&hub.token(Role::Viewer));
    let shown = viewer.get("/api/v1/authority").await.json();
    assert_eq!((&shown["stage"], &shown["nextStep"]), (&json!("steady"), &json!("prepare")));
    assert!(shown["roots"][0]["pem"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE"));
    let step = json!({"step": "prepare"});
    assert_eq!(viewer.post("/api/v1/authority", &step).await.status, 403);
    let admin = hub.client(&hub.token(Role::Admin));
    for (wrong, status, code) in [("", 422, "invalid"), ("jump", 422, "invalid"), ("retire", 409, "not_the_next_step")]
    {
        let refused = admin.post("/api/v1/authority", &json!({"step": wrong})).await;
        assert_eq!(refused.status, status, "{wrong}: {refused:?}");
        assert!(code == "invalid" || refused.problem() == code, "{refused:?}");
    }
    let prepare = async || {
        let headers = ["content-type: application/json", "idempotency-key: 1"];
        admin.ask("POST", "/api/v1/authority", &headers, step.to_string().as_bytes()).await.json()
    };
    let prepared = prepare().await;
    assert_eq!(prepare().await, prepared, "a repeated request is answered");
    assert_eq!(admin.post("/api/v1/authority", &step).await.problem(), "not_the_next_step");
    let states: Vec<&Value> = prepared["roots"].as_array().unwrap().iter().map(|root| &root["state"]).collect();
    assert_eq!((&prepared["stage"], states), (&json!("prepared"), vec![&json!("signing"), &json!("next")]));
    assert!(!prepared.to_string().contains("PRIVATE KEY"));
    let mut door = AdminClient::new(channel(&hub).await);
    let early = RotateAuthorityRequest { step: "activate".into(), ..RotateAuthorityRequest::default() };
    let refused = door.rotate_authority(bearing(early, &hub.token(Role::Admin))).await.unwrap_err();
    assert!(refused.message().contains("may not know"), "{refused:?}");
}

#[tokio::test]
async fn a_browser_comes_by_its_own_name_and_from_its_own_page() {
    let hub = Hub::with_fleet().await;
    let admin = hub.client(&hub.token(Role::Admin));
    let nobody = hub.client("");
    for path in ["/", "/metrics", "/livez", "/api/v1/clusters"] {
        let misled = nobody.ask("GET", path, &["host: evil.example"], b"").await;
        assert_eq!((misled.status, misled.problem().as_str()), (421, "misdirected"), "{path}");
    }
    let json = "content-type: application/json";
    for foreign in ["origin: https://evil.example", "sec-fetch-site: cross-site", "origin: null"] {
        let refused = admin.ask("POST", "/api/v1/clusters/east/tokens", &[json, foreign], b"{}").await;
        assert_eq!((refused.status, refused.problem().as_str()), (403, "foreign_origin"), "{foreign}");
    }
    let own = admin.ask("POST", "/api/v1/clusters/east/tokens", &[json, "origin: http://localhost"], b"{}").await;
    assert_eq!(own.status, 201, "{own:?}");
    // No page of another origin is ever told that it may send a token.
    let asked = ["origin: https://evil.example", "access-control-request-headers: authorization"];
    let preflight = admin.ask("OPTIONS", "/api/v1/clusters", &asked, b"").await;
    assert_ne!(preflight.status, 200);
    assert!(preflight.headers.iter().all(|(name, _)| !name.starts_with("access-control")), "{preflight:?}");
    let page = nobody.get("/").await;
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
    assert_eq!(page.header("set-cookie"), "", "no cookie: nothing that a browser sends by itself");
}

#[tokio::test]
async fn paths_that_only_look_like_a_route_reach_nothing() {
    let hub = Hub::with_fleet().await;
    let admin = hub.client(&hub.token(Role::Admin));
    for path in [
        "//api/v1/clusters",
        "/api//v1/clusters",
        "/api/v1/clusters/",
        "/API/v1/clusters",
        "/api/v1%2fclusters",
        "/api/v1/../v1/clusters",
        "/api/v1/./clusters",
        "/api/v1/clusters%00",
        "/api/v1/clusters;a=b",
        "/dashboard/..%2f..%2fetc%2fpasswd",
    ] {
        let answer = admin.get(path).await;
        assert_eq!((answer.status, answer.problem().as_str()), (404, "no_route"), "{path}");
    }
    // One segment, however it is spelt: never a path below it.
    let answer = admin.ask("DELETE", "/api/v1/clusters/east%2fnodes%2fn1", &[], b"").await;
    assert!(matches!(answer.status, 404 | 422), "{answer:?}");
    assert_eq!(admin.get("/api/v1/status").await.json()["clusters"][0]["nodes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_token_as_large_as_a_book_is_no_token() {
    let hub = Hub::start().await;
    let answer = hub.client(&"a.".repeat(3000)).get("/api/v1/clusters").await;
    assert_eq!(answer.status, 401);
    let answer = hub.client(&"a".repeat(1 << 20)).get("/api/v1/clusters").await;
    assert!(matches!(answer.status, 400 | 431), "{answer:?}");
}
