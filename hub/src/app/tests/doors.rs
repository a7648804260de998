//! Nothing behind the gate sees a request that may not be made.
use axle_proto::v1::{AddClusterRequest, ListRequest, admin_client::AdminClient};
use axle_transport::{context::ContextFile, pki::certificate_pem};
use http_body_util::{BodyExt as _, Full};
use tonic::Request;
use tower::{Service as _, ServiceExt as _};

use super::*;

fn people(hub: &Hub) -> Channel {
    let roots = [hub.running.root().certificate().clone()];
    channel(&hub.address(), &ClientTls::anonymous(&roots, Expect::Hub).unwrap()).unwrap()
}

fn bearing<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test]
async fn a_role_opens_what_the_table_says() {
    let hub = Hub::start(&[]).await;
    let mut admin = AdminClient::new(people(&hub));
    let add = || AddClusterRequest {
        name: "one".into(),
        prefixes: vec!["10.1.0.0/16".into()],
        ..AddClusterRequest::default()
    };
    let nobody = admin.add_cluster(add()).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let forged = admin.add_cluster(bearing(add(), "e30.e30.e30")).await.unwrap_err();
    assert_eq!((forged.code(), forged.message()), (Code::Unauthenticated, nobody.message()), "one text for both");
    for role in [Role::Viewer, Role::Operator] {
        let token = hub.bearer("alice", role);
        let refused = admin.add_cluster(bearing(add(), &token)).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(refused.message().contains("needs admin"), "{}", refused.message());
        assert!(admin.list_clusters(bearing(ListRequest::default(), &token)).await.is_ok());
    }
    assert!(hub.objects(Kind::Cluster).is_empty());
    let token = hub.bearer("root", Role::Admin);
    assert!(admin.add_cluster(bearing(add(), &token)).await.is_ok());
    assert_eq!(hub.objects(Kind::Cluster).len(), 1);
}

#[tokio::test]
async fn a_relays_certificate_is_no_persons_token() {
    let hub = Hub::start(&[]).await;
    let relay = hub.relay("one", "10.1.0.0/16").await;
    let mut admin = AdminClient::new(channel(&hub.address(), &relay.tls()).unwrap());
    assert_eq!(admin.list_clusters(ListRequest::default()).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn paths_that_only_look_like_a_method_reach_nothing() {
    let hub = Hub::start(&[]).await;
    let token = hub.bearer("root", Role::Admin);
    for path in [
        "//axle.v1.Admin/ListClusters",
        "/axle.v1.Admin//ListClusters",
        "/axle.v1.admin/ListClusters",
        "/axle.v1.Admin%2fListClusters",
        "/axle.v1.Admin/ListClusters/",
        "/axle.v1.Admin/None",
        "/",
    ] {
        let request = http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("authorization", format!("Bearer {token}"))
            .body(tonic::body::Body::new(Full::new(bytes::Bytes::from_static(&[0; 5]))))
            .unwrap();
        let mut door = people(&hub);
        let response = door.ready().await.unwrap().call(request).await.unwrap();
        let status = response.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_string());
        assert_eq!(status.as_deref(), Some("7"), "{path}: permission denied");
        assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn who_has_the_database_can_ask_and_reach_its_hub_and_no_other() {
    let hub = Hub::start(&[]).await;
    let other = Hub::start(&[]).await;
    let (config, store) = (config(&hub.dir, &[]), &hub.running.parts.store);
    // It says that it is ready once it has looked.
    let ready = async {
        while beside::check(&config, store.clone(), &hub.address()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, ready).await.unwrap();
    let stranger = beside::check(&config, store.clone(), &other.address()).await.unwrap_err();
    assert!(format!("{stranger:#}").contains(&other.address()), "{stranger:#}");

    let text =
        beside::context(&config, store.clone(), "hub.example:7443", hub.bearer("me", Role::Viewer)).await.unwrap();
    let path = hub.dir.path().join("context.yaml");
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
    fs::write(&path, text).unwrap();
    let file = ContextFile::load(&path).unwrap();
    let context = file.get(&file.current).unwrap();
    assert_eq!(context.hub, "https://hub.example:7443");
    assert_eq!(context.ca, certificate_pem(hub.running.root().certificate()));
    assert!(hub.running.parts.tokens.keys().verify(&context.token).is_ok());
}
